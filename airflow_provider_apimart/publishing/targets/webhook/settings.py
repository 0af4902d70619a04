"""The values of a signed webhook's connection: the receiver's URL and the secrets that sign.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import is_host, is_loopback, shown
from airflow_provider_apimart.publishing.exchange import NoCredentials

SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix that the specification gives to secrets
#: The specification's limits of a secret.
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
SHORTEST_HIDDEN_PATH = 16


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
        # As entered, and as httpx writes it into its log.
        urls = tuple(dict.fromkeys((self.url, str(httpx.URL(self.url)))))
        texts = [text for url in urls for text in self._tails(url)]
        return (*urls, *texts, *self.secrets, *(secret.removeprefix(SECRET_PREFIX) for secret in self.secrets))

    @staticmethod
    def _tails(url: str) -> list[str]:
        parts = urlsplit(url)
        tail = f"{parts.path}?{parts.query}" if parts.query else parts.path
        # A short path is a word such as /videos, and masking it would garble every log.
        return [text for text in (tail, parts.path, parts.query) if len(text) >= SHORTEST_HIDDEN_PATH]


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
