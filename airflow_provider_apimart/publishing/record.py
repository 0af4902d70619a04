"""The post record: what is known about one post, kept outside the worker so that the next try finds it.

It is small, versioned, and holds no secret in the clear: an upload session's URL and a message with a signed link are
sealed (:mod:`.sealing`). It is saved before every step whose loss could make a video public twice.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from airflow_provider_apimart.publishing.errors import PublishError

#: Superseded posts and drafts that are remembered, so that an orphan can still be found.
MAX_PREVIOUS = 20
MAX_NOTE_LENGTH = 1000
#: The longest session URL that is kept: a record is small, whatever a target answers.
MAX_SECRET_LENGTH = 8192


class PostState(StrEnum):
    """How far a post has come, as far as this side knows."""

    #: The upload or the draft is about to be started, or was started and its answer is not known.
    INTENT = "intent"
    #: An upload session is open. Its last byte was not sent, so no video exists.
    SESSION = "session"
    #: The last bytes are about to be sent, or were: a draft may exist.
    ARMED = "armed"
    #: The draft exists, and nobody else can see it.
    DRAFTED = "drafted"
    #: The call that makes the draft public is about to be made, or was made and its outcome is not known.
    COMMITTING = "committing"
    #: The target has published it, or will at the date that was asked for.
    PUBLIC = "public"
    #: The target refused the draft for good.
    FAILED = "failed"


#: States in which a draft or a post may lie at the target.
MAY_EXIST = frozenset({PostState.ARMED, PostState.DRAFTED, PostState.COMMITTING, PostState.PUBLIC})
#: States in which others may see it.
MAY_BE_PUBLIC = frozenset({PostState.COMMITTING, PostState.PUBLIC})


class PreviousPost(BaseModel):
    """A post or a draft that was superseded: an orphan, unless it was made public."""

    model_config = ConfigDict(frozen=True)

    state: PostState
    marker: str
    draft_id: str | None = None
    post_id: str | None = None
    url: str | None = None
    armed_at: AwareDatetime | None = None


class PostRecord(BaseModel):
    """What is known about one post.

    :param target: the target's name.
    :param account: the target's own id of the account.
    :param marker: see :func:`.post.marker_of`.
    :param epoch: the clear epoch in the marker.
    :param clear_epoch: the last clear epoch in which a try reused it.
    :param video_uri: where the file lies.
    :param video_sha256: its checksum.
    :param video_bytes: its size.
    :param content_digest: a hash of what the target is told.
    :param sealed: the upload session's URL, or the message, encrypted.
    :param draft_id: the target's id of what is not public yet.
    :param committing_at: when the call that publishes was last known to be under way.
    :param post_id: the target's id of what is public.
    :param url: the post's own page.
    :param done: the extras (thumbnail, playlist) that have been applied.
    :param asked_by: the dag, run, task and map index, or the post key.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    state: PostState
    target: str
    account: str
    marker: str
    epoch: int = 0
    clear_epoch: int = 0
    video_uri: str
    video_sha256: str
    video_bytes: int
    content_digest: str
    conn_id: str | None = None
    intent_at: AwareDatetime
    sealed: str | None = None
    armed_at: AwareDatetime | None = None
    draft_id: str | None = None
    drafted_at: AwareDatetime | None = None
    committing_at: AwareDatetime | None = None
    post_id: str | None = None
    url: str | None = None
    public_since: AwareDatetime | None = None
    note: str | None = None
    done: tuple[str, ...] = ()
    asked_by: dict[str, str | int] = {}
    previous: tuple[PreviousPost, ...] = ()

    def but(self, **changes: Any) -> PostRecord:
        """Return a copy with ``changes``."""
        return self.model_copy(update=changes)

    def as_previous(self) -> tuple[PreviousPost, ...]:
        """Return the superseded posts for a record that replaces this one."""
        if self.state not in MAY_EXIST:
            return self.previous
        last = PreviousPost(
            state=self.state,
            marker=self.marker,
            draft_id=self.draft_id,
            post_id=self.post_id,
            url=self.url,
            armed_at=self.armed_at,
        )
        return (*self.previous, last)[-MAX_PREVIOUS:]

    def beside(self, other: PostRecord) -> PostRecord:
        """Return the record to keep when this post turns out to be public, and another try has saved ``other``.

        A post under a later epoch was asked for by a clear, and goes on. Else what is public wins, so that nothing
        more is published; the other try's draft is remembered as left over.
        """
        if other.epoch > self.epoch:
            return other.but(previous=_joined(other.previous, self.as_previous()))
        same = other.draft_id == self.draft_id
        left = other.previous if same else other.as_previous()
        return self.but(
            url=self.url or (other.url if same else None),
            done=other.done if same else self.done,
            clear_epoch=max(self.clear_epoch, other.clear_epoch),
            previous=_joined(self.previous, left),
        )


def _joined(first: tuple[PreviousPost, ...], second: tuple[PreviousPost, ...]) -> tuple[PreviousPost, ...]:
    """Return both without repetition; of one draft, what is known last."""
    found = {(each.marker, each.draft_id): each for each in (*first, *second)}
    return tuple(found.values())[-MAX_PREVIOUS:]


class PostStore(Protocol):
    """Keeps one record.

    A ``load`` that fails must raise, never return ``None``: "no record" means "nothing was sent".
    """

    #: For a log line: where the record is kept, or why none is.
    description: str
    #: False if nothing outlives the try.
    durable: bool

    def load(self) -> PostRecord | None:
        """Return the record, or ``None`` if none exists."""
        ...

    def save(self, record: PostRecord) -> None:
        """Keep ``record``, replacing any other."""
        ...


class UnreadablePostError(PublishError):
    """A record exists but cannot be read. Posting again without knowing its content is refused."""

    terminal = True


def read_post_record(data: Any, where: str) -> PostRecord:
    """Return the record that ``data`` (an object, or its JSON text) holds."""
    try:
        if isinstance(data, (str, bytes)):
            return PostRecord.model_validate_json(data)
        return PostRecord.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        wrong = f"{field}: {first['msg']}" if field else first["msg"]
        raise UnreadablePostError(
            f"the record of this task's post in {where} cannot be read ({wrong}). The video may be public, so nothing "
            "was sent. If a newer version of the provider has written it, use that version; else look at the account, "
            "then delete the record"
        ) from None
