"""What is repeated, when, and what never is. No clock and no socket: tenacity is given a sleep that notes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tenacity import Retrying

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client import retry as retry_module
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.protocol import Call, Repeat, retry_after
from airflow_provider_apimart.client.retry import RetryPolicy, backoff_seconds, may_repeat, tenacity_arguments
from tests.client.test_errors import make, tree


def call(repeat: Repeat) -> Call[None]:
    return Call("POST", "/x", lambda reply: None, repeat=repeat)


@pytest.mark.parametrize("kind", tree())
@pytest.mark.parametrize("repeat", Repeat)
def test_every_error_with_every_kind_of_call(kind: type[ApimartError], repeat: Repeat) -> None:
    allowed = not kind.terminal and (repeat is not Repeat.IF_NOT_DONE or kind.charge is Charge.NO)
    assert may_repeat(call(repeat), make(kind)) is allowed


NEVER = [
    errors.BadRequestError,
    errors.AuthenticationError,
    errors.InsufficientBalanceError,
    errors.PermissionDeniedError,
    errors.NotFoundError,
    errors.UploadTooLargeError,
    errors.IdempotencyKeyReusedError,
    errors.IdempotencyIndeterminateError,
    errors.RedirectError,
    errors.InvalidParameterError,
    errors.ConfigurationError,
]
UNKNOWN = [
    errors.ApimartTimeoutError,
    errors.OutcomeUnknownError,
    errors.ResponseError,
    errors.MissingTaskIdError,
    errors.ServerError,
    errors.UpstreamError,
]
NOT_DONE = [
    errors.ApimartConnectionError,
    errors.RateLimitError,
    errors.ChannelUnavailableError,
    errors.IdempotencyUnavailableError,
    errors.IdempotencyInProgressError,
]


@pytest.mark.parametrize("repeat", Repeat)
@pytest.mark.parametrize("kind", NEVER)
def test_never_repeated(kind: type[ApimartError], repeat: Repeat) -> None:
    assert not may_repeat(call(repeat), make(kind))


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_outcomes_only_where_the_key_protects(kind: type[ApimartError]) -> None:
    assert may_repeat(call(Repeat.FREELY), make(kind))
    assert may_repeat(call(Repeat.WITH_SAME_KEY), make(kind))
    assert not may_repeat(call(Repeat.IF_NOT_DONE), make(kind))


@pytest.mark.parametrize("repeat", Repeat)
@pytest.mark.parametrize("kind", NOT_DONE)
def test_not_done_is_always_repeated(kind: type[ApimartError], repeat: Repeat) -> None:
    assert may_repeat(call(repeat), make(kind))


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), RuntimeError()])
def test_what_is_not_ours_is_not_repeated(error: BaseException) -> None:
    assert not may_repeat(call(Repeat.FREELY), error)


# --- when ---


POLICY = RetryPolicy(base_seconds=0.5, cap_seconds=30)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (8, 30), (10_000, 30)])
def test_backoff_grows_within_its_bounds(attempt: int, longest: float) -> None:
    error = errors.ServerError("x")
    assert backoff_seconds(attempt, error, POLICY, lambda: 1.0) == longest
    assert backoff_seconds(attempt, error, POLICY, lambda: 0.0) == longest / 2
    assert backoff_seconds(attempt, None, POLICY, lambda: 0.5) == longest * 0.75


@pytest.mark.parametrize("asked", [1.0, 3.0, 60.0, 1000.0])
@pytest.mark.parametrize("attempt", [1, 5])
def test_what_the_server_asks_comes_first(asked: float, attempt: int) -> None:
    error = errors.RateLimitError("x", retry_after_seconds=asked)
    shortest, longest = (backoff_seconds(attempt, error, POLICY, lambda r=r: r) for r in (0.0, 1.0))
    assert shortest == asked, "never sooner than asked"
    assert asked < longest <= asked + max(0.5, asked / 10), "not all at once, and not much later"


def test_a_server_that_asks_for_no_wait_is_not_asked_all_the_time() -> None:
    # 0, or a date from a clock behind ours, does not say how long to wait.
    error = errors.ServerError("x", retry_after_seconds=0.0)
    waits = [backoff_seconds(attempt, error, POLICY, lambda: 0.0) for attempt in range(1, 5)]
    assert waits == [backoff_seconds(attempt, errors.ServerError("x"), POLICY, lambda: 0.0) for attempt in range(1, 5)]
    assert waits == sorted(waits) and waits[-1] >= 2.0


NOW = datetime(2026, 10, 9, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        ("Friday, 09-Oct-26 12:00:10 GMT", 10.0),
        ("Fri Oct  9 12:00:10 2026", 10.0),
        ("Fri, 09 Oct 2026 14:00:10 +0200", 10.0),
        ("", None),
        ("   ", None),
        ("soon", None),
        ("NaN", None),
        ("inf", None),
        ("1e999", None),
        ("Fri, 99 Oct 2026 12:00:10 GMT", None),
        ("Fri, 09 Oct 99999999999 12:00:10 GMT", None),
        ("5, 5", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": header}, NOW) == seconds


def test_no_retry_after() -> None:
    assert retry_after({}) is None


def test_retry_after_counts_from_now() -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    assert 80_000 < (retry_after({"retry-after": header}) or 0) <= 86_400


# --- how often ---


def run(
    policy: RetryPolicy, error: Callable[[int], ApimartError], repeat: Repeat = Repeat.FREELY
) -> tuple[int, list[float]]:
    """Fail always; return the number of attempts and the waits between them."""
    waits: list[float] = []
    attempts = 0

    def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise error(attempts)

    with pytest.raises(ApimartError):
        Retrying(**tenacity_arguments(call(repeat), policy, waits.append))(fail)
    return attempts, waits


def test_attempts_are_counted() -> None:
    attempts, waits = run(RetryPolicy(attempts=4), lambda n: errors.ServerError("x"))
    assert attempts == 4
    assert [low <= wait <= 2 * low for wait, low in zip(waits, (0.25, 0.5, 1.0), strict=True)] == [True] * 3


def test_terminal_ends_it() -> None:
    attempts, _ = run(
        RetryPolicy(), lambda n: errors.ServerError("x") if n < 3 else errors.InsufficientBalanceError("x")
    )
    assert attempts == 3


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    policy = RetryPolicy(attempts=10, budget_seconds=100)
    assert run(policy, lambda n: errors.RateLimitError("x", retry_after_seconds=101)) == (1, [])
    assert run(policy, lambda n: errors.RateLimitError("x", retry_after_seconds=1e300)) == (1, [])


class Suspended:
    """A wall clock that goes on for a day while the machine stands still, which the monotonic clock does not see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = 1_790_000_000.0
        monkeypatch.setattr(retry_module, "_wall", lambda: self.wall)

    def sleep(self, seconds: float) -> None:
        self.wall += 86_400.0


