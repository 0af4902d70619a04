"""A budget's ledger: what counts, in which period, and that nobody takes the last dollar twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pytest

from airflow_provider_apimart.generation.pricing import ledger as ledger_module
from airflow_provider_apimart.generation.pricing import ledger_files
from airflow_provider_apimart.generation.pricing.budget import Budget, BudgetBusyError, BudgetUnavailableError
from airflow_provider_apimart.generation.pricing.ledger import Ledger
from airflow_provider_apimart.storage.files import Target
from benchmarks.servers.s3 import FakeS3
from tests.storage.fake_s3 import serving

DAY = "2026-11-27"
ONE = Decimal(1)


def local(folder: Path) -> Ledger:
    return Ledger(Target(fsspec.filesystem("file"), f"{folder}/budgets/marketing", f"{folder}/budgets/marketing"))


@pytest.fixture(params=["local", "remote"])
def open_ledger(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Ledger]]:
    """A ledger on the disk, and one on a storage that has no locks."""
    monkeypatch.setattr(ledger_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(ledger_module, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(ledger_module, "LASTING_SECONDS", 0.2)
    if request.param == "local":
        yield lambda: local(tmp_path)
        return
    fs = fsspec.filesystem("memory")
    home = f"/{uuid.uuid4().hex}/marketing"
    yield lambda: Ledger(Target(fs, home, f"memory:/{home}"))
    if fs.exists(home):
        fs.rm(home, recursive=True)


def take(ledger: Ledger, key: str, usd: str, limit: str | None = "1") -> Decimal:
    return ledger.reserve(DAY, key, Decimal(usd), None if limit is None else Decimal(limit), {"dag_id": "a"})


def test_a_reservation_counts_once_however_often_it_is_asked_for(open_ledger: Callable[[], Ledger]) -> None:
    assert take(open_ledger(), "a", "0.6") == Decimal("0.6")
    assert take(open_ledger(), "a", "0.6") == Decimal("0.6")
    assert open_ledger().sums(DAY).total == Decimal("0.6")


def test_the_limit_itself_is_allowed_and_no_more(open_ledger: Callable[[], Ledger]) -> None:
    assert take(open_ledger(), "a", "0.6") <= 1
    assert take(open_ledger(), "b", "0.400001") == Decimal("1.000001")
    assert open_ledger().sums(DAY).total == Decimal("0.6")
    assert take(open_ledger(), "c", "0.4") == 1


def test_what_is_there_is_not_refused_when_the_limit_falls(open_ledger: Callable[[], Ledger]) -> None:
    take(open_ledger(), "a", "0.6")
    assert take(open_ledger(), "a", "0.6", "0.1") <= Decimal("0.1")
    assert open_ledger().sums(DAY).total == Decimal("0.6")


def test_without_a_limit_it_counts_beyond_any(open_ledger: Callable[[], Ledger]) -> None:
    take(open_ledger(), "a", "0.6")
    assert take(open_ledger(), "b", "5", None) == Decimal("5.6")


def test_what_was_charged_takes_the_place_of_the_estimate(open_ledger: Callable[[], Ledger]) -> None:
    take(open_ledger(), "a", "0.6")
    for _ in range(2):
        open_ledger().settle(DAY, "a", Decimal("0.25"), {})
    assert open_ledger().sums(DAY).total == Decimal("0.25")


def test_a_charge_that_nobody_reserved_counts(open_ledger: Callable[[], Ledger]) -> None:
    open_ledger().settle(DAY, "a", Decimal("0.25"), {})
    assert open_ledger().sums(DAY).total == Decimal("0.25")


def test_only_its_own_reservation_is_given_back(open_ledger: Callable[[], Ledger]) -> None:
    take(open_ledger(), "a", "0.3")
    take(open_ledger(), "b", "0.4")
    for _ in range(2):
        open_ledger().release(DAY, "a")
    assert open_ledger().sums(DAY).total == Decimal("0.4")
    open_ledger().release("2026-11-28", "b")
    assert open_ledger().sums(DAY).total == Decimal("0.4")


def test_strange_files_do_not_count(open_ledger: Callable[[], Ledger]) -> None:
    take(open_ledger(), "a", "0.3")
    place = open_ledger().home.child(DAY)
    place.fs.pipe_file(place.child("notes.txt").path, b"5 USD")
    place.fs.pipe_file(place.child(".hidden.reserved.json").path, b"{}")
    assert open_ledger().sums(DAY).total == Decimal("0.3")


def try_to_take(ledger: Ledger, key: str, usd: str, limit: str) -> bool:
    try:
        return take(ledger, key, usd, limit) <= Decimal(limit)
    except BudgetBusyError:
        return False


def test_fifty_at_once_for_the_last_dollar(open_ledger: Callable[[], Ledger]) -> None:
    """Never two; and one of them gets it."""
    take(open_ledger(), "before", "19", "20")
    with ThreadPoolExecutor(50) as pool:
        won = list(pool.map(lambda number: try_to_take(open_ledger(), f"task {number}", "1", "20"), range(50)))
    assert sum(won) == 1
    assert open_ledger().sums(DAY).total == 20


def test_twenty_at_once_in_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "FIRST_PAUSE_SECONDS", 0.05)
    with serving(FakeS3()) as bucket:
        home = bucket.target("budgets/ads")
        take(Ledger(home), "before", "19", "20")
        with ThreadPoolExecutor(20) as pool:
            won = list(pool.map(lambda number: try_to_take(Ledger(home), f"task {number}", "1", "20"), range(20)))
        assert sum(won) <= 1
        assert Ledger(home).sums(DAY).total == 19 + sum(won)


class Crowd:
    """A storage without locks on which others come and go: what they have when somebody waits."""

    def __init__(self) -> None:
        self.home = Target(fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}/b", "memory://b")
        self.waited = 0.0
        self.on_wait: Callable[[float], None] = lambda waited: None

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home, self._pause)

    def _pause(self, seconds: float) -> None:
        self.waited += seconds
        self.on_wait(self.waited)

    def put(self, key: str, usd: str) -> str:
        name = f"{ledger_files.entry_of(key)}~{uuid.uuid4().hex[:16]}~{int(Decimal(usd) * 1_000_000)}.reserved.json"
        self.home.child(DAY).fs.pipe_file(self.home.child(DAY).child(name).path, b"{}")
        return name

    def drop(self, name: str) -> None:
        self.home.fs.rm_file(self.home.child(DAY).child(name).path)


def test_what_others_may_take_back_refuses_nobody_for_good() -> None:
    crowd = Crowd()
    there = [crowd.put("other", "1")]

    def another(waited: float) -> None:
        crowd.drop(there.pop())
        there.append(crowd.put(f"other at {waited}", "1"))

    crowd.on_wait = another
    with pytest.raises(BudgetBusyError, match="Nothing was submitted; the next try asks again") as busy:
        take(crowd.ledger, "mine", "1")
    assert not busy.value.terminal


def test_what_others_take_back_is_there_for_whoever_waits() -> None:
    crowd = Crowd()
    name = crowd.put("other", "1")
    crowd.on_wait = lambda waited: (
        crowd.drop(name) if crowd.home.fs.exists(crowd.home.child(DAY).child(name).path) else None
    )
    assert take(crowd.ledger, "mine", "1") == 1


def test_what_stays_refuses_after_a_while_and_what_is_paid_or_old_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    crowd.put("other", "1")
    assert take(crowd.ledger, "mine", "1") == 2
    assert crowd.waited >= ledger_module.LASTING_SECONDS
    crowd.waited = 0.0
    monkeypatch.setattr(ledger_files, "OLD", timedelta(seconds=-1))
    assert take(crowd.ledger, "mine", "1") == 2
    monkeypatch.undo()
    crowd.ledger.settle(DAY, "other", ONE, {})
    assert take(crowd.ledger, "mine", "1") == 2
    assert crowd.waited == 0.0


# --- a batch's share ------------------------------------------------------------------------------------------------


def grow(ledger: Ledger, key: str, least: str, most: str, limit: str = "10") -> Decimal | None:
    return ledger.grow(DAY, key, least=Decimal(least), most=Decimal(most), limit=Decimal(limit), about={"dag_id": "a"})[
        0
    ]


def test_a_share_grows_as_far_as_there_is_room(open_ledger: Callable[[], Ledger]) -> None:
    take(open_ledger(), "video", "4", "10")
    assert grow(open_ledger(), "batch", "1", "3") == 3
    assert grow(open_ledger(), "batch", "4", "8") == 6
    assert open_ledger().sums(DAY).total == 10
    assert grow(open_ledger(), "batch", "6.5", "9") is None
    assert open_ledger().sums(DAY).total == 10
    assert take(open_ledger(), "late", "0.1", "10") > 10


def test_a_share_leaves_one_file_however_often_it_grows(open_ledger: Callable[[], Ledger]) -> None:
    for usd in range(1, 8):
        assert grow(open_ledger(), "batch", str(usd), str(usd)) == usd
    assert len(open_ledger().sums(DAY).lines) == 1


def test_a_share_is_set_to_what_was_spent_and_grows_again(open_ledger: Callable[[], Ledger]) -> None:
    grow(open_ledger(), "batch", "1", "8")
    for _ in range(2):
        open_ledger().note_share(DAY, "batch", Decimal("2.5"), {})
        assert open_ledger().sums(DAY).total == Decimal("2.5")
    assert grow(open_ledger(), "batch", "3", "10") == 10


def test_an_old_share_that_could_not_be_removed_does_not_count(open_ledger: Callable[[], Ledger]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "_remove", lambda *args: None)
        grow(open_ledger(), "batch", "1", "8")
        open_ledger().note_share(DAY, "batch", ONE, {})
    assert len(open_ledger().sums(DAY).lines) == 2
    assert open_ledger().sums(DAY).total == 1
    assert grow(open_ledger(), "batch", "2", "2") == 2


def test_batches_and_videos_at_once_share_the_room(open_ledger: Callable[[], Ledger]) -> None:
    def one(number: int) -> Decimal:
        try:
            if number % 2:
                return Decimal(take(open_ledger(), f"video {number}", "1", "10") <= 10)
            return grow(open_ledger(), f"batch {number}", "1", "4") or Decimal(0)
        except BudgetBusyError:
            return Decimal(0)

    with ThreadPoolExecutor(12) as pool:
        whole = sum(pool.map(one, range(12)), Decimal(0))
    assert open_ledger().sums(DAY).total == whole <= 10


def _in_a_process(folder: str, number: int, gate: Any, results: Any) -> None:
    ledger = local(Path(folder))
    gate.wait()
    results.put(take(ledger, f"task {number}", "1", "3") <= 3)


def test_processes_share_the_room_to_the_cent(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(8), context.Queue()
    children = [context.Process(target=_in_a_process, args=(str(tmp_path), n, gate, results)) for n in range(8)]
    for child in children:
        child.start()
    won = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert sum(won) == 3
    assert local(tmp_path).sums(DAY).total == 3


@pytest.mark.parametrize("first", ["a", "b"])
def test_two_that_have_both_written_before_either_looks(first: str) -> None:
    """The worst order: both reservations are there when each of them lists for the first time."""
    fs = fsspec.filesystem("memory")
    home = Target(fs, f"/{uuid.uuid4().hex}/b", "memory://b")
    outer = Ledger(home, pause=lambda seconds: None)
    write = Ledger._write
    other: list[Decimal] = []

    def write_and_let_the_other_in(self: Ledger, period: str, name: str, about: Any) -> None:
        write(self, period, name, about)
        if not other:
            other.append(Decimal(0))
            other[0] = take(Ledger(home, pause=lambda seconds: None), "b" if first == "a" else "a", "1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "_write", write_and_let_the_other_in)
        mine = take(outer, first, "1")
    # The other came while this one's reservation was there, so it is the one that is refused.
    assert (mine, other) == (1, [2])
    assert outer.sums(DAY).total == 1


def test_a_storage_that_does_not_answer_is_no_empty_ledger(
    open_ledger: Callable[[], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger()

    def down(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError("no")

    monkeypatch.setattr(type(ledger.home.fs), "ls", down)
    with pytest.raises(BudgetUnavailableError, match="nothing new is paid for"):
        take(ledger, "a", "0.1")


class Died(BaseException):
    """The process has died."""


@pytest.mark.parametrize("seed", range(30))
def test_whatever_dies_the_ledger_holds_what_was_paid_and_no_more_than_the_limit(seed: int) -> None:
    """A random history: generations and a batch, whose every write and removal can be the last thing done."""
    dice = random.Random(seed)
    crowd = Crowd()
    ledger, limit = crowd.ledger, Decimal(10)
    paid: dict[str, Decimal] = {}
    batch = Decimal(0)

    def dying(original: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            if dice.random() < 0.05:
                raise Died
            original(*args)
            if dice.random() < 0.05:
                raise Died

        return call

    ledger._write, ledger._remove = dying(ledger._write), dying(ledger._remove)  # type: ignore[method-assign]
    for _ in range(60):
        key, step = f"video {dice.randrange(12)}", dice.random()
        with contextlib.suppress(Died, BudgetBusyError):
            if step < 0.5 and key not in paid:
                if ledger.reserve(DAY, key, Decimal(dice.randrange(1, 30)) / 10, limit, {}) > limit:
                    continue
                if dice.random() < 0.7:
                    paid[key] = ledger.sums(DAY).by_entry("reserved")[ledger_files.entry_of(key)]
                else:
                    ledger.release(DAY, key)
            elif step < 0.7 and key in paid:
                ledger.settle(DAY, key, paid[key], {})
            elif step < 0.9:
                more = Decimal(dice.randrange(1, 20)) / 10
                share, _ = ledger.grow(
                    DAY, "batch", least=batch + more, most=batch + 3 * more, limit=limit, about={"dag_id": "a"}
                )
                batch += more if share is not None else 0
            else:
                ledger.note_share(DAY, "batch", batch, {})
        assert sum(paid.values()) + batch <= ledger.sums(DAY).total <= limit


# --- periods ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per", "timezone", "moment", "name", "resets"),
    [
        ("day", "UTC", "2026-11-27T23:59:59+00:00", "2026-11-27", "2026-11-28T00:00:00+00:00"),
        ("day", "UTC", "2026-11-28T00:00:00+00:00", "2026-11-28", "2026-11-29T00:00:00+00:00"),
        ("day", "Asia/Seoul", "2026-11-27T15:00:00+00:00", "2026-11-28", "2026-11-28T15:00:00+00:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00+00:00", "2026-10-25", "2026-10-25T23:00:00+00:00"),
        ("month", "UTC", "2026-12-31T23:00:00+00:00", "2026-12", "2027-01-01T00:00:00+00:00"),
        ("month", "America/New_York", "2026-12-01T04:59:00+00:00", "2026-11", "2026-12-01T05:00:00+00:00"),
    ],
)
def test_periods(per: Any, timezone: str, moment: str, name: str, resets: str) -> None:
    period = Budget(1, per, "x", timezone=timezone).period_at(datetime.fromisoformat(moment))
    assert (period.name, period.resets_at) == (name, datetime.fromisoformat(resets).astimezone(UTC))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"usd": 0}, "usd=0 .*above 0"),
        ({"usd": "a lot"}, "usd='a lot'"),
        ({"usd": True}, "usd=True"),
        ({"usd": float("nan")}, "usd=nan"),
        ({"per": "week"}, "per='week' .*'day' or 'month'"),
        ({"folder": " "}, "folder=' '"),
        ({"name": ""}, "name=''"),
        ({"timezone": "Mars/Base"}, "timezone='Mars/Base' .*IANA"),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Budget(**{"usd": 1, "per": "day", "folder": "x", **values})
