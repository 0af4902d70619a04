"""What a target can do, and what it can tell: the seam between the decisions and the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.exchange import Exchange, VideoBytes
from airflow_provider_apimart.publishing.post import Post
from airflow_provider_apimart.publishing.record import PostRecord


@dataclass(frozen=True)
class Traits:
    """How a target behaves, as far as the decisions depend on it.

    :param tail_bytes: an upload's last bytes make the draft, so they are held back until the record says so. At most
        this many, and what comes before them is a multiple of it. 0 if the draft exists before its bytes.
    :param can_look_up: whether a draft can be found by its marker.
    :param can_ask: whether the target can say whether a draft has been made public. Else committing twice must be
        harmless.
    :param text_at_commit: whether the call that publishes also sets the texts, so that changed texts need no new draft.
    :param settle: how long after an upload a look-up may still miss it, and a new draft may still be unknown.
    :param read_back: how long after the commit the target may still show the draft as it was.
    :param commit_settle: how long after a commit without an answer the target is not believed that the draft is not
        public: as long, it is not committed again. 0 if committing twice is harmless.
    """

    tail_bytes: int = 0
    can_look_up: bool = False
    can_ask: bool = True
    text_at_commit: bool = False
    settle: timedelta = timedelta(minutes=10)
    read_back: timedelta = timedelta(seconds=15)
    commit_settle: timedelta = timedelta(0)


# --- what a target tells ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """An upload session was opened.

    :param url: where the bytes go. A secret.
    """

    url: str


@dataclass(frozen=True)
class Stored:
    """The session holds the first ``offset`` bytes."""

    offset: int


@dataclass(frozen=True)
class SessionGone:
    """The target does not know the session any more."""


@dataclass(frozen=True)
class Drafted:
    """A draft exists, and nobody else can see it.

    :param draft_id: the target's id of it.
    :param message: what will be sent, where the draft is on this side: the bytes must be the same in every try.
    """

    draft_id: str
    message: str | None = None


@dataclass(frozen=True)
class NotFound:
    """A look-up by the marker found nothing."""


class DraftState(StrEnum):
    """How a draft is, as the target says."""

    #: The target still works on it.
    PROCESSING = "processing"
    #: It can be made public.
    READY = "ready"
    #: It is public, or scheduled as asked.
    PUBLIC = "public"
    #: The target refused it for good.
    FAILED = "failed"
    #: The target has dropped it because it was not published in time, or failed in a way that a new draft mends.
    EXPIRED = "expired"
    #: The target does not know it.
    GONE = "gone"


@dataclass(frozen=True)
class Draft:
    """What the target says about a draft or a post.

    :param reason: why it failed, in the target's words.
    :param post_id: its id once it is public.
    :param url: its page.
    :param differs: where a public post is not what was asked for.
    :param progress: for the log ("uploaded", "40 %").
    """

    state: DraftState
    reason: str | None = None
    post_id: str | None = None
    url: str | None = None
    differs: tuple[FieldProblem, ...] = ()
    progress: str | None = None


@dataclass(frozen=True)
class Published:
    """The call that makes a draft public was answered with success.

    :param public_at: when others can see it; in the future if it is scheduled; ``None`` for now.
    """

    post_id: str
    url: str | None = None
    public_at: datetime | None = None


#: What a target has told in this try, for :func:`.decide.decide`.
Evidence = Stored | SessionGone | Drafted | NotFound | Draft


class PublishTarget(Protocol):
    """One network. Every method that needs an answer is an exchange: it does no I/O itself.

    An exchange raises :class:`.TargetUnavailableError` for what may pass, :class:`.TargetLimitError` for what resets at
    a known time, and :class:`.CredentialsError` or :class:`.PostRejectedError` for what a retry does not change.
    """

    name: str
    traits: Traits

    def problems(self, post: Post) -> list[FieldProblem]:
        """Return everything that the target would refuse, before any request of a new post."""
        ...

    def account(self) -> Exchange[str]:
        """Return the target's own id of the account, after checking that the connection may post there."""
        ...

    def start(self, post: Post, marker: str) -> Exchange[Session | Drafted]:
        """Open an upload session, or make a draft. Repeating it makes nothing public."""
        ...

    def ask_session(self, url: str, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Ask how far an upload is."""
        ...

    def upload(self, url: str, body: VideoBytes, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Send a part of the file."""
        ...

    def look_up(self, marker: str) -> Exchange[Drafted | NotFound]:
        """Look for a draft or a post by its marker."""
        ...

    def ask(self, draft_id: str, post_id: str | None, post: Post | None) -> Exchange[Draft]:
        """Ask how a draft or a post is.

        :param post: what was asked for, to compare; ``None`` while only the state matters.
        """
        ...

    def commit(self, record: PostRecord, post: Post, message: str | None) -> Exchange[Published]:
        """Make the draft public.

        :param message: what :meth:`start` returned as its message.
        """
        ...

    def extras(self, post: Post) -> Mapping[str, Extra]:
        """Return what is done after the post is public, by name: none of it can fail the post."""
        ...


class Extra(Protocol):
    """Something that is added to a public post: a thumbnail, a place in a playlist."""

    def __call__(self, post_id: str) -> Exchange[None]:
        """Add it. Repeating it is harmless."""
        ...
