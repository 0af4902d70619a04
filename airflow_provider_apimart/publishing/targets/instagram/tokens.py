"""How long an access token lives, and its renewal.

A long-lived token of Instagram Login lives for 60 days, and can be renewed for another 60 once it is a day old. A token
of a Page or of a system user (Facebook Login) may never expire.

These two questions are the only ones that Meta wants to have the token in the URL for. No error shows a URL.

https://developers.facebook.com/docs/instagram-platform/reference/refresh_access_token
https://developers.facebook.com/docs/facebook-login/guides/access-tokens/debugging
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from airflow_provider_apimart.publishing.errors import TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Exchange, Request
from airflow_provider_apimart.publishing.targets.instagram.answers import refusal
from airflow_provider_apimart.publishing.targets.instagram.settings import InstagramSettings

#: What publishing needs of Facebook Login.
NEEDED_SCOPES = frozenset({"instagram_basic", "instagram_content_publish", "pages_read_engagement"})


@dataclass(frozen=True)
class TokenFacts:
    """What Meta says about a token of Facebook Login.

    :param expires_at: ``None`` if it does not expire.
    :param scopes: what it allows.
    """

    expires_at: datetime | None
    scopes: frozenset[str]


@dataclass(frozen=True)
class RenewedToken:
    """A token that replaces the connection's."""

    value: str = field(repr=False)
    expires_at: datetime


def token_facts(
    settings: InstagramSettings, scrub: Callable[[str], str], now: Callable[[], datetime]
) -> Exchange[TokenFacts]:
    """Ask about the connection's token. Facebook Login only."""
    what = "question about the token"
    reply = yield Request(
        what,
        "GET",
        f"{settings.root}/{settings.api_version}/debug_token",
        params={"input_token": settings.token, **settings.proof},
    )
    body = reply.json()
    data = body.get("data") if isinstance(body, dict) else None
    if not 200 <= reply.status < 300 or not isinstance(data, dict):
        raise refusal(reply, what, now(), scrub)
    expires, scopes = data.get("expires_at"), data.get("scopes")
    return TokenFacts(
        datetime.fromtimestamp(expires, UTC) if isinstance(expires, int) and expires > 0 else None,
        frozenset(scope for scope in scopes if isinstance(scope, str)) if isinstance(scopes, list) else frozenset(),
    )


def renewal(
    settings: InstagramSettings, scrub: Callable[[str], str], now: Callable[[], datetime]
) -> Exchange[RenewedToken]:
    """Renew the connection's token. Instagram Login only."""
    what = "renewal of the token"
    reply = yield Request(
        what,
        "GET",
        f"{settings.root}/refresh_access_token",
        params={"grant_type": "ig_refresh_token", "access_token": settings.token},
        authorized=False,
    )
    body = reply.json()
    if not 200 <= reply.status < 300 or not isinstance(body, dict):
        raise refusal(reply, what, now(), scrub)
    value, seconds = body.get("access_token"), body.get("expires_in")
    if not isinstance(value, str) or not value or not isinstance(seconds, int):
        raise TargetUnavailableError(f"Instagram's answer to the {what} holds no token")
    return RenewedToken(value, now() + timedelta(seconds=seconds))
