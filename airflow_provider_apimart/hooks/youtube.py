"""The connection of a YouTube channel: an OAuth client, and the refresh token that the channel's owner has granted it.

``airflow-provider-apimart connect youtube`` makes it. A connection of Google's own provider is accepted too, if its
``credential_config_file`` holds such a grant (``{"type": "authorized_user", ...}``): a service account has no channel.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import is_loopback, shown
from airflow_provider_apimart.connection_form import FORMS
from airflow_provider_apimart.hooks.connections.connection_hook import mask
from airflow_provider_apimart.hooks.connections.connection_parts import HIDDEN, extra_of, is_type, truth
from airflow_provider_apimart.hooks.publishers import Publisher, PublisherHook
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.publishing.errors import PublishError, TargetLimitError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.targets.youtube.oauth import (
    CONNECT,
    DEFAULT_TOKEN_URL,
    ENOUGH,
    OAuthClient,
    OAuthCredentials,
)
from airflow_provider_apimart.publishing.targets.youtube.target import DEFAULT_API_URL, YouTubeTarget
from airflow_provider_apimart.storage.files import read_small

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Connection

__all__ = ["YouTubeHook"]

CONN_TYPE = "youtube"
GOOGLE_TYPE = "google_cloud_platform"
GRANT = "credential_config_file"
_REFRESH = "the refresh token is extra's 'refresh_token'"
_ID = "the OAuth client's id is the login"
_SECRET = "the OAuth client's secret is the password"  # noqa: S105  # a text that holds none
_MEANT = {
    **dict.fromkeys(("token", "refresh", "accesstoken"), _REFRESH),
    **dict.fromkeys(("clientid", "id"), _ID),
    **dict.fromkeys(("clientsecret", "secret", "password"), _SECRET),
    **dict.fromkeys(("url", "baseurl", "host", "endpoint", "apiurl"), "write 'api_base_url'"),
    **dict.fromkeys(("tokenuri",), "write 'token_url'"),
}


@dataclass(frozen=True)
class YouTubeSettings:
    """What a connection holds, checked."""

    client: OAuthClient
    api_base_url: str = field(default=DEFAULT_API_URL)


class YouTubeHook(PublisherHook):
    """Posts on the YouTube channel of an Airflow connection.

    :param youtube_conn_id: the connection, of the type ``youtube``: ``login`` is the OAuth client's id, ``password``
        its secret; extra holds ``refresh_token``, and may hold ``api_base_url`` and ``token_url`` (both for the
        emulator) and ``allow_http``. Any other field in it is refused by name. A connection of the type
        ``google_cloud_platform`` may hold an authorized user in ``credential_config_file`` instead.
    """

    conn_name_attr = "youtube_conn_id"
    default_conn_name = "youtube_default"
    conn_type = CONN_TYPE
    hook_name = "YouTube"
    example_json = (
        f'{{"conn_type": "{CONN_TYPE}", "login": "CLIENT_ID", "password": "CLIENT_SECRET", "extra": '
        '{"refresh_token": "..."}}'
    )
    example_uri = f"{CONN_TYPE}://CLIENT_ID:CLIENT_SECRET@/?refresh_token=..."
    remedy = f"make it with: {CONNECT}"

    def __init__(self, youtube_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.youtube_conn_id = youtube_conn_id

    def publisher(self, **options: Any) -> Publisher:
        """Return the publisher of this connection. Access tokens and upload sessions are masked as they come."""
        return super().publisher(**{"on_secret": mask, **options})

    def _checked(self, connection: Connection, options: dict[str, Any]) -> Publisher:
        if is_type(connection.conn_type, GOOGLE_TYPE) and connection.conn_type:
            return _publisher(_settings_of_google(connection), **options)
        return super()._checked(connection, options)

    def _read(self, connection: Connection, **options: Any) -> Publisher:
        return _publisher(_settings_of(connection), **options)

    def _secrets(self, connection: Connection) -> Iterable[str]:
        if connection.password:
            yield connection.password
            yield connection.password.strip()
        with suppress(ConfigurationError, ValueError, RecursionError):
            extra = json.loads(connection.extra or "{}")
            for name, value in extra.items() if isinstance(extra, Mapping) else ():
                if isinstance(value, str) and name.endswith("token") and value.strip():
                    yield value.strip()
            if is_type(connection.conn_type, GOOGLE_TYPE) and connection.conn_type:
                client = _settings_of_google(connection).client
                yield client.client_secret
                yield client.refresh_token

    def test_connection(self) -> tuple[bool, str]:
        """Find out which channel the connection leads to, or what is wrong. Costs one unit of quota, never raises."""
        try:
            return self._tested()
        except Exception as error:
            # Airflow's form shows the returned text, and breaks on an exception. The error's own text may be secret.
            return False, f"The connection could not be tested ({type(error).__name__})"

    def _tested(self) -> tuple[bool, str]:
        try:
            publisher = self.publisher()
            target, credentials = publisher.target, publisher.credentials
            if not isinstance(target, YouTubeTarget) or not isinstance(credentials, OAuthCredentials):
                raise AssertionError("this hook's publisher is YouTube's")
            with Sender(credentials) as sender:
                channel = sender.run(target.channel())
        except TargetLimitError as error:
            return False, f"The connection is accepted, but the channel cannot be asked now: {error}"
        except TargetUnavailableError as error:
            return False, f"YouTube has trouble right now, or cannot be reached: {error}"
        except (PublishError, ConfigurationError) as error:
            return False, str(error)
        scopes = credentials.token.scopes if credentials.token else frozenset()
        if scopes and not scopes & ENOUGH:
            names = ", ".join(sorted(scope.rpartition("/")[2] for scope in scopes))
            return False, (
                f"The connection leads to the channel {channel}, but may not post there: it was granted {names}. "
                f"Connect again and grant all that is asked for: {CONNECT}"
            )
        return True, (
            f"The connection leads to the channel {channel}. If it stops after 7 days, the OAuth consent screen of its "
            "Google Cloud project is still in Testing: publish it, and connect again"
        )


def _publisher(
    settings: YouTubeSettings, *, on_secret: Callable[[str], None] = lambda secret: None, **_: Any
) -> Publisher:
    credentials = OAuthCredentials(settings.client, on_secret)
    target = YouTubeTarget(settings.api_base_url, scrub=credentials.scrub, read_file=_read_file, on_secret=on_secret)
    return Publisher(target, credentials, Seal(settings.client.client_secret))


def _read_file(path: str, limit: int) -> bytes | None:
    return read_small(file_of(path, "thumbnail"), limit)


# --- reading a connection --------------------------------------------------------------------------------------------


def _settings_of(connection: Connection) -> YouTubeSettings:
    extra = extra_of(connection.extra, CONN_TYPE, FORMS[CONN_TYPE].fields, _MEANT)
    problems = [
        f"{name} is not used; leave it empty ({HIDDEN}; another address of the API is extra's api_base_url)"
        for name, value in (("host", connection.host), ("schema", connection.schema), ("port", connection.port))
        if value
    ]
    found = {
        "the OAuth client's id into the login": (connection.login or "").strip(),
        "its secret into the password": (connection.password or "").strip(),
        "the refresh token into extra's refresh_token": _text(extra, "refresh_token"),
    }
    missing = [place for place, value in found.items() if not value]
    if missing:
        problems.append(f"the connection is not complete: put {', '.join(missing)}, or make it with: {CONNECT}")
    if problems:
        raise ConfigurationError("; ".join(problems))
    client_id, client_secret, refresh_token = found.values()
    allow_http = truth(extra, "allow_http")
    token_url = _address(extra, "token_url", DEFAULT_TOKEN_URL, allow_http)
    return YouTubeSettings(
        OAuthClient(client_id, client_secret, refresh_token, token_url),
        _address(extra, "api_base_url", DEFAULT_API_URL, allow_http),
    )


def _settings_of_google(connection: Connection) -> YouTubeSettings:
    """Read a connection of Google's provider."""
    what = f"a connection of the type {GOOGLE_TYPE!r} can be used if its extra {GRANT!r} holds an authorized user"
    try:
        extra = json.loads(connection.extra or "{}")
        grant = extra.get(GRANT) or extra.get(f"extra__{GOOGLE_TYPE}__{GRANT}")
        if isinstance(grant, str):
            text = grant if grant.lstrip().startswith("{") else Path(grant).read_text(encoding="utf-8")
            grant = json.loads(text)
    except (ValueError, AttributeError, RecursionError, OSError) as error:
        raise ConfigurationError(f"{what}, and it cannot be read ({type(error).__name__}); else: {CONNECT}") from None
    if not isinstance(grant, Mapping) or grant.get("type") != "authorized_user":
        raise ConfigurationError(
            f'{what}: {{"type": "authorized_user", "client_id", "client_secret", "refresh_token"}}. A service account '
            f"has no YouTube channel. To make a connection of the type {CONN_TYPE!r}: {CONNECT}"
        )
    parts = [_text(grant, name) for name in ("client_id", "client_secret", "refresh_token")]
    if not all(parts):
        raise ConfigurationError(f"{what}, and it lacks a client_id, client_secret or refresh_token")
    return YouTubeSettings(OAuthClient(*parts))


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def _address(extra: Mapping[str, Any], name: str, default: str, allow_http: bool) -> str:
    value = extra.get(name)
    if value is None:
        return default
    allowed = f"allowed: an https:// URL such as {default}, or empty"
    try:
        parts = urlsplit(value.strip().rstrip("/"))
        port = parts.port
    except (ValueError, AttributeError):
        raise ConfigurationError(f"{name}={shown(value)}: not a URL; {allowed}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.username or parts.query:
        raise ConfigurationError(f"{name}={shown(value)}: {allowed}")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"{name}={shown(value)}: http:// would send tokens unencrypted; use https://, or set allow_http in the "
            "connection if you want that"
        )
    return str(parts.geturl())
