"""Decides which call may be repeated, and when, for both clients.

The type of the error (``terminal``, ``charge``) and the call's own :class:`Repeat` decide, never the text.
``Retry-After`` takes precedence; without it the wait grows exponentially. Both get jitter, so that a thousand tasks
that were refused together do not return together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState
from tenacity.retry import retry_if_exception

from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.protocol import Call, Repeat

#: How late a repeat may be, on a machine or an event loop that is busy.
OVERSLEPT_SECONDS = 60.0


@dataclass(frozen=True)
class RetryPolicy:
    """How long one call is tried.

    :param attempts: the maximum number of attempts.
    :param budget_seconds: no attempt begins later than this after the first. If a ``Retry-After`` would end later, the
        call fails at once with the error, which carries it.
    :param base_seconds: the first backoff.
    :param cap_seconds: the longest backoff.
    """

    attempts: int = 6
    budget_seconds: float = 150.0
    base_seconds: float = 0.5
    cap_seconds: float = 30.0


def may_repeat(call: Call[Any], error: BaseException) -> bool:
    """Return whether ``call`` may be repeated, unchanged, after ``error``."""
    if not isinstance(error, ApimartError) or error.terminal:
        return False
    return call.repeat is not Repeat.IF_NOT_DONE or error.charge is Charge.NO


def backoff_seconds(attempt: int, error: BaseException | None, policy: RetryPolicy, rand: Callable[[], float]) -> float:
    """Return how long to wait after the ``attempt``-th failure (1 is the first).

    :param rand: a number from 0 to 1.
    """
    asked = error.retry_after_seconds if isinstance(error, ApimartError) else None
    # (0, or a date from a clock behind ours, does not say how long to wait.)
    if asked:
        # A little later than requested, never sooner, and not all at the same moment: the longer the wait, the wider
        # the spread.
        return asked + max(policy.base_seconds, asked / 10) * rand()
    return min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(attempt - 1, 30)) * (0.5 + rand() / 2)


def tenacity_arguments(call: Call[Any], policy: RetryPolicy, sleep: Callable[[float], Any]) -> dict[str, Any]:
    """Return the arguments that make tenacity's ``Retrying`` or ``AsyncRetrying`` follow ``policy`` for a call."""
    attempts = _Attempts(policy)
    return {
        "retry": retry_if_exception(lambda error: may_repeat(call, error)),
        "wait": attempts.wait,
        "stop": attempts.stop,
        "before": attempts.before,
        "sleep": sleep,
        "reraise": True,
    }


def _wall() -> float:
    return time.time()


class _Attempts:
    """The attempts of one call: how long to wait between them, and when there are no more.

    The wall clock counts, too: a monotonic one stands still while the machine is suspended. APIMart forgets a key after
    a day, so a paid call that is repeated after such a sleep could pay twice.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._began = _wall()
        self._error: BaseException | None = None

    def wait(self, state: RetryCallState) -> float:
        """Return how long to wait after an attempt that failed."""
        self._error = state.outcome.exception() if state.outcome else None
        return backoff_seconds(state.attempt_number, self._error, self._policy, random.random)

    def stop(self, state: RetryCallState) -> bool:
        """Return whether the attempt that failed was the last."""
        if state.attempt_number >= self._policy.attempts:
            return True
        return self._passed(state) + state.upcoming_sleep > self._policy.budget_seconds

    def before(self, state: RetryCallState) -> None:
        """Raise the last attempt's error if the sleep since then took longer than it should have."""
        # (A sleep is always a little longer.)
        if self._error is not None and self._passed(state) > self._policy.budget_seconds + OVERSLEPT_SECONDS:
            raise self._error

    def _passed(self, state: RetryCallState) -> float:
        return max(state.seconds_since_start or 0.0, _wall() - self._began)
