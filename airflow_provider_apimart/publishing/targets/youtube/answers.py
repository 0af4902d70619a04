"""Reads YouTube's refusals: by their ``reason``, never by the status alone.

``uploadLimitExceeded`` was seen with 400, quota errors come with 403, and so does a wrong scope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_apimart.client.envelope import retry_after
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRejectedError,
    PublishError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Reply

#: Quotas reset at midnight there.
PACIFIC = ZoneInfo("America/Los_Angeles")
MAX_TEXT = 300

QUOTA = frozenset({"quotaExceeded", "dailyLimitExceeded", "dailyLimitExceededUnreg"})
CHANNEL_LIMIT = "uploadLimitExceeded"
BUSY = frozenset(
    {
        *("rateLimitExceeded", "userRateLimitExceeded", "uploadRateLimitExceeded", "concurrentLimitExceeded"),
        *("backendError", "internalError", "serviceUnavailable", "processingFailure", "SERVICE_UNAVAILABLE"),
    }
)
SCOPE = (
    "the connection lacks a permission: connect again and grant all that is asked for (the scope youtube.upload alone "
    "neither reads the channel nor publishes)"
)
NOT_ENABLED = "the YouTube Data API v3 is not enabled in the Google Cloud project of the OAuth client"
#: What a person has to put right in the account or in the connection.
ACCOUNT = {
    "youtubeSignupRequired": "this Google account has no YouTube channel: create one, then connect again",
    "NoLinkedYouTubeAccount": "a service account has no channel: connect with the OAuth client of a person's account",
    "insufficientPermissions": SCOPE,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": SCOPE,
    "accessNotConfigured": NOT_ENABLED,
    "SERVICE_DISABLED": NOT_ENABLED,
    "authError": "the access token is not accepted: connect again",
    "forbidden": "the account may not do this to this channel",
    "channelClosed": "the channel is closed",
    "channelSuspended": "the channel is suspended",
    "accountClosed": "the account is closed",
    "accountSuspended": "the account is suspended",
    "authenticatedUserAccountClosed": "the account is closed",
    "authenticatedUserAccountSuspended": "the account is suspended",
}


@dataclass(frozen=True)
class Problem:
    """What the body of a refusal says. All of it is text from outside."""

    reason: str = ""
    message: str = ""
    location: str = ""

    def __str__(self) -> str:
        place = f" ({self.location})" if self.location else ""
        return ": ".join(part for part in (f"{self.reason}{place}", self.message) if part)


def problem_of(reply: Reply) -> Problem:
    """Return what a refusal says, in either of Google's forms."""
    body = reply.json()
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return Problem()
    first = next((each for each in _list(error.get("errors")) if isinstance(each, dict)), {})
    details = (each.get("reason") for each in _list(error.get("details")) if isinstance(each, dict))
    reason = first.get("reason") or next((each for each in details if each), None) or error.get("status")
    return Problem(
        reason=_short(reason), message=_short(first.get("message") or error.get("message")),
        location=_short(first.get("location")),
    )  # fmt: skip


def refusal(reply: Reply, what: str, now: datetime, scrub: Callable[[str], str]) -> PublishError:
    """Return the error that a reply stands for.

    :param what: what was asked, for the message ("start of the upload").
    :param scrub: takes secrets out of YouTube's text.
    """
    problem = problem_of(reply)
    reason, status = problem.reason, reply.status
    told = scrub(str(problem)).rstrip(". ") or "no reason given"
    text = f"YouTube refused the {what}: {told}"
    more: dict[str, Any] = {"reason": reason or None, "status": status}
    if reason in QUOTA:
        until = next_pacific_midnight(now)
        return TargetLimitError(
            f"{text}. The quota of the Google Cloud project is used up, and resets at midnight Pacific time "
            f"({until:%Y-%m-%dT%H:%MZ}). Nothing is lost: the post goes on then",
            until=until,
            **more,
        )
    if reason == CHANNEL_LIMIT:
        until = now + timedelta(hours=24)
        return TargetLimitError(
            f"{text}. The channel may upload no more videos for now: YouTube counts about 24 hours back, private "
            f"videos included, and names no number. The post goes on at {until:%Y-%m-%dT%H:%MZ}, or with a retry",
            until=until,
            **more,
        )
    if reason in BUSY or status in (408, 409, 429) or status >= 500:
        return TargetUnavailableError(
            f"YouTube could not do the {what} now: {told}", nothing_done=400 <= status < 500 and status != 408,
            retry_after_seconds=retry_after(reply.headers), **more,
        )  # fmt: skip
    if reason in ACCOUNT or (status in (401, 403) and not reason.startswith(("invalid", "forbidden"))):
        hint = ACCOUNT.get(reason, "look at the account and at the connection")
        return CredentialsError(f"{text}. What to do: {hint}", **more)
    if 300 <= status < 400:
        return TargetUnavailableError(f"YouTube answered the {what} with a redirect, which is not followed", **more)
    if status < 300:
        return TargetUnavailableError(f"YouTube's answer to the {what} cannot be read", **more)
    return PostRejectedError(f"{text}. A retry would be refused too: correct the post", **more)


def next_pacific_midnight(now: datetime) -> datetime:
    """Return when the quotas reset next, in UTC."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    # Made from the date, so that a day of 23 or 25 hours ends at midnight too.
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=PACIFIC).astimezone(UTC)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _short(value: object) -> str:
    text = " ".join(str(value).split()) if isinstance(value, str) else ""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
