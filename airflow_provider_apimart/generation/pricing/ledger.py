"""What a budget has spent: small files that are never rewritten. Their *names* hold the amounts (``ledger_files.py``).

::

    <folder>/<name>/<period>/<entry>~<token>~<micro USD>.reserved.json       one generation, before it is paid for
    <folder>/<name>/<period>/<entry>~<micro USD>.paid.json                   one generation, once it has ended
    <folder>/<name>/<period>/<entry>~<number>~<token>~<micro USD>.share.json all of a batch; the highest number counts

``entry`` is made of the idempotency key (of a batch: of its journal's place), so every try finds the same entry, and it
counts once: as what was paid if that is known, else as what was reserved.

Why two tasks never both take the last dollar: each writes its own file *first* and lists *then*. Of any two that go on,
the one that listed later has seen the other's file, and its sum was within the limit. That holds on every storage whose
listings show finished writes (local disks, S3, Google Cloud Storage, Azure). Where the sum is too high, the file is
taken back. Of several that came at once, the first by name keeps its own and looks again, so that one of them gets the
room. On a local disk a lock lets them in one by one.

A file that may still be taken back is no reason to refuse anybody for good: only what has been there for a while, or
is paid, is (:class:`.BudgetBusyError`).

A crash can leave a reservation without a payment. It counts as spent, which is the safe side, until the next try of the
same task goes on with it, or the period ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.pricing.budget import Budget, BudgetBusyError, BudgetUnavailableError
from airflow_provider_apimart.generation.pricing.ledger_files import (
    Sums,
    entry_of,
    paid_name,
    reserved_name,
    rounded,
    share_name,
)
from airflow_provider_apimart.storage.files import (
    Target,
    commit_bytes,
    exclusive,
    is_local,
    safe_name,
    storage_errors,
    stored_size,
)

log = logging.getLogger(__name__)

#: How often a task that met others asks again, and how often the first of them looks whether they have gone.
ROUNDS, LOOKS = 8, 6
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0
#: What has been there through so long a wait is not taken back any more.
LASTING_SECONDS = 4.0


def ledger_name(budget: Budget, dag_id: str) -> str:
    """Return what a budget is called: by default like the DAG."""
    return budget.name or dag_id


def ledger_of(budget: Budget, name: str, folder: Target) -> Ledger:
    """Return a budget's ledger.

    :param folder: the budget's folder, opened.
    """
    return Ledger(folder.child(safe_name(f"{name}-{budget.per}")))


class Ledger:
    """The ledger of one budget.

    :param home: the folder of this budget: the budget's folder and its name.
    :param pause: waits so many seconds.
    """

    def __init__(self, home: Target, pause: Callable[[float], None] = time.sleep) -> None:
        self.home = home
        self._pause = pause

    def sums(self, period: str) -> Sums:
        """Return what is reserved and paid in a period.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        place = self.home.child(period)
        with _unavailable(place), storage_errors(place, "read"):
            place.fs.invalidate_cache(place.path)
            try:
                return Sums.of_files(place.fs.ls(place.path, detail=True))
            except FileNotFoundError:
                return Sums()

    def opened(self, period: str) -> Sums:
        """Return what is reserved and paid in a period; make its folder on a local disk.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        with self._asking(period):
            return self.sums(period)

    def holds(self, period: str, key: str) -> bool:
        """Return whether a generation counts in a period.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        return entry_of(key) in self.sums(period).entries

    def reserve(self, period: str, key: str, usd: Decimal, limit: Decimal | None, about: Mapping[str, Any]) -> Decimal:
        """Reserve an amount for a generation unless that exceeds the limit. Return what is then spent, or would be.

        A result above ``limit`` means that nothing is reserved. An entry that is there already stays as it is, whatever
        the limit, since it may be paid for; its sum is returned as the limit at most.

        :param limit: ``None`` reserves in any case: for what may have been paid for already.
        :raises BudgetBusyError: if others reserve at the same moment again and again, and there may be room.
        :raises BudgetUnavailableError: if the storage does not answer.
        """
        entry = entry_of(key)
        with self._asking(period):
            before = self.sums(period)
            if entry in before.entries:
                return before.total if limit is None else min(before.total, limit)
            if limit is None:
                self._write(period, reserved_name(entry, usd), about)
                return before.total + usd
            self._say_if_empty(period, before)
            return self._take(period, before, _Wish(entry, usd, usd, limit, "reserved"), about)[1]

    def grow(
        self, period: str, key: str, *, least: Decimal, most: Decimal, limit: Decimal, about: Mapping[str, Any]
    ) -> tuple[Decimal | None, Decimal]:
        """Let a batch's share grow to ``most``, or as far as the limit allows. Return it, and what is then spent.

        :param least: a smaller share is of no use. If it does not fit, the share stays as it is: ``None`` is returned,
            and what would be spent.
        :raises BudgetBusyError: if others reserve at the same moment again and again, and there may be room.
        :raises BudgetUnavailableError: if the storage does not answer.
        """
        entry = entry_of(key)
        with self._asking(period):
            before = self.sums(period)
            mine = before.share(entry)[1]
            if mine >= most:
                return mine, before.total
            self._say_if_empty(period, before)
            return self._take(period, before, _Wish(entry, least, most, limit, "share"), about)

    def note_share(self, period: str, key: str, usd: Decimal, about: Mapping[str, Any]) -> None:
        """Set a batch's share to what it has really spent. Repeatable.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        entry = entry_of(key)
        with self._asking(period):
            before = self.sums(period)
            number, share = before.share(entry)
            if share == rounded(usd):
                return
            self._write(period, share_name(entry, number + 1, usd), about)
            self._drop_shares(period, before, entry)

    def settle(self, period: str, key: str, usd: Decimal, about: Mapping[str, Any]) -> None:
        """Note what a generation has cost. Repeatable.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        with _unavailable(self.home.child(period)):
            self._write(period, paid_name(entry_of(key), usd), about)

    def release(self, period: str, key: str) -> None:
        """Take back what is reserved for a generation that was certainly not paid for. Repeatable.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        with _unavailable(self.home.child(period)):
            for line in self.sums(period).lines:
                if line.entry == entry_of(key) and line.kind == "reserved":
                    self._remove(period, line.name)

    def note_passed(self, key: str, about: Mapping[str, Any]) -> None:
        """Note that something was compared as a whole, and fitted.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        place = self._passed(key)
        with _unavailable(place):
            commit_bytes(place, json.dumps(about, indent=1).encode())

    def has_passed(self, key: str) -> bool:
        """Return whether something has fitted before, in any period. It may be paid for by now.

        :raises BudgetUnavailableError: if the storage does not answer.
        """
        place = self._passed(key)
        with _unavailable(place):
            return stored_size(place) is not None

    def _passed(self, key: str) -> Target:
        return self.home.child("passed").child(f"{entry_of(key)}.json")

    # --- steps -------------------------------------------------------------------------------------------------------

    def _take(self, period: str, before: Sums, wish: _Wish, about: Mapping[str, Any]) -> tuple[Decimal | None, Decimal]:
        """Write what is wished for, as far as there is room. Return it (``None``: no room), and the sum."""
        seen_at: dict[str, float] = {}
        waited = 0.0
        for number in range(ROUNDS):
            others = before.without(wish.entry)
            room = wish.limit - others.total
            if room >= wish.least:
                usd = min(wish.most, room)
                mine = wish.name_for(usd, before)
                self._write(period, mine, about)
                whole = self._look(period, mine, before, wish)
                if whole <= wish.limit:
                    self._drop_shares(period, before, wish.entry)
                    return usd, whole
                self._remove(period, mine)
            elif is_local(self.home.fs) or others.of(_lasting(others, seen_at, waited)).total + wish.least > wish.limit:
                # (While a lock is held, nobody takes anything back.)
                return None, others.total + wish.least
            # Others may have come at the same moment, and may take theirs back.
            most = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**number)
            wait = random.uniform(most / 2, most)  # noqa: S311
            waited += wait
            self._pause(wait)
            before = self.sums(period)
        raise BudgetBusyError(
            f"other tasks reserve from the budget's ledger {self.home.child(period).uri} at the same moment, and what "
            "they leave is not known yet. Nothing was submitted; the next try asks again"
        )

    def _look(self, period: str, mine: str, before: Sums, wish: _Wish) -> Decimal:
        """Return the sum with one's own file in it; wait for rivals to go if it is one's turn."""
        for number in range(LOOKS):
            now = self.sums(period)
            rivals = {line.entry for line in now.lines if line.name not in before.names} - {wish.entry}
            # A listing without one's own file is older than it (a cache), and says nothing about the others.
            seen = mine in now.names
            if seen and (now.total <= wish.limit or not rivals or wish.entry > min(rivals)):
                return now.total
            self._pause(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**number) / 2)
        return now.total if seen else wish.limit + 1

    def _drop_shares(self, period: str, before: Sums, entry: str) -> None:
        """Remove the shares that a later one has replaced. They do not count, so a crash before it does no harm."""
        for line in before.lines:
            if line.kind == "share" and line.entry == entry:
                try:
                    self._remove(period, line.name)
                except ApimartError as error:
                    log.debug("An old share stays: %s", error)

    def _say_if_empty(self, period: str, before: Sums) -> None:
        if not before.lines:
            log.info(
                "The budget's ledger %s is empty, so it counts from 0. That is right for the first payment of a "
                "period; if files were lost, what they counted is not in it: see `airflow-provider-apimart audit`.",
                self.home.child(period).uri,
            )

    @contextlib.contextmanager
    def _asking(self, period: str) -> Iterator[None]:
        """Let the tasks of this machine in one by one where the ledger is on its disk."""
        place = self.home.child(period)
        with _unavailable(place):
            if is_local(place.fs):
                with storage_errors(place, "written"):
                    place.fs.makedirs(place.path, exist_ok=True)
            with exclusive(place.child("ledger")):
                yield

    def _write(self, period: str, name: str, about: Mapping[str, Any]) -> None:
        commit_bytes(self.home.child(period).child(name), json.dumps(about, indent=1).encode())

    def _remove(self, period: str, name: str) -> None:
        place = self.home.child(period).child(name)
        with contextlib.suppress(FileNotFoundError), storage_errors(place, "removed", passing=FileNotFoundError):
            place.fs.rm_file(place.path)


@dataclass(frozen=True)
class _Wish:
    """What is asked of a ledger, in USD.

    :param least: less than this is of no use.
    """

    entry: str
    least: Decimal
    most: Decimal
    limit: Decimal
    kind: str

    def name_for(self, usd: Decimal, before: Sums) -> str:
        """Return the name of a new file."""
        if self.kind == "share":
            return share_name(self.entry, before.share(self.entry)[0] + 1, usd)
        return reserved_name(self.entry, usd)


def _lasting(others: Sums, seen_at: dict[str, float], waited: float) -> set[str]:
    """Return the files that have been there for so long that nobody takes them back any more.

    :param seen_at: after how much waiting each file was first seen; kept up to date here.
    """
    for name in others.names:
        seen_at.setdefault(name, waited)
    return {name for name in others.names if waited - seen_at[name] >= LASTING_SECONDS}


@contextlib.contextmanager
def _unavailable(place: Target) -> Iterator[None]:
    try:
        yield
    except (BudgetUnavailableError, BudgetBusyError):
        raise
    except (ApimartError, OSError) as error:
        raise BudgetUnavailableError(
            f"the budget's ledger {place.uri} cannot be used ({error}). Without it nothing new is paid for"
        ) from error
