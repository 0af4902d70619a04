"""What a client needs to know, checked once: the API's address, the key, and the limits.

Owns the rule where a key may go: over ``https://``, over ``http://`` to this machine, or anywhere with ``allow_http``.
No error raised here shows the key.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from airflow_provider_apimart.client.errors import ConfigurationError

DEFAULT_BASE_URL = "https://api.apimart.ai"
MEBIBYTE = 1024 * 1024
DEFAULT_MAX_VIDEO_BYTES = 2048 * MEBIBYTE
LONGEST_TIMEOUT_SECONDS = 3600.0
MOST_PER_MINUTE = 100_000.0
LONGEST_SHOWN = 120
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True)
class Settings:
    """How to reach APIMart.

    :param api_key: the key, as copied from APIMart's console.
    :param base_url: the API's address; empty means ``https://api.apimart.ai``. A trailing ``/v1`` is dropped.
    :param allow_http: permits ``http://`` to other machines.
    :param response_version: if set, sent as ``X-APIMart-Response-Version`` with submissions.
    :param read_timeout_seconds: if set, raises the time that a whole call may take.
    :param max_video_bytes: larger videos are not landed.
    :param on_unknown_submit: what to do if a submission may or may not have been carried out, where the task does not
        say: ``"resend"`` the identical request under its key, or ``"fail"``.
    :param requests_per_minute: the most requests that one process sends in a minute; with ``None`` the rate follows
        APIMart's 429s.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    allow_http: bool = False
    response_version: str | None = None
    read_timeout_seconds: float | None = None
    max_video_bytes: int = DEFAULT_MAX_VIDEO_BYTES
    requests_per_minute: float | None = None
    on_unknown_submit: Literal["resend", "fail"] = "resend"

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", _clean_key(self.api_key))
        object.__setattr__(self, "base_url", _clean_base_url(self.base_url, self.allow_http))
        version = (self.response_version or "").strip() or None
        if version and not _VERSION.fullmatch(version):
            raise ConfigurationError(
                f"response_version={shown(version, 14)}: allowed: a date such as 2026-07-27, or empty"
            )
        object.__setattr__(self, "response_version", version)
        choice = str(self.on_unknown_submit).strip().lower()
        if choice not in ("resend", "fail"):
            raise ConfigurationError(f"on_unknown_submit={shown(choice, 14)}: allowed: 'resend' or 'fail', or empty")
        object.__setattr__(self, "on_unknown_submit", choice)
        seconds = self.read_timeout_seconds
        # Written so that NaN is refused as well.
        if seconds is not None and not 0 < seconds <= LONGEST_TIMEOUT_SECONDS:
            allowed = f"a number of seconds up to {LONGEST_TIMEOUT_SECONDS:g}, or empty"
            raise ConfigurationError(f"read_timeout_seconds={seconds!r}: allowed: {allowed}")
        requests = self.requests_per_minute
        if requests is not None and not 1 <= requests <= MOST_PER_MINUTE:
            allowed = f"a number from 1 to {MOST_PER_MINUTE:g}, or empty"
            raise ConfigurationError(f"requests_per_minute={requests!r}: allowed: {allowed}")

    @property
    def is_loopback(self) -> bool:
        """True if the API is on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


def looks_secret(text: str) -> bool:
    """Return whether a value may be a key or a password in the wrong field."""
    # The text before an @ may be a password; keys are long, hold digits, and have no dots and slashes as URLs do.
    return bool(re.search(r"(?i)@|sk[-_]|bearer\s|(?=[a-z_+=-]*[0-9])[a-z0-9_+=-]{20}", text))


def shown(value: object, longest: int = LONGEST_SHOWN) -> str:
    """Return a wrong value as a message may show it.

    :param longest: the length of the longest plausible value. Anything longer may be a password, too.
    """
    text = repr(value)
    if looks_secret(text) or len(text) > longest < LONGEST_SHOWN:
        return "(not shown: it may be a secret)"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _clean_key(key: str) -> str:
    key = re.sub(r"(?i)^bearer(\s+|$)", "", (key or "").strip())
    if not key:
        raise ConfigurationError(
            "the connection has no API key: put it into the password field (keys: apimart.ai/keys)"
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError("the API key (password field) holds a character that no key has; copy it again")
    return key


def _clean_base_url(value: str, allow_http: bool) -> str:
    value = (value or "").strip() or DEFAULT_BASE_URL
    try:
        # A scheme with too few slashes is left alone: it has no host, rather than a host named "https".
        if not re.match(r"(?i)https?:(?![0-9])|.*://", value):
            host = urlsplit(f"//{value}").hostname or ""
            value = f"{'http' if is_loopback(host) else 'https'}://{value}"
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"host={shown(value)}: not a URL ({error})") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError("host: must be a plain URL, without user, password, query or fragment")
    if parts.scheme not in ("http", "https") or not is_host(parts) or port == 0 or not value.isprintable():
        raise ConfigurationError(f"host={shown(value)}: allowed: an https:// URL such as {DEFAULT_BASE_URL}, or empty")
    hostname = parts.hostname or ""
    if parts.scheme == "http" and not allow_http and not is_loopback(hostname):
        raise ConfigurationError(
            f"host={shown(value)}: http:// would send the API key unencrypted; use https://, "
            "or set allow_http in the connection if you want that"
        )
    netloc = f"[{hostname}]" if ":" in hostname else hostname
    path = parts.path.rstrip("/").removesuffix("/v1")
    return urlunsplit((parts.scheme, f"{netloc}:{port}" if port else netloc, path, "", ""))


def is_host(parts: SplitResult) -> bool:
    """Return whether a connection to this host can be tried at all. Others would fail with uncaught exceptions."""
    try:
        host = httpx.URL(f"https://{parts.netloc}").raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return False
    if ":" in host:
        return True
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.lower().removesuffix(".").split("."))
