"""Decides which call may be repeated, and when, for both clients.

The type of the error (``terminal``, ``charge``) and the call's own :class:`Repeat` decide, never the text.
``Retry-After`` takes precedence; without it the wait grows exponentially. Both get jitter, so that a thousand tasks
that were refused together do not return together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState
from tenacity.retry import retry_if_exception
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.protocol import Call, Repeat


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

    def once(self) -> RetryPolicy:
        """Return the same policy without repeats, for callers that have their own retry loop."""
        return RetryPolicy(1, self.budget_seconds, self.base_seconds, self.cap_seconds)


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
    if asked is not None:
        # A little later than requested, never sooner, and not all at the same moment: the longer the wait, the wider
        # the spread.
        return asked + max(policy.base_seconds, asked / 10) * rand()
    return min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(attempt - 1, 30)) * (0.5 + rand() / 2)


def tenacity_arguments(call: Call[Any], policy: RetryPolicy, sleep: Callable[[float], Any]) -> dict[str, Any]:
    """Return the arguments that make tenacity's ``Retrying`` or ``AsyncRetrying`` follow ``policy`` for ``call``."""
    return {
        "retry": retry_if_exception(lambda error: may_repeat(call, error)),
        "wait": _Wait(policy),
        "stop": _Stop(policy),
        "sleep": sleep,
        "reraise": True,
    }


class _Wait(wait_base):
    def __init__(self, policy: RetryPolicy) -> None:
        self.policy = policy

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        return backoff_seconds(retry_state.attempt_number, error, self.policy, random.random)


class _Stop(stop_base):
    def __init__(self, policy: RetryPolicy) -> None:
        self.policy = policy

    def __call__(self, retry_state: RetryCallState) -> bool:
        elapsed = (retry_state.seconds_since_start or 0.0) + retry_state.upcoming_sleep
        return retry_state.attempt_number >= self.policy.attempts or elapsed > self.policy.budget_seconds
