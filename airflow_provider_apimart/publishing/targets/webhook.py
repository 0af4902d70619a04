"""A signed webhook (Standard Webhooks): the road to every network that has no target of its own.

The draft is the message, kept sealed in the record, so that every try sends the same bytes under the same
``webhook-id``, the post's marker. A receiver knows a repeated message by that id, so committing twice is harmless to
everyone who follows the specification. The time and the signature are those of each attempt.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from airflow_provider_apimart.client.envelope import retry_after
from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError, FieldProblem
from airflow_provider_apimart.client.settings import is_host, is_loopback, shown
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRefusedError,
    PostRejectedError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Exchange, NoCredentials, Reply, Request, VideoBytes
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
from airflow_provider_apimart.publishing.targets import message

TARGET = "webhook"
SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix that the specification gives to secrets
#: The specification's limits of a secret.
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
#: How far a receiver's clock may be away: more, and it refuses every signature.
TOLERANCE = timedelta(minutes=5)
LONGEST_SAID = 200
SHORTEST_HIDDEN_PATH = 16
#: Answers that a later attempt may change, besides 5xx.
TEMPORARY = frozenset({408, 425, 429})
EXPIRY_FORMAT = "%Y%m%dT%H%M%SZ"


# --- the connection's values -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WebhookSettings:
    """A receiver.

    :param url: its address. A secret: the URLs of many receivers are all that protects them.
    :param secrets: the signing secrets as entered, the current one first; several while they rotate.
    :param allow_http: permits ``http://`` to other machines.
    """

    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    allow_http: bool = False

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ConfigurationError(
                "the connection has no signing secret: put the receiver's secret (whsec_...) into the password field"
            )
        for number, secret in enumerate(self.secrets, start=1):
            _key(secret, number)
        _check_url(self.url, self.allow_http)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that sign."""
        return tuple(_key(secret, number) for number, secret in enumerate(self.secrets, start=1))

    @property
    def account(self) -> str:
        """What distinguishes this receiver from others without revealing its URL."""
        return f"{urlsplit(self.url).hostname}/{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The texts that no log and no error may show."""
        parts = urlsplit(self.url)
        tail = f"{parts.path}?{parts.query}" if parts.query else parts.path
        # A short path is a word such as /videos, and masking it would garble every log.
        long = [text for text in (tail, parts.path, parts.query) if len(text) >= SHORTEST_HIDDEN_PATH]
        return (self.url, *long, *self.secrets, *(secret.removeprefix(SECRET_PREFIX) for secret in self.secrets))


def _key(secret: str, number: int) -> bytes:
    lead = f"signing secret {number}"
    if not secret.startswith(SECRET_PREFIX):
        raise ConfigurationError(
            f"{lead} does not begin with {SECRET_PREFIX!r}: copy the whole secret from the receiver (several are "
            "separated by spaces)"
        )
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{lead} is not base64 behind {SECRET_PREFIX!r}: copy it again") from None
    if not LEAST_SECRET_BYTES <= len(key) <= MOST_SECRET_BYTES:
        raise ConfigurationError(
            f"{lead} has {len(key)} bytes; Standard Webhooks allows {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES}"
        )
    return key


def _check_url(url: str, allow_http: bool) -> None:
    allowed = "allowed: an https:// URL such as https://hooks.example.com/videos"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"host (URL): not a URL; {allowed}") from None
    if parts.username or parts.password or parts.fragment:
        raise ConfigurationError("host (URL): must have no user, password or fragment")
    if parts.scheme not in ("http", "https") or not is_host(parts) or port == 0 or not url.isprintable() or " " in url:
        raise ConfigurationError(f"host (URL) {shown(parts.hostname or '')}: {allowed}")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname or ""):
        raise ConfigurationError(
            f"host (URL): http:// to {parts.hostname} would send the message and the video's link unencrypted; use "
            "https://, or set allow_http in the connection if you want that"
        )


class WebhookCredentials(NoCredentials):
    """Signs nothing by itself; knows what must not be shown."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._hidden = settings.hidden

    def scrub(self, text: str) -> str:
        """Return ``text`` without the receiver's URL and secrets."""
        for hidden in self._hidden:
            text = text.replace(hidden, "***")
        return text


# --- the target ------------------------------------------------------------------------------------------------------


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
