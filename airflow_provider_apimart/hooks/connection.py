"""Turns an Airflow connection into the client's settings.

Owns the rule that no part of a connection is silently ignored. Each part is used, joined to the base URL, or refused by
name before anything is sent. A connection of another type is refused as a whole: its secret is not APIMart's. No error
of this file shows the password, a login, or what looks like a secret in another field.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.models import read_number
from airflow_provider_apimart.client.settings import (
    DEFAULT_BASE_URL,
    DEFAULT_MAX_VIDEO_BYTES,
    MEBIBYTE,
    Settings,
    looks_secret,
    shown,
)
from airflow_provider_apimart.connection_form import CONN_FIELDS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

CONN_TYPE = "apimart"
#: The prefix that the forms of older Airflow versions put before the names of extra's fields.
LEGACY_PREFIX = f"extra__{CONN_TYPE}__"
#: A shorter password is not a key. Removing it from a text would only garble the text.
SHORTEST_SECRET = 6
#: How much of a wrong value in extra is shown, in characters. No value that is meant for one of its fields is longer.
LONGEST_EXTRA = 14

_BASE_URL = "the base URL is the connection's host"
_PASSWORD = "the API key is the connection's password"  # noqa: S105  # a text that holds none
_TRUST = "certificates are named by SSL_CERT_FILE or REQUESTS_CA_BUNDLE in the environment"
_PROXY = "proxies are named by HTTPS_PROXY and NO_PROXY in the environment"
#: Names that people put into extra for settings that belong elsewhere; without case, hyphens and underscores.
_MEANT = {
    **dict.fromkeys(("baseurl", "url", "uri", "endpoint", "endpointurl", "apibase", "apiurl", "host"), _BASE_URL),
    **dict.fromkeys(("apikey", "key", "token", "apitoken", "secret", "password", "accesstoken"), _PASSWORD),
    **dict.fromkeys(("verify", "verifyssl", "cabundle", "cafile", "sslcertfile"), _TRUST),
    **dict.fromkeys(("proxy", "proxies", "httpproxy", "httpsproxy", "noproxy"), _PROXY),
    **dict.fromkeys(("timeout", "requesttimeout", "timeoutseconds"), "write 'read_timeout_seconds'"),
    **dict.fromkeys(("rpm", "ratelimit", "qpm"), "write 'requests_per_minute'"),
}
_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_HIDDEN = "where the form hides the field, use 'airflow connections' or make the connection anew"
_NOTES = "a note for people has its place in the connection's description"


def settings_of(connection: Connection) -> Settings:
    """Return the settings that a connection holds.

    :raises ConfigurationError: names the field, the value and what is allowed, but never shows the key.
    """
    try:
        return _settings_of(connection)
    except ConfigurationError as error:
        # The key may have been pasted into a second field as well.
        for secret in (connection.password, connection.login):
            if isinstance(secret, str) and len(secret.strip()) >= SHORTEST_SECRET:
                error.scrub(secret.strip())
        raise


def _settings_of(connection: Connection) -> Settings:
    _check_type(connection.conn_type)
    host = (connection.host or "").strip()
    schema = (connection.schema or "").strip()
    _check_key_place((connection.password or "").strip(), (connection.login or "").strip(), host, schema)
    extra = _extra(connection.extra)
    megabytes = _number(extra, "max_video_megabytes", DEFAULT_MAX_VIDEO_BYTES // MEBIBYTE, "1 or more")
    return Settings(
        api_key=connection.password or "",
        base_url=_base_url(host, schema, connection.port),
        allow_http=_truth(extra, "allow_http"),
        response_version=str(extra.get("response_version") or "") or None,
        read_timeout_seconds=_number(extra, "read_timeout_seconds", 0, "1 or more") or None,
        max_video_bytes=int(megabytes * MEBIBYTE),
        requests_per_minute=_number(extra, "requests_per_minute", 0, "1 or more") or None,
        on_unknown_submit=cast(Literal["resend", "fail"], str(extra.get("on_unknown_submit") or "resend")),
    )


def _check_type(kind: str | None) -> None:
    # Airflow accepts a JSON connection without a type. A connection with another type was made for another service.
    if (kind or "").strip().lower() not in ("", CONN_TYPE):
        raise ConfigurationError(
            f"conn_type={shown(kind)}: its secret is for another service, so nothing was sent to APIMart; allowed: "
            f"{CONN_TYPE!r}. Name a connection of this type, or correct the type if the password is an APIMart key "
            f"(in a URI the scheme is the type: {CONN_TYPE}://:KEY@HOST)"
        )


def _check_key_place(password: str, login: str, host: str, schema: str) -> None:
    if not password and (login or host):
        raise ConfigurationError(
            f"the connection has no API key: put it into the password field, not into {'login' if login else 'host'} "
            f"(in a URI it stands behind a colon: {CONN_TYPE}://:KEY@HOST)"
        )
    if not password:
        raise ConfigurationError(
            "the connection has no API key: put it into the password field (keys: apimart.ai/keys)"
        )
    if login:
        raise ConfigurationError(f"login: APIMart has none; leave it empty ({_HIDDEN})")
    if len(password) >= SHORTEST_SECRET and password in schema:
        raise ConfigurationError(f"schema holds the API key; leave it empty ({_HIDDEN})")
    pasted = len(password) >= SHORTEST_SECRET and password in host
    if pasted or (looks_secret(host) and not set("./@[") & set(host)):
        raise ConfigurationError("host (Base URL) holds what looks like an API key; leave it empty, or name the host")


# --- the base URL -----------------------------------------------------------------------------------------------


def _base_url(host: str, schema: str, port: int | None) -> str:
    """Join host, port and schema: http or https, or (from a URI) the path."""
    scheme = schema.lower() if schema.lower() in ("http", "https") else ""
    path = "" if scheme else schema.strip("/")
    _check_path(path)
    if not host:
        return _default_base_url(scheme, path, port)
    lead, separator, rest = host.rpartition("://")
    if scheme and separator and lead.lower() != scheme:
        raise ConfigurationError(f"schema={scheme!r}: the host already says {shown(lead)}; leave the schema empty")
    netloc, _, own_path = rest.partition("/")
    if _is_ipv6(netloc):
        netloc = f"[{netloc}]"
    netloc = _with_port(netloc, port)
    own_path = "/".join(part for part in (own_path.rstrip("/"), path) if part)
    start = f"{lead}://" if separator else f"{scheme}://" if scheme else ""
    return f"{start}{netloc}/{own_path}" if own_path else f"{start}{netloc}"


def _default_base_url(scheme: str, path: str, port: int | None) -> str:
    if port:
        raise ConfigurationError(f"port={port}: there is no host that it belongs to; write the host, or leave it empty")
    if scheme == "http" or path not in ("", "v1"):
        raise ConfigurationError(
            f"schema={shown(scheme or path)}: there is no host that it belongs to; write the host, or leave it empty"
        )
    return DEFAULT_BASE_URL


def _check_path(path: str) -> None:
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ConfigurationError(
            f"schema={shown(path)}: allowed: http, https, the path of the base URL (in a URI, what stands behind the "
            f"host), or empty ({_HIDDEN})"
        )


def _with_port(netloc: str, port: int | None) -> str:
    if not port:
        return netloc
    try:
        own = urlsplit(f"//{netloc}").port
    except ValueError:
        return netloc  # This is not a valid host. The check of the whole URL reports that.
    if own not in (None, port):
        raise ConfigurationError(f"port={port}: the host already says {own}; leave one of the two away")
    return netloc if own else f"{netloc.removesuffix(':')}:{port}"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


# --- extra ------------------------------------------------------------------------------------------------------


def _extra(text: str | None) -> Mapping[str, Any]:
    """Return the fields of extra that are set, by name.

    This does not use ``Connection.extra_dejson``, which masks with a synchronous call. A trigger must not make one.
    """
    try:
        extra = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise ConfigurationError("extra: must be a JSON object") from None
    if not isinstance(extra, Mapping):
        raise ConfigurationError("extra: must be a JSON object")
    found: dict[str, Any] = {}
    problems = []
    for name, value in extra.items():
        field = name.removeprefix(LEGACY_PREFIX)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if field not in CONN_FIELDS:
            problems.append(f"extra holds {shown(field)}, which nothing reads: {_remedy(field)}")
        elif field in found and found[field] != value:
            problems.append(f"extra holds both {field!r} and '{LEGACY_PREFIX}{field}', which differ: leave one away")
        found[field] = value
    if problems:
        raise ConfigurationError(
            f"{'; '.join(problems)} (allowed in extra: {', '.join(CONN_FIELDS)}; {_NOTES}; {_HIDDEN})"
        )
    return found


def _remedy(name: str) -> str:
    plain = re.sub(r"[\s_-]", "", name.lower())
    known = {field.replace("_", ""): field for field in CONN_FIELDS}
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.75)
    return _MEANT.get(plain) or (f"write {known[near[0]]!r}" if near else "take it out")


def _truth(extra: Mapping[str, Any], name: str) -> bool:
    value = extra.get(name)
    text = str(value).strip().lower()
    if value is None or text in ("false", "0", "no"):
        return False
    if text in ("true", "1", "yes"):
        return True
    raise ConfigurationError(f"{name}={shown(value, LONGEST_EXTRA)}: allowed: true or false")


def _number(extra: Mapping[str, Any], name: str, default: float, allowed: str) -> float:
    value = extra.get(name)
    if value is None:
        return default
    number = read_number(value)
    if number is None or number < 1:
        raise ConfigurationError(f"{name}={shown(value, LONGEST_EXTRA)}: allowed: a number, {allowed}")
    return number
