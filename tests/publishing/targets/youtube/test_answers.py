"""A refusal is read by its reason; limits say when they reset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRejectedError,
    PublishError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Reply
from airflow_provider_apimart.publishing.targets.youtube.answers import next_pacific_midnight, problem_of, refusal
from tests.publishing.targets.youtube.driving import NOW, refused, reply


def told(answer: Reply) -> PublishError:
    return refusal(answer, "start of the upload", NOW, lambda text: text.replace("SECRET", "***"))


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "invalidTitle", PostRejectedError),
        (400, "invalidDescription", PostRejectedError),
        (400, "invalidTags", PostRejectedError),
        (400, "invalidCategoryId", PostRejectedError),
        (400, "invalidPublishAt", PostRejectedError),
        (400, "invalidVideoMetadata", PostRejectedError),
        (400, "invalidFilename", PostRejectedError),
        (400, "mediaBodyRequired", PostRejectedError),
        (403, "forbiddenPrivacySetting", PostRejectedError),
        (403, "forbiddenLicenseSetting", PostRejectedError),
        (400, "defaultLanguageNotSet", PostRejectedError),
        (401, "youtubeSignupRequired", CredentialsError),
        (403, "forbidden", CredentialsError),
        (403, "insufficientPermissions", CredentialsError),
        (403, "accessNotConfigured", CredentialsError),
        (401, "authError", CredentialsError),
        (403, "somethingNew", CredentialsError),
        (403, "quotaExceeded", TargetLimitError),
        (403, "dailyLimitExceeded", TargetLimitError),
        (400, "uploadLimitExceeded", TargetLimitError),
        (403, "uploadLimitExceeded", TargetLimitError),
        (403, "rateLimitExceeded", TargetUnavailableError),
        (403, "userRateLimitExceeded", TargetUnavailableError),
        (429, "uploadRateLimitExceeded", TargetUnavailableError),
        (429, "whatever", TargetUnavailableError),
        (409, "ALREADY_EXISTS", TargetUnavailableError),
        (500, "backendError", TargetUnavailableError),
        (503, "", TargetUnavailableError),
        (302, "", TargetUnavailableError),
        (200, "", TargetUnavailableError),
    ],
)
def test_class_of_each_reason(status: int, reason: str, kind: type[PublishError]) -> None:
    error = told(refused(status, reason))
    assert type(error) is kind
    assert error.reason == (reason or None)
    assert error.status == status


def test_reason_and_location_are_shown_and_secrets_are_not() -> None:
    error = told(refused(400, "invalidTitle", "The request SECRET metadata\nis invalid.", "body.snippet.title"))
    assert "invalidTitle (body.snippet.title): The request *** metadata is invalid. A retry" in str(error)
    assert "HTTP 400" in str(error)


def test_a_5xx_may_have_had_an_effect_and_a_429_not() -> None:
    busy, failed = told(refused(429, "x", retry_after="7")), told(reply(502, b"<html>"))
    assert isinstance(busy, TargetUnavailableError) and isinstance(failed, TargetUnavailableError)
    assert (busy.nothing_done, failed.nothing_done) == (True, False)
    assert busy.retry_after_seconds == 7


def test_the_other_form_of_google_errors() -> None:
    body = {
        "error": {
            "code": 403,
            "message": "Request had insufficient authentication scopes.",
            "errors": [],
            "status": "PERMISSION_DENIED",
            "details": [{"@type": "x"}, {"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}],
        }
    }
    error = told(reply(403, body))
    assert isinstance(error, CredentialsError)
    assert error.reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    assert "youtube.upload" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"{",
        [],
        {},
        {"error": "x"},
        {"error": {"errors": [3]}},
        {"error": {"errors": 3, "details": "x", "message": 4}},
    ],
)
def test_a_body_of_any_shape_is_no_crash(body: Any) -> None:
    assert problem_of(reply(400, body)).reason == ""
    assert "no reason given" in str(told(reply(400, body)))


def test_text_from_outside_is_cut() -> None:
    assert len(str(told(refused(400, "invalidTitle", "x" * 9999)))) < 600


@pytest.mark.parametrize(
    ("now", "reset"),
    [
        (datetime(2026, 11, 26, 12, tzinfo=UTC), datetime(2026, 11, 27, 8, tzinfo=UTC)),
        (datetime(2026, 7, 1, 6, 59, tzinfo=UTC), datetime(2026, 7, 1, 7, tzinfo=UTC)),
        (datetime(2026, 7, 1, 7, 0, tzinfo=UTC), datetime(2026, 7, 2, 7, tzinfo=UTC)),
        # The days on which the clocks change have 23 and 25 hours.
        (datetime(2026, 3, 8, 8, 0, tzinfo=UTC), datetime(2026, 3, 9, 7, tzinfo=UTC)),
        (datetime(2026, 11, 1, 7, 0, tzinfo=UTC), datetime(2026, 11, 2, 8, tzinfo=UTC)),
    ],
)
def test_quota_resets_at_midnight_pacific(now: datetime, reset: datetime) -> None:
    assert next_pacific_midnight(now) == reset
    error = refusal(refused(403, "quotaExceeded"), "x", now, str)
    assert isinstance(error, TargetLimitError) and error.until == reset


def test_channel_limit_ends_after_a_day() -> None:
    error = told(refused(400, "uploadLimitExceeded"))
    assert isinstance(error, TargetLimitError) and error.until == NOW + timedelta(hours=24)
