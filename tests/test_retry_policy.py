"""The pace of retries by what went wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from airflow_provider_apimart.publishing.errors import PostParkedError, PostRefusedError

pytest.importorskip("airflow.sdk.definitions.retry_policy", reason="retry policies came with Airflow 3.3")
from airflow.sdk.definitions.retry_policy import RetryAction

from airflow_provider_apimart.retry_policy import ApimartRetryPolicy

POLICY = ApimartRetryPolicy()


@pytest.mark.parametrize(
    ("error", "action", "delay"),
    [
        (errors.RateLimitError("slow down"), RetryAction.RETRY, 60),
        (errors.RateLimitError("slow down", retry_after_seconds=17), RetryAction.RETRY, 17),
        (errors.RateLimitError("slow down", retry_after_seconds=1e9), RetryAction.RETRY, 3600),
        (errors.TemporaryRefusalError("moderation timed out"), RetryAction.RETRY, 60),
        (errors.ContentRefusedError("no"), RetryAction.FAIL, None),
        (errors.ApimartTimeoutError("no answer"), RetryAction.RETRY, 30),
        (errors.ServerError("oops"), RetryAction.RETRY, 30),
        (errors.MissingTaskIdError("no id"), RetryAction.RETRY, 30),
        (errors.GenerationFailedError("failed", generation_id="t"), RetryAction.RETRY, 60),
        (errors.GenerationParkedError("parked", generation_id="t"), RetryAction.RETRY, 300),
        (PostParkedError("parked"), RetryAction.RETRY, 300),
        (PostRefusedError("it may be public"), RetryAction.FAIL, None),
        (errors.BadRequestError("wrong"), RetryAction.FAIL, None),
        (errors.ContentRejectedError("no", generation_id="t"), RetryAction.FAIL, None),
        (errors.InsufficientBalanceError("empty"), RetryAction.FAIL, None),
        (errors.LandingError("cut"), RetryAction.DEFAULT, None),
        (ValueError("not ours"), RetryAction.DEFAULT, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_decision(error: BaseException, action: RetryAction, delay: float | None) -> None:
    decision = POLICY.evaluate(error, 1, 3)
    assert decision.action is action
    assert decision.retry_delay == (None if delay is None else timedelta(seconds=delay))


def test_a_parked_post_waits_for_its_quota() -> None:
    error = PostParkedError("quota", until=datetime.now(UTC) + timedelta(hours=20))
    delay = POLICY.evaluate(error, 1, 3).retry_delay
    assert delay is not None and timedelta(hours=19) < delay <= timedelta(hours=20)


def test_operator_takes_it() -> None:
    operator = VeoGenerateOperator(task_id="make", prompt="a cat", retries=3, retry_policy=POLICY)
    assert operator.retry_policy is POLICY
