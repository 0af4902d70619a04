"""Turns an Airflow connection into the client's settings.

Owns the rule that no part of a connection is silently ignored. Each part is used, joined to the base URL, or refused by
name before anything is sent. A connection of another type is refused as a whole: its secret is not APIMart's. No error
of this file shows the password, a login, or what looks like a secret in another field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import (
    DEFAULT_BASE_URL,
    DEFAULT_MAX_VIDEO_BYTES,
    MEBIBYTE,
    Settings,
    looks_secret,
    shown,
)
from airflow_provider_apimart.connection_form import CONN_FIELDS
from airflow_provider_apimart.hooks.connections.connection_parts import (
    HIDDEN,
    SHORTEST_SECRET,
    check_path,
    extra_of,
    is_type,
    joined_url,
    number,
    scrubbed,
    truth,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

CONN_TYPE = "apimart"

_BASE_URL = "the base URL is the connection's host"
_PASSWORD = "the API key is the connection's password"  # noqa: S105  # a text that holds none
#: Names that people put into extra for settings that belong elsewhere; without case, hyphens and underscores.
_MEANT = {
    **dict.fromkeys(("baseurl", "url", "uri", "endpoint", "endpointurl", "apibase", "apiurl", "host"), _BASE_URL),
    **dict.fromkeys(("apikey", "key", "token", "apitoken", "secret", "password", "accesstoken"), _PASSWORD),
    **dict.fromkeys(("timeout", "requesttimeout", "timeoutseconds"), "write 'read_timeout_seconds'"),
    **dict.fromkeys(("rpm", "ratelimit", "qpm"), "write 'requests_per_minute'"),
}


def settings_of(connection: Connection) -> Settings:
    """Return the settings that a connection holds.

    :param connection: an Airflow connection of the type ``apimart``.
    :raises ConfigurationError: names the field, the value and what is allowed, but never shows the key.
    """
    try:
        return _settings_of(connection)
    except ConfigurationError as error:
        scrubbed(error, connection.password, connection.login)
        raise


def _settings_of(connection: Connection) -> Settings:
    _check_type(connection.conn_type)
    host = (connection.host or "").strip()
    schema = (connection.schema or "").strip()
    _check_key_place((connection.password or "").strip(), (connection.login or "").strip(), host, schema)
    extra = extra_of(connection.extra, CONN_TYPE, CONN_FIELDS, _MEANT)
    megabytes = number(extra, "max_video_megabytes", DEFAULT_MAX_VIDEO_BYTES // MEBIBYTE, "1 or more")
    return Settings(
        api_key=connection.password or "",
        base_url=_base_url(host, schema, connection.port),
        allow_http=truth(extra, "allow_http"),
        response_version=str(extra.get("response_version") or "") or None,
        read_timeout_seconds=number(extra, "read_timeout_seconds", 0, "1 or more") or None,
        max_video_bytes=int(megabytes * MEBIBYTE),
        requests_per_minute=number(extra, "requests_per_minute", 0, "1 or more") or None,
        on_unknown_submit=cast(Literal["resend", "fail"], str(extra.get("on_unknown_submit") or "resend")),
    )


def _check_type(kind: str | None) -> None:
    # A connection with another type was made for another service.
    if not is_type(kind, CONN_TYPE):
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
        raise ConfigurationError(f"login: APIMart has none; leave it empty ({HIDDEN})")
    if len(password) >= SHORTEST_SECRET and password in schema:
        raise ConfigurationError(f"schema holds the API key; leave it empty ({HIDDEN})")
    pasted = len(password) >= SHORTEST_SECRET and password in host
    if pasted or (looks_secret(host) and not set("./@[") & set(host)):
        raise ConfigurationError("host (Base URL) holds what looks like an API key; leave it empty, or name the host")


def _base_url(host: str, schema: str, port: int | None) -> str:
    if host:
        return joined_url(host, schema, port)
    scheme = schema.lower() if schema.lower() in ("http", "https") else ""
    path = "" if scheme else schema.strip("/")
    check_path(path)
    if port:
        raise ConfigurationError(f"port={port}: there is no host that it belongs to; write the host, or leave it empty")
    if scheme == "http" or path not in ("", "v1"):
        raise ConfigurationError(
            f"schema={shown(scheme or path)}: there is no host that it belongs to; write the host, or leave it empty"
        )
    return DEFAULT_BASE_URL
