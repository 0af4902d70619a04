"""Reads Meta's refusals: by code and subcode, never by their words and never by ``is_transient: false``, which is also
sent with errors that pass.

The tables follow the error codes of the Instagram Platform (page of 2 June 2026) and of the Graph API:
https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/error-codes
https://developers.facebook.com/docs/graph-api/guides/error-handling
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_apimart.client.envelope import retry_after
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRejectedError,
    PublishError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Reply

MAX_TEXT = 300
#: Until it is asked again if it is not known when the oldest post leaves the 24 hours that are counted.
LIMIT_PAUSE = timedelta(hours=1)
#: The pause after "too many calls", if Meta names none.
RATE_PAUSE_SECONDS = 300.0
#: Within "30 seconds to 2 minutes", as the error's page says.
PUBLISH_PAUSE_SECONDS = 60.0
NOT_READY_PAUSE_SECONDS = 30.0

TOKEN_CODES = frozenset({102, 190})
#: Why a token is void, by the subcode.
TOKEN_CAUSES = {
    458: "the account's owner has removed the app",
    459: "the account has to pass a check: sign in to it in the browser",
    460: "the account's password was changed",
    463: "it has expired (a long-lived token lives for 60 days)",
    464: "the account is not confirmed: sign in to it in the browser",
    467: "it was revoked, or its owner has signed out",
    490: "the account has to pass a check: sign in to it in the browser",
    492: "its owner has no role on the Page any more",
}
PERMISSION_CODES = frozenset({3, 10, *range(200, 300)})
RATE_CODES = frozenset({4, 17, 32, 341, 613, 80002})
PASSING_CODES = frozenset({-2, -1, 1, 2})
FORMAT_CODES = frozenset({352, 36000, 36001, 36003, 36004})
POLICY_CODE = 368
LIMIT_CODE = 9
PARAMETER_CODE = 100
#: With code 100: "does not exist, or missing permissions". It also comes while all is well, so it is no verdict.
UNKNOWN_OBJECT = 33

SPAM, DAILY_LIMIT, RESTRICTED = 2207051, 2207042, 2207050
NOT_READY, PUBLISHING_FAILED, EXPIRED, NOT_FETCHED = 2207027, 2207008, 2207020, 2207052
NO_CONTAINER = 2207006
#: What a new container of the same file and texts would not change.
FINAL = {
    2207004: "the cover image is too large (8 MB at most)",
    2207005: "the cover image has a format that Instagram does not take",
    2207009: "Instagram does not take this aspect ratio",
    2207010: "the caption is too long",
    2207023: "Instagram does not take this type of media",
    2207026: "Instagram does not take this video format (MP4 or MOV with H.264 or HEVC video and AAC sound)",
    2207028: "this cannot be published",
    2207035: "product tags are not taken here",
    2207036: "product tags are not taken here",
    2207037: "product tags are not taken here",
    2207040: "there are too many tags",
    SPAM: "Instagram takes it for spam: look at the account in the app before you post again",
    2207057: "the cover's moment (thumb_offset_ms) is not within the video",
}
FETCH_HINT = (
    "Meta could not fetch the video by its signed link: the storage has to be reachable from the internet, and the "
    "link has to live until Meta has fetched it (url_expires; a link signed with temporary credentials dies with them)"
)
RENEW = "Make a new long-lived token, put it into the connection's password, then clear the task"


@dataclass(frozen=True)
class Problem:
    """What the body of a refusal says. All of it is text from outside."""

    code: int | None = None
    subcode: int | None = None
    message: str = ""
    trace: str = ""
    transient: bool = False

    def __str__(self) -> str:
        numbers = "/".join(str(each) for each in (self.code, self.subcode) if each is not None)
        known = [f"code {numbers}"] if numbers else []
        known += [f"fbtrace_id {self.trace}"] if self.trace else []
        return " ".join(part for part in (self.message, f"({', '.join(known)})" if known else "") if part)


def problem_of(reply: Reply) -> Problem:
    """Return what a refusal of the Graph API or of the upload host says."""
    body = reply.json()
    if not isinstance(body, dict):
        return Problem()
    error, upload = body.get("error"), body.get("debug_info")
    if isinstance(error, dict):
        text = error.get("error_user_msg") or error.get("message")
        return Problem(
            code=_number(error.get("code")),
            subcode=_number(error.get("error_subcode")),
            message=_short(text),
            trace=_short(error.get("fbtrace_id")),
            transient=error.get("is_transient") is True,
        )
    if isinstance(upload, dict):
        parts = (_short(upload.get("type")), _short(upload.get("message")))
        return Problem(message=": ".join(part for part in parts if part), transient=upload.get("retriable") is True)
    return Problem()


def refusal(
    reply: Reply, what: str, now: datetime, scrub: Callable[[str], str], *, publishing: bool = False
) -> PublishError:
    """Return the error that a reply stands for.

    :param what: what was asked, for the message ("container's status").
    :param scrub: takes secrets out of Meta's text.
    :param publishing: whether this was the call that publishes: then nothing is said to be undone that may be done.
    """
    problem = problem_of(reply)
    told = scrub(str(problem)) or f"HTTP {reply.status}"
    more: dict[str, Any] = {"status": reply.status, "reason": _reason(problem)}
    return (
        _account_problem(problem, reply, what, told, more)
        or _limit(problem, reply, what, told, now, more)
        or _final(problem, what, told, more)
        or _passing(problem, reply, what, told, more, publishing)
    )


def _account_problem(problem: Problem, reply: Reply, what: str, told: str, more: dict[str, Any]) -> PublishError | None:
    if problem.code in TOKEN_CODES or (reply.status == 401 and problem.code is None):
        cause = TOKEN_CAUSES.get(problem.subcode or 0, "it is not valid (any more)")
        return CredentialsError(
            f"Instagram does not accept the connection's access token for the {what}: {cause}. {RENEW}. Meta says: "
            f"{told}",
            **more,
        )
    if problem.code in PERMISSION_CODES:
        return CredentialsError(
            f"the access token lacks a permission for the {what}: it needs instagram_business_basic and "
            "instagram_business_content_publish (Instagram Login), or instagram_basic, instagram_content_publish and "
            f"pages_read_engagement (Facebook Login), and a role on the Page. Grant them. {RENEW}. Meta says: {told}",
            **more,
        )
    if problem.subcode == RESTRICTED:
        return CredentialsError(
            "the Instagram account is inactive, restricted, or has to pass a check: sign in to it in the Instagram app "
            f"and do what it asks for, then clear the task. Meta says: {told}",
            **more,
        )
    return None


def _limit(
    problem: Problem, reply: Reply, what: str, told: str, now: datetime, more: dict[str, Any]
) -> PublishError | None:
    if problem.subcode == DAILY_LIMIT or problem.code == LIMIT_CODE:
        return daily_limit(now, told, **more)
    too_many = problem.code in RATE_CODES and problem.subcode != SPAM
    if too_many or reply.status == 429:
        pause = retry_after(reply.headers) or _regain_seconds(reply) or RATE_PAUSE_SECONDS
        return TargetUnavailableError(
            f"Meta takes no more calls from this app or account for now, so the {what} was not done: {told}",
            nothing_done=True,
            retry_after_seconds=pause,
            **more,
        )
    return None


def daily_limit(now: datetime, told: str, free_in: timedelta | None = None, **more: Any) -> TargetLimitError:
    """Return the error for an account that may publish no more for now.

    :param free_in: when it may again, if that is known.
    """
    until = now + (free_in or LIMIT_PAUSE)
    when = f"{until:%Y-%m-%dT%H:%MZ}"
    known = f"The account has room again at {when}" if free_in else f"It is asked again at {when}"
    return TargetLimitError(
        f"the account may publish no more posts by the API for now: {told}. Instagram counts 24 hours back. {known}. "
        "Nothing is lost",
        until=until,
        **more,
    )


def _final(problem: Problem, what: str, told: str, more: dict[str, Any]) -> PublishError | None:
    if problem.transient:
        return None
    known = FINAL.get(problem.subcode or 0)
    wrong_parameter = problem.code == PARAMETER_CODE and problem.subcode != UNKNOWN_OBJECT
    if known or problem.code in FORMAT_CODES or problem.code == POLICY_CODE or wrong_parameter:
        lead = f"Instagram refused the {what}" + (f": {known}" if known else "")
        return PostRejectedError(f"{lead}. Meta says: {told}", **more)
    return None


def _passing(
    problem: Problem, reply: Reply, what: str, told: str, more: dict[str, Any], publishing: bool
) -> TargetUnavailableError:
    pause, subcode, nothing_done = retry_after(reply.headers), problem.subcode, not publishing
    text = f"Instagram could not do the {what} now: {told}"
    if problem.code == PARAMETER_CODE and subcode == UNKNOWN_OBJECT:
        text = (
            f"Meta says that it does not know what the {what} is about, or that the token may not see it, which it "
            f"also says while all is well: {told}. If this stays so, check the account's id and the token"
        )
    elif subcode == NOT_FETCHED:
        text, pause = f"{FETCH_HINT}. Meta says: {told}", pause or NOT_READY_PAUSE_SECONDS
    elif subcode == NOT_READY:
        text, pause = f"the container is not ready to be published: {told}", pause or NOT_READY_PAUSE_SECONDS
        nothing_done = True
    elif subcode == EXPIRED:
        text, nothing_done = f"the container has expired: {told}", True
    elif subcode in (PUBLISHING_FAILED, NO_CONTAINER):
        pause = pause or PUBLISH_PAUSE_SECONDS
    return TargetUnavailableError(text, nothing_done=nothing_done, retry_after_seconds=pause, **more)


def status_code_of(text: object) -> int | None:
    """Return the subcode in a container's ``status``, such as "Error: Media upload has failed with error code N"."""
    found = re.search(r"\b(22\d{5})\b", text) if isinstance(text, str) else None
    return int(found[1]) if found else None


def _reason(problem: Problem) -> str | None:
    numbers = [str(each) for each in (problem.code, problem.subcode) if each is not None]
    return "/".join(numbers) or None


def _regain_seconds(reply: Reply) -> float | None:
    """Return the wait that the header ``x-business-use-case-usage`` names, in seconds (it names minutes)."""
    try:
        usage = json.loads(reply.headers["x-business-use-case-usage"])
        minutes = [each["estimated_time_to_regain_access"] for uses in usage.values() for each in uses]
        return max(float(each) for each in minutes) * 60 or None
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _short(value: object) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else ""
    text = "".join(c for c in text if c.isprintable())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
