"""A signed webhook (Standard Webhooks): the road to every network that has no target of its own.

The draft is the message, kept sealed in the record, so that every try sends the same bytes under the same
``webhook-id``, the post's marker. A receiver knows a repeated message by that id, so committing twice is harmless to
everyone who follows the specification. The time and the signature are those of each attempt.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from airflow_provider_apimart.client.envelope import retry_after
from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError, FieldProblem
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRefusedError,
    PostRejectedError,
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
from airflow_provider_apimart.publishing.targets.webhook import message
from airflow_provider_apimart.publishing.targets.webhook.settings import WebhookCredentials, WebhookSettings

TARGET = "webhook"
#: How far a receiver's clock may be away: more, and it refuses every signature.
TOLERANCE = timedelta(minutes=5)
LONGEST_SAID = 200
#: Answers that a later attempt may change, besides 5xx.
TEMPORARY = frozenset({408, 425, 429})
EXPIRY_FORMAT = "%Y%m%dT%H%M%SZ"


def signature(keys: tuple[bytes, ...], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` header: one signature for each key."""
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return " ".join(f"v1,{each}" for each in signatures)


def skew_of(reply: Reply, now: datetime) -> timedelta | None:
    """Return how far the receiver's clock is ahead, as far as its ``Date`` says."""
    try:
        return parsedate_to_datetime(reply.headers["date"]) - now
    except (KeyError, ValueError, TypeError):
        return None


