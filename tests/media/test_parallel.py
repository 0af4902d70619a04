"""Work on many items at once: in order, bounded, and ended by the first error."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_apimart.media import parallel
from airflow_provider_apimart.media.parallel import AHEAD, each


def test_the_order_stays_however_long_each_takes() -> None:
    late = threading.Event()

    def work(number: int) -> int:
        # The first waits until another one is done.
        if number == 0:
            assert late.wait(10)
        else:
            late.set()
        return number * 10

    assert list(each(work, range(100), 2)) == [(number, number * 10) for number in range(100)]


def test_a_long_table_is_not_taken_at_once() -> None:
    taken = 0

    def items() -> Any:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield number

    with closing(each(lambda number: number, items(), 3)) as results:
        next(results)
        assert taken <= 3 * AHEAD
        for _ in range(500):
            next(results)
        assert taken <= 501 + 3 * AHEAD


@pytest.mark.parametrize("at_once", [1, 4])
def test_never_more_at_once(at_once: int) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(number: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.002)
        with lock:
            now -= 1

    assert len(list(each(work, range(50), at_once))) == 50
    assert most == at_once


def test_an_error_ends_everything_and_stops_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    monkeypatch.setattr(parallel, "stop_children", stopped.set)
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number == 0:
            raise RuntimeError("broken")
        # A child process that only stop_children() ends.
        assert stopped.wait(10)

    with pytest.raises(RuntimeError, match="broken"):
        list(each(work, range(100), 2))
    assert len(done) <= 4