@pytest.mark.parametrize("repeat", [Repeat.FREELY, Repeat.WITH_SAME_KEY])
def test_after_a_day_of_standing_still_nothing_is_repeated(monkeypatch: pytest.MonkeyPatch, repeat: Repeat) -> None:
    """APIMart forgets a key after a day. The next try decides again, by the time of the intent."""
    clock, sent = Suspended(monkeypatch), []

    def fail() -> None:
        sent.append(1)
        raise errors.OutcomeUnknownError(f"number {len(sent)}")

    with pytest.raises(errors.OutcomeUnknownError, match="number 1") as caught:
        Retrying(**tenacity_arguments(call(repeat), RetryPolicy(), clock.sleep))(fail)
    assert len(sent) == 1
    assert caught.value.charge is Charge.UNKNOWN


def test_a_wall_clock_that_is_set_back_does_not_lengthen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Suspended(monkeypatch)
    clock.sleep = lambda seconds: setattr(clock, "wall", clock.wall - 86_400.0)  # type: ignore[method-assign]
    sent = []

    def fail() -> None:
        sent.append(1)
        raise errors.ServerError("x")

    with pytest.raises(errors.ServerError):
        Retrying(**tenacity_arguments(call(Repeat.FREELY), RetryPolicy(attempts=3), clock.sleep))(fail)
    assert len(sent) == 3
