"""Publishes a Reel on Instagram: a container first, which nobody sees, then one call that publishes it.

Why it is posted once: the container's id is in the post's record before it is published, and a container can be asked
whether it was (``status_code`` ``PUBLISHED``). A second call for the same container is not documented, so it is never
sent before the container says that it is not published, nor while an unanswered call may still be at work
(:attr:`.Traits.commit_settle`). A container that was made and not recorded expires after 24 hours, seen by nobody.

A container does not tell the id of the post that it became. So where the answer of the publishing call was lost, the
post is known by its container: ``container:<id>``. The newest post of the account may be another one, and is not taken
for it.

The video gets there in one of two ways: Meta fetches it by a signed link, or its bytes are sent to Meta's upload host,
which only Facebook Login may do. Both end in the same container.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError, FieldProblem
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRejectedError,
    PublishError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Exchange, Reply, Request, VideoBytes
from airflow_provider_apimart.publishing.post import Post
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.publishing.target import (
    Draft,
    Drafted,
    DraftState,
    Extra,
    NotFound,
    Published,
    Session,
    SessionGone,
    Stored,
    Traits,
)
from airflow_provider_apimart.publishing.targets.instagram import answers, limits
from airflow_provider_apimart.publishing.targets.instagram.api import Graph
from airflow_provider_apimart.publishing.targets.instagram.room import Room, check_room, read_room
from airflow_provider_apimart.publishing.targets.instagram.settings import InstagramCredentials, InstagramSettings

log = logging.getLogger(__name__)

TARGET = "instagram"
#: Marks a post's id as the id of the container that it was made of.
CONTAINER = "container:"
#: How Instagram Login names professional accounts. Others may not publish by the API.
PROFESSIONAL = frozenset({"BUSINESS", "MEDIA_CREATOR", "CREATOR"})
#: A file of 300 MB takes its time, and Meta answers only when it has taken it in.
UPLOAD_SECONDS = 120.0
STATES = {
    "IN_PROGRESS": DraftState.PROCESSING,
    "FINISHED": DraftState.READY,
    "PUBLISHED": DraftState.PUBLIC,
    "EXPIRED": DraftState.EXPIRED,
}


class InstagramTarget:
    """Instagram, as :class:`.PublishTarget`.

    A post's content has the names of :data:`.limits._CHECKS`.

    :param link: makes a signed link to the video, a secret; ``None`` where only questions are asked.
    :param way: how the video gets to Meta: ``auto``, ``url`` or ``bytes``.
    """

    name = TARGET
    traits = Traits(read_back=timedelta(seconds=60), commit_settle=timedelta(seconds=60))

    def __init__(
        self,
        settings: InstagramSettings,
        *,
        link: Callable[[], str] | None = None,
        way: str = "auto",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self._link = link
        self._way = way
        self._now = now
        self._scrub = InstagramCredentials(settings).scrub
        self.graph = Graph(settings, self._scrub, now)
        self._user_id = settings.user_id
        #: The account's name, once :meth:`account` has asked for it.
        self.username = ""

    # --- before anything is sent -------------------------------------------------------------------------------------

    def problems(self, post: Post) -> list[FieldProblem]:
        """Return everything that Instagram would refuse, as far as it is known. A link is made for it, and not used."""
        problems = [*limits.problems_of(post.content), *limits.file_problems(post.video, post.content)]
        try:
            self._way_of()
        except ConfigurationError as error:
            problems.append(FieldProblem("upload", self._way, str(error)))
        except ApimartError:
            # It may pass. Starting the post makes the link again.
            pass
        return problems

    def _way_of(self) -> str | None:
        """Return the signed link by which Meta fetches the video, or ``None`` if its bytes are sent.

        :raises ConfigurationError: if neither is possible.
        :raises LandingError: if the storage does not answer.
        """
        if self._way == "bytes":
            if not self.settings.facebook:
                raise ConfigurationError(
                    "Meta takes a file's bytes from apps with Facebook Login only, and the connection has a token of "
                    'Instagram Login; allowed with it: upload="url"'
                )
            return None
        if self._link is None:
            raise AssertionError("this target makes no links")
        try:
            link = self._link()
            self._check_reachable(link)
        except ConfigurationError as error:
            if self._way == "auto" and self.settings.facebook:
                log.info("Meta cannot fetch the video (%s): its bytes are sent.", error.message)
                return None
            more = "" if self.settings.facebook else ", or connect with Facebook Login, which may send a file's bytes"
            raise ConfigurationError(
                f"{error.message}. Instagram fetches the video by a signed link: land it in such a storage{more}"
            ) from None
        return link

    def _check_reachable(self, link: str) -> None:
        parts = urlsplit(link)
        host = parts.hostname or ""
        if self.settings.is_meta and (parts.scheme != "https" or not _is_public(host)):
            raise ConfigurationError(
                f"the signed link leads to {parts.scheme}://{host}, where Meta cannot fetch it: it fetches from public "
                "https:// addresses only"
            )

    def account(self) -> Exchange[str]:
        """Return the account's id, after checking that the token is its and that it may publish."""
        what = "question about the account"
        if self.settings.facebook:
            body = yield from self.graph.get(what, self.settings.user_id, "id,username")
            found = [_text(body.get("id"))]
        else:
            body = yield from self.graph.get(what, "me", "user_id,username,account_type,id")
            found = [_text(body.get("user_id")), _text(body.get("id"))]
            kind = _text(body.get("account_type")).upper()
            if kind and kind not in PROFESSIONAL:
                raise CredentialsError(
                    f"the Instagram account {_text(body.get('username'))!r} is of the type {kind}, and only "
                    "professional accounts may publish by the API. Nothing was posted: switch it to a professional "
                    "account in the app (Settings, Account type), then clear the task"
                )
        ids = [each for each in found if each]
        if not ids:
            raise TargetUnavailableError(f"Instagram's answer to the {what} names no account")
        if self.settings.user_id and self.settings.user_id not in ids:
            raise CredentialsError(
                f"the access token is one of the account {ids[0]} ({_text(body.get('username'))!r}), but the "
                f"connection's login names the account {self.settings.user_id}. Nothing was posted: correct one of them"
            )
        self._user_id, self.username = ids[0], _text(body.get("username"))
        return self._user_id

    def room(self) -> Exchange[Room | None]:
        """Return how many posts the account may still publish by the API; ``None`` if Meta does not say."""
        room = yield from read_room(self.graph, self._user_id)
        return room

    # --- the container: nobody else sees it --------------------------------------------------------------------------

    def start(self, post: Post, marker: str) -> Exchange[Session | Drafted]:
        """Make a container. Repeating it makes nothing public."""
        yield from check_room(self.graph, self._user_id)
        try:
            link = self._way_of()
        except ConfigurationError as error:
            raise PostRejectedError(f"{error.message}. Nothing was posted", post=marker) from None
        fields = _container_of(post.content)
        fields |= {"upload_type": "resumable"} if link is None else {"video_url": link}
        what = "container"
        body = yield from self.graph.post(what, f"{self._user_id}/media", fields)
        container = _text(body.get("id"))
        if not container.isdigit():
            raise TargetUnavailableError(f"Instagram's answer to the {what} holds no id; what was made of it expires")
        # The answer's own address for the bytes is not used: the token goes to the connection's hosts only.
        return Drafted(container) if link is not None else Session(f"{self.settings.uploads}/{container}")

    def ask_session(self, url: str, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Ask how many bytes a container has received."""
        container = url.rpartition("/")[2]
        body = yield from self.graph.get("upload's status", container, "status_code,video_status")
        code = _text(body.get("status_code"))
        if code in ("FINISHED", "PUBLISHED"):
            return Drafted(container)
        if code in ("ERROR", "EXPIRED"):
            return SessionGone()
        status = body.get("video_status")
        phase = status.get("uploading_phase") if isinstance(status, dict) else None
        if not isinstance(phase, dict):
            return SessionGone()
        if phase.get("status") == "complete":
            return Drafted(container)
        received = phase.get("bytes_transferred", phase.get("bytes_transfered", 0))
        return Stored(received) if isinstance(received, int) and 0 <= received < size else SessionGone()

    def upload(self, url: str, body: VideoBytes, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Send the file's bytes from ``body.offset`` on."""
        reply = yield Request(
            "upload",
            "POST",
            url,
            headers={
                "Authorization": f"OAuth {self.settings.token}",
                "Content-Type": "application/octet-stream",
                "offset": str(body.offset),
                "file_size": str(size),
            },
            content=body,
            authorized=False,
            timeout_seconds=UPLOAD_SECONDS,
        )
        told = reply.json()
        if 200 <= reply.status < 300 and isinstance(told, dict) and told.get("success") is True:
            return Drafted(url.rpartition("/")[2])
        raise self._upload_refusal(reply)

    def _upload_refusal(self, reply: Reply) -> PublishError:
        problem = answers.problem_of(reply)
        told = self._scrub(str(problem)) or f"HTTP {reply.status}"
        final = 400 <= reply.status < 500 and reply.status not in (408, 409, 412, 416, 429) and not problem.transient
        if problem.message.startswith("NotAuthorized") or reply.status in (401, 403):
            return CredentialsError(
                "Meta's upload host does not accept the access token: it takes tokens of Facebook Login for Business "
                f"with instagram_content_publish only. {answers.RENEW}. Meta says: {told}",
                status=reply.status,
            )
        if final and problem.code is None:
            return PostRejectedError(f"Meta's upload host refused the file: {told}", status=reply.status)
        return answers.refusal(reply, "upload", self._now(), self._scrub)

    def look_up(self, marker: str) -> Exchange[Drafted | NotFound]:
        """Containers cannot be listed."""
        yield from ()
        return NotFound()

    def ask(self, draft_id: str, post_id: str | None, post: Post | None) -> Exchange[Draft]:
        """Ask how a container or a post is."""
        if post_id and not post_id.startswith(CONTAINER):
            draft = yield from self._ask_post(post_id, post)
            return draft
        body = yield from self.graph.get("container's status", draft_id, "status_code,status")
        if post_id:
            # It has said once that it is published. A container grows old, and that takes nothing back.
            return Draft(DraftState.PUBLIC, post_id=post_id)
        code, said = _text(body.get("status_code")), _text(body.get("status"))
        if code == "ERROR":
            subcode = answers.status_code_of(said)
            reason = _short_status(subcode, self._scrub(said))
            return Draft(DraftState.FAILED if subcode in answers.FINAL else DraftState.EXPIRED, reason=reason)
        state = STATES.get(code)
        if state is None:
            raise TargetUnavailableError(f"the container {draft_id} has a status that is not known: {code[:40]!r}")
        if state is DraftState.PUBLIC:
            return Draft(state, post_id=f"{CONTAINER}{draft_id}")
        expired = "it was not published within 24 hours" if state is DraftState.EXPIRED else None
        return Draft(state, reason=expired, progress=code.lower().replace("_", " "))

    def _ask_post(self, post_id: str, post: Post | None) -> Exchange[Draft]:
        # It is public: that its page cannot be read, for whatever reason, takes nothing away.
        what = "post's page"
        try:
            try:
                body = yield from self.graph.get(what, post_id, "permalink,is_ai_generated")
            except PostRejectedError:
                # An API that does not know the label's field refuses the whole question.
                body = yield from self.graph.get(what, post_id, "permalink")
        except (PostRejectedError, CredentialsError) as error:
            raise TargetUnavailableError(error.message, status=error.status, reason=error.reason) from None
        url = _text(body.get("permalink"))
        differs: tuple[FieldProblem, ...] = ()
        if post is not None and post.content["is_ai_generated"] and body.get("is_ai_generated") is False:
            differs = (FieldProblem("is_ai_generated", False, "asked for: True"),)
        page = url if url.startswith("https://") else None
        return Draft(DraftState.PUBLIC, post_id=post_id, url=page, differs=differs)

    # --- the commit --------------------------------------------------------------------------------------------------

    def commit(self, record: PostRecord, post: Post, message: str | None) -> Exchange[Published]:
        """Publish the container. The caller has asked it before: it is not published."""
        yield from check_room(self.graph, self._user_id)
        what = "publishing call"
        fields = {"creation_id": record.draft_id}
        body = yield from self.graph.post(what, f"{self._user_id}/media_publish", fields, publishing=True)
        media = _text(body.get("id"))
        if not media.isdigit():
            raise TargetUnavailableError(f"Instagram's answer to the {what} holds no id: the container is asked")
        return Published(media)

    def extras(self, post: Post) -> Mapping[str, Extra]:
        """There are none."""
        return {}


def _container_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container's parameters."""
    fields: dict[str, Any] = {
        "media_type": "REELS",
        "caption": content["caption"],
        "share_to_feed": content["share_to_feed"],
        "is_ai_generated": content["is_ai_generated"],
        "thumb_offset": content["thumb_offset_ms"],
        "cover_url": content["cover_url"],
        "collaborators": json.dumps(content["collaborators"]) if content["collaborators"] else None,
        "audio_name": content["audio_name"],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".localhost"))


def _short_status(subcode: int | None, said: str) -> str:
    known = answers.FINAL.get(subcode or 0) or (answers.FETCH_HINT if subcode == answers.NOT_FETCHED else "")
    return ": ".join(part for part in (known, said[: answers.MAX_TEXT]) if part)


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
