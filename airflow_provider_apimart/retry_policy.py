"""A ready-made ``retry_policy`` for Airflow 3.3: it sets the delay before the next try.

The operator itself fails for good if a retry cannot help (``AirflowFailException``), on every Airflow version and
without this policy. This policy sets only the delay. It follows APIMart's ``Retry-After`` instead of the task's fixed
delay. It retries soon if the outcome of a submission is not known (its idempotency key lives for 24 hours), and late if
a generation was parked. A post that was parked because a quota is used up is retried when the quota resets.

.. code-block:: python

    VeoGenerateOperator(..., retries=5, retry_policy=ApimartRetryPolicy())
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.publishing.errors import PostParkedError

if TYPE_CHECKING:
    from airflow.sdk import Context


class ApimartRetryPolicy(RetryPolicy):
    """Sets the delay of a retry by the kind of error. Other errors keep the task's own delay.

    :param rate_limited: the delay after a 429 without ``Retry-After``, or when APIMart has no channel for the model.
    :param unknown_outcome: the delay after a submission, or another call, whose outcome is not known.
    :param failed_generation: the delay after a generation that APIMart reports as failed.
    :param parked: the delay after a generation, or a post, that was not finished by its deadline. A post that can go on
        at a known time is retried then, however late that is.
    :param longest: the longest ``Retry-After`` that is followed. A longer one is cut to this.
    """

    def __init__(
        self,
        *,
        rate_limited: timedelta = timedelta(minutes=1),
        unknown_outcome: timedelta = timedelta(seconds=30),
        failed_generation: timedelta = timedelta(minutes=1),
        parked: timedelta = timedelta(minutes=5),
        longest: timedelta = timedelta(hours=1),
    ) -> None:
        self.rate_limited = rate_limited
        self.unknown_outcome = unknown_outcome
        self.failed_generation = failed_generation
        self.parked = parked
        self.longest = longest

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Return the delay for ``exception``, or Airflow's default if no rule covers it."""
        if not isinstance(exception, errors.ApimartError):
            return RetryDecision.default()
        if exception.terminal:
            return RetryDecision.fail(f"{type(exception).__name__}: a retry cannot mend this")
        if exception.retry_after_seconds is not None:
            asked = min(timedelta(seconds=exception.retry_after_seconds), self.longest)
            return RetryDecision.retry(asked, "APIMart asked for this delay (Retry-After)")
        if isinstance(exception, PostParkedError) and exception.until is not None:
            left = max(exception.until - datetime.now(UTC), self.unknown_outcome)
            return RetryDecision.retry(left, "the post can go on then; nothing is posted twice")
        for kind, delay, reason in self._rules():
            if isinstance(exception, kind):
                return RetryDecision.retry(delay, reason)
        return RetryDecision.default()

    def _rules(self) -> tuple[tuple[Any, timedelta, str], ...]:
        return (
            (errors.GenerationParkedError, self.parked, "the generation goes on; the next try re-attaches"),
            (PostParkedError, self.parked, "the record stays; the next try goes on from there"),
            (
                errors.GenerationFailedError,
                self.failed_generation,
                "failed generations are not charged",
            ),
            (
                (
                    errors.RateLimitError,
                    errors.ChannelUnavailableError,
                    errors.NoChannelError,
                    errors.TemporaryRefusalError,
                ),
                self.rate_limited,
                "nothing was done",
            ),
            (
                (
                    errors.OutcomeUnknownError,
                    errors.ServerError,
                    errors.UpstreamError,
                    errors.IdempotencyInProgressError,
                ),
                self.unknown_outcome,
                "the same request goes again under the same key, while APIMart still knows it",
            ),
        )