class WebhookTarget:
    """One receiver.

    A post's content is ``{"payload": dict | None, "include_url": bool, "url_expires_seconds": float}``.

    :param link: makes a signed link to the video that lives so long; ``None`` where only questions are asked.
    """

    name = TARGET
    traits = Traits(can_ask=False, settle=timedelta(0), read_back=timedelta(0))

    def __init__(
        self,
        settings: WebhookSettings,
        link: Callable[[timedelta], str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.link = link
        self.now = now
        self._credentials = WebhookCredentials(settings)

    def problems(self, post: Post) -> list[FieldProblem]:
        """Return what is wrong with the payload and the link."""
        payload = _payload(post)
        problems = message.payload_problems(payload)
        if problems:
            return problems
        if not post.content["include_url"]:
            wanted = "the payload names the video's link; allowed with it: True"
            return [FieldProblem("include_url", False, wanted)] if message.needs_link(payload) else []
        if not message.has_link(payload):
            return []
        try:
            self._link(post)
        except ConfigurationError as error:
            text = f"{error.message}. Land the video there, or set include_url=False and let the receiver fetch it"
            return [FieldProblem("include_url", True, text)]
        except ApimartError:
            # It may pass. Starting the post makes the link again.
            pass
        return []

    def account(self) -> Exchange[str]:
        """Return what distinguishes this receiver; nothing is sent."""
        yield from ()
        return self.settings.account

    def start(self, post: Post, marker: str) -> Exchange[Session | Drafted]:
        """Write the message; nothing is sent."""
        yield from ()
        payload, url, expires = _payload(post), None, None
        if post.content["include_url"] and message.has_link(payload):
            url = self._link(post)
            expires = self.now() + timedelta(seconds=post.content["url_expires_seconds"])
        facts = message.facts_of(post.video, url, _iso(expires))
        body = message.body_of(payload, facts, {"id": marker, "created_at": _iso(self.now())})
        if len(body.encode()) >= message.MAX_BODY_BYTES:
            raise PostRejectedError(
                f"the message has {len(body.encode()):,} bytes with the video's facts; Standard Webhooks allows fewer "
                f"than {message.MAX_BODY_BYTES:,}. Nothing was sent: shorten payload",
                post=marker,
            )
        # The id of the draft says when its link dies: :meth:`ask` knows no more of it.
        mark = f"@{expires.astimezone(UTC).strftime(EXPIRY_FORMAT)}" if expires else ""
        return Drafted(f"{marker}{mark}", message=body)

    def ask_session(self, url: str, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """There are no upload sessions."""
        yield from ()
        return SessionGone()

    def upload(self, url: str, body: VideoBytes, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """There are no upload sessions."""
        yield from ()
        return SessionGone()

    def look_up(self, marker: str) -> Exchange[Drafted | NotFound]:
        """A receiver cannot be asked."""
        yield from ()
        return NotFound()

    def ask(self, draft_id: str, post_id: str | None, post: Post | None) -> Exchange[Draft]:
        """Return how the message is, as far as this side knows; nothing is sent."""
        yield from ()
        if post_id:
            return Draft(DraftState.PUBLIC, post_id=post_id)
        expiry = draft_id.partition("@")[2]
        if expiry and datetime.strptime(expiry, EXPIRY_FORMAT).replace(tzinfo=UTC) <= self.now():
            return Draft(DraftState.EXPIRED, reason=f"the link to the video in the message died at {expiry}")
        return Draft(DraftState.READY)

    def commit(self, record: PostRecord, post: Post, message: str | None) -> Exchange[Published]:
        """Send the message."""
        if message is None:
            raise PostRefusedError(
                "the message in the post's record cannot be read: the connection's signing secrets have changed since. "
                "Nothing was sent by this try. Put the former secret behind the new one (separated by a space) and "
                'clear the task; to send another message, clear it with on_clear="repost"',
                post=record.marker,
            )
        now, body = self.now(), message.encode()
        timestamp = int(now.timestamp())
        reply = yield Request(
            "message",
            "POST",
            self.settings.url,
            headers={
                "Content-Type": "application/json",
                "webhook-id": record.marker,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signature(self.settings.keys, record.marker, timestamp, body),
            },
            content=body,
            authorized=False,
        )
        if not 200 <= reply.status < 300:
            raise self._refusal(reply, record.marker, now)
        return Published(record.marker)

    def extras(self, post: Post) -> Mapping[str, Extra]:
        """There are none."""
        return {}

    def probe(self) -> Exchange[Reply]:
        """Ask the receiver for no more than its headers: a message, even a test, would be taken for a real one."""
        reply = yield Request("connection test", "HEAD", self.settings.url, authorized=False)
        return reply

    def _link(self, post: Post) -> str:
        if self.link is None:
            raise AssertionError("this target makes no links")
        return self.link(timedelta(seconds=post.content["url_expires_seconds"]))

    def _refusal(self, reply: Reply, marker: str, now: datetime) -> ApimartError:
        status, said = reply.status, self._said(reply)
        host = urlsplit(self.settings.url).hostname
        if status in TEMPORARY or status >= 500:
            return TargetUnavailableError(
                f"{host} did not take the message {marker}{said}",
                status=status,
                retry_after_seconds=retry_after(reply.headers),
                post=marker,
            )
        if status == 410:
            return PostRejectedError(
                f"{host} says that it wants no messages any more (410 Gone){said}. Nothing more is sent to it: take "
                "the receiver out of the DAG, or put its new URL into the connection",
                status=status,
                post=marker,
            )
        if status in (401, 403):
            return CredentialsError(
                f"{host} does not accept the signature{said}. {self._why_refused(reply, now)}",
                status=status,
                post=marker,
            )
        if 300 <= status < 400:
            return PostRejectedError(
                f"{host} redirects, and a signed message does not follow. Put the receiver's final URL into the "
                "connection",
                status=status,
                post=marker,
            )
        return PostRejectedError(
            f"{host} refused the message {marker}{said}. A retry would send the same bytes: correct payload or the "
            "receiver",
            status=status,
            post=marker,
        )

    def _why_refused(self, reply: Reply, now: datetime) -> str:
        skew = skew_of(reply, now)
        if skew is not None and abs(skew) > TOLERANCE:
            return f"{clock_text(skew)}: set the clock, then clear the task"
        return "Put the receiver's current signing secret into the connection's password, then clear the task"

    def _said(self, reply: Reply) -> str:
        """Return the beginning of the receiver's own words, without any link: it may repeat the message."""
        text = reply.content[: 10 * LONGEST_SAID].decode("utf-8", "replace")
        text = re.sub(r"(?i)https?:\S+", "(a link)", self._credentials.scrub(text))
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if not text:
            return ""
        return f": {text[:LONGEST_SAID]}{'...' if len(text) > LONGEST_SAID else ''}"


def clock_text(skew: timedelta) -> str:
    """Return what to say about a clock that is too far away."""
    word = "behind" if skew > timedelta(0) else "ahead of"
    return (
        f"This machine's clock is {abs(skew).total_seconds():,.0f} s {word} the receiver's, and receivers refuse "
        f"signatures older or newer than {TOLERANCE.total_seconds() / 60:g} min"
    )


def _payload(post: Post) -> Mapping[str, object]:
    found: Mapping[str, object] | None = post.content["payload"]
    return message.DEFAULT_PAYLOAD if found is None else found


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
