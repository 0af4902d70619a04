"""The access token of a Google account, made from the connection's refresh token.

An access token lives for about an hour. Each process keeps the ones it was given, by a hash of what they were made
from, so that a hundred mapped tasks of one worker do not ask for a hundred. Neither token is ever stored anywhere.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from airflow_provider_apimart.client.envelope import retry_after
from airflow_provider_apimart.publishing.errors import CredentialsError, PublishError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Exchange, Reply, Request

DEFAULT_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
#: Reading the channel, uploading and publishing: the least scope that allows all three.
SCOPE = "https://www.googleapis.com/auth/youtube"
UPLOAD_SCOPE = "https://www.googleapis.com/auth/youtube.upload"
#: Scopes of which one is enough.
ENOUGH = frozenset({SCOPE, f"{SCOPE}.force-ssl", "https://www.googleapis.com/auth/youtubepartner"})
#: A token that expires sooner than this is renewed first.
MARGIN_SECONDS = 120.0
DEFAULT_LIFE_SECONDS = 3600.0
#: Errors of the token endpoint that pass.
PASSING = frozenset({"internal_failure", "server_error", "temporarily_unavailable"})

CONNECT = "airflow-provider-apimart connect youtube"
#: Why Google says ``invalid_grant``.
VOID = (
    "Google no longer accepts the connection's refresh token (invalid_grant). One of three causes: (1) the OAuth "
    "consent screen of the Google Cloud project is in Testing, where every refresh token dies after 7 days: set it to "
    "In production; (2) the account's owner has revoked the access or changed the password; (3) the token was unused "
    "for 6 months, or is older than the newest 100 of this account and client. Nothing is lost: make the connection "
    f"again ({CONNECT}), then clear the task"
)


@dataclass(frozen=True)
class AccessToken:
    """An access token.

    :param expires_at: on the monotonic clock.
    :param scopes: what it allows, if Google has said so.
    """

    value: str = field(repr=False)
    expires_at: float
    scopes: frozenset[str] = frozenset()


_tokens: dict[str, AccessToken] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class OAuthClient:
    """What a connection holds.

    :param client_id: of the OAuth client in the Google Cloud project.
    :param client_secret: its secret.
    :param refresh_token: what the account's owner has granted to it.
    :param token_url: where tokens are renewed.
    """

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)
    token_url: str = DEFAULT_TOKEN_URL

    @property
    def key(self) -> str:
        """A name for the token cache that gives nothing away."""
        parts = [self.token_url, self.client_id, self.client_secret, self.refresh_token]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class OAuthCredentials:
    """Authorizes requests for one Google account, as :class:`.exchange.Credentials`.

    :param on_secret: is told each new access token, so that it can be masked in logs.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        client: OAuthClient,
        on_secret: Callable[[str], None] = lambda secret: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._on_secret = on_secret
        self._clock = clock
        self._used = ""

    @property
    def token(self) -> AccessToken | None:
        """The token in use, unless it expires now."""
        with _lock:
            token = _tokens.get(self._client.key)
        return token if token and token.expires_at - MARGIN_SECONDS > self._clock() else None

    def headers(self) -> Mapping[str, str]:
        """Return the header that authorizes a request."""
        token = self.token
        self._used = token.value if token else ""
        return {"Authorization": f"Bearer {token.value}"} if token else {}

    def needs_renewal(self) -> bool:
        """Return whether there is no token, or it expires now."""
        return self.token is None

    def renew(self) -> Exchange[bool]:
        """Exchange the refresh token for an access token.

        :raises CredentialsError: if Google says that the refresh token or the client is void.
        """
        known = self.token
        if known is not None and known.value != self._used:
            # Another task of this process has renewed it meanwhile.
            return True
        client = self._client
        try:
            reply = yield Request(
                what="renewal of the access token",
                method="POST",
                url=client.token_url,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                content=urlencode(
                    {
                        "grant_type": "refresh_token",
                        "client_id": client.client_id,
                        "client_secret": client.client_secret,
                        "refresh_token": client.refresh_token,
                    }
                ).encode(),
                authorized=False,
            )
        except TargetUnavailableError as error:
            # Of what was to be done with the token, nothing was.
            error.nothing_done = True
            raise
        token = self._read(reply)
        self._on_secret(token.value)
        with _lock:
            _tokens[client.key] = token
        return True

    def scrub(self, text: str) -> str:
        """Return ``text`` without any secret of the connection."""
        with _lock:
            token = _tokens.get(self._client.key)
        secrets = (self._client.client_secret, self._client.refresh_token, token.value if token else "", self._used)
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        return text

    def _read(self, reply: Reply) -> AccessToken:
        body = reply.json()
        found = body if isinstance(body, dict) else {}
        value = found.get("access_token")
        usable = isinstance(value, str) and value.isascii() and value.isprintable() and value.strip()
        if reply.status != 200 or not isinstance(value, str) or not usable:
            raise self._error(reply, _text(found, "error"), _text(found, "error_description"))
        life, scope = found.get("expires_in"), found.get("scope")
        seconds = float(life) if isinstance(life, (int, float)) and life > 0 else DEFAULT_LIFE_SECONDS
        scopes = frozenset(scope.split()) if isinstance(scope, str) else frozenset()
        return AccessToken(value, self._clock() + seconds, scopes)

    def _error(self, reply: Reply, code: str, description: str) -> PublishError:
        told = self.scrub(f"{code}: {description}" if description else code)[:300]
        if code == "invalid_grant":
            return CredentialsError(VOID, reason=code, status=reply.status)
        if code in PASSING or reply.status in (408, 429) or reply.status >= 500 or reply.status < 400:
            return TargetUnavailableError(
                f"Google did not renew the access token now ({told or f'HTTP {reply.status}'})",
                nothing_done=True,
                retry_after_seconds=retry_after(reply.headers),
                status=reply.status,
            )
        hint = {
            "invalid_client": "the client id (login) and the client secret (password) do not belong together, or the "
            "OAuth client was deleted",
            "unauthorized_client": "the refresh token was granted to another OAuth client",
            "deleted_client": "the OAuth client was deleted",
            "invalid_scope": "the refresh token was granted for other scopes",
        }.get(code, "correct the connection")
        return CredentialsError(
            f"Google did not renew the access token ({told or f'HTTP {reply.status}'}): {hint}. To make the connection "
            f"again: {CONNECT}",
            reason=code or None,
            status=reply.status,
        )


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""
