"""A budget that lasts: a limit in USD for a day or a month, shared by the tasks that name it.

:class:`Budget` is what a DAG writes. Its periods are those of the wall clock at the moment of paying, never of a
logical date: a backfill of last year is paid for today. What is spent stands in a ledger (:mod:`.ledger`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from zoneinfo import ZoneInfo

from airflow_provider_apimart.client.errors import ApimartError, Charge

Per = Literal["day", "month"]


OnExhausted = Literal["fail", "skip", "wait"]


class BudgetExhaustedError(ApimartError):
    """The budget has no room for this request. Nothing was sent."""

    terminal = True
    charge = Charge.NO
    #: When it would have room again; ``None`` if waiting is of no use.
    resets_at: datetime | None = None


class BudgetUnavailableError(ApimartError):
    """The budget's ledger cannot be read or written. Nothing was sent: a later try asks again."""

    charge = Charge.NO


class BudgetBusyError(ApimartError):
    """Others reserve at the same moment, and there may be room. Nothing was sent: a later try asks again."""

    charge = Charge.NO


@dataclass(frozen=True)
class Budget:
    """What may be spent in a day or a month, for a DAG or for all tasks that share a name.

    :param usd: the limit of one period in USD; more than 0.
    :param per: ``"day"`` or ``"month"``, by the calendar of ``timezone``.
    :param folder: a folder in any storage that all workers reach (``s3://bucket/budgets``, a shared volume), where the
        ledger is kept.
    :param name: what the ledger is called. Tasks with the same folder, name and period share one budget. ``None``: the
        id of the DAG.
    :param timezone: an IANA name, such as ``Asia/Seoul``.
    :param on_exhausted: what a task does for which there is no room. ``"fail"``: it fails without a retry. ``"skip"``:
        it is skipped. ``"wait"``: it waits in the triggerer for the next day or month, then asks again. What costs more
        than the whole budget fails in any case.
    :raises ValueError: when one of them cannot be used.
    """

    usd: float | str | Decimal
    per: Per
    folder: str | os.PathLike[str]
    name: str | None = None
    timezone: str = "UTC"
    on_exhausted: OnExhausted = "fail"

    def __post_init__(self) -> None:
        try:
            good = self.limit.is_finite() and self.limit > 0
        except InvalidOperation:
            good = False
        if not good or isinstance(self.usd, bool):
            raise ValueError(f"Budget: usd={self.usd!r} is not allowed; a number of USD above 0")
        if self.per not in ("day", "month"):
            raise ValueError(f"Budget: per={self.per!r} is not allowed; 'day' or 'month'")
        if not str(self.folder).strip():
            raise ValueError(f"Budget: folder={self.folder!r} is not allowed; a folder that all workers reach")
        if self.name is not None and not str(self.name).strip():
            raise ValueError(f"Budget: name={self.name!r} is not allowed; text, or None for the id of the DAG")
        if self.on_exhausted not in ("fail", "skip", "wait"):
            text = f"Budget: on_exhausted={self.on_exhausted!r} is not allowed; 'fail', 'skip' or 'wait'"
            raise ValueError(text)
        try:
            ZoneInfo(self.timezone)
        except Exception:
            text = f"Budget: timezone={self.timezone!r} is not allowed; an IANA name, such as 'UTC' or 'Asia/Seoul'"
            raise ValueError(text) from None

    @property
    def limit(self) -> Decimal:
        """The limit as an exact number."""
        return Decimal(str(self.usd))

    def as_json(self) -> dict[str, Any]:
        """Return the arguments as plain JSON."""
        named = {"name": self.name, "timezone": self.timezone, "on_exhausted": self.on_exhausted}
        return {"usd": str(self.limit), "per": self.per, "folder": str(self.folder), **named}

    def period_at(self, moment: datetime) -> Period:
        """Return the period that a moment lies in."""
        zone = ZoneInfo(self.timezone)
        today = moment.astimezone(zone).date()
        if self.per == "day":
            name, after = today.isoformat(), today + timedelta(days=1)
        else:
            name = f"{today:%Y-%m}"
            after = date(today.year + today.month // 12, today.month % 12 + 1, 1)
        ends = datetime(after.year, after.month, after.day, tzinfo=zone)
        return Period(name, ends.astimezone(UTC))


@dataclass(frozen=True)
class Period:
    """One day or month of a budget.

    :param name: ``2026-11-27`` or ``2026-11``.
    :param resets_at: when the next one begins, in UTC.
    """

    name: str
    resets_at: datetime


def amount(usd: Decimal) -> str:
    """Return an amount for people: with cents, and no zeros after them."""
    text = f"{usd:.6f}".rstrip("0")
    return text + "0" * max(0, 2 - len(text.partition(".")[2]))


def title(budget: Budget, name: str, period: str) -> str:
    """Return how a budget is called in messages."""
    return f"Budget {name!r} ({budget.limit:f} USD per {budget.per}, {period}, {budget.timezone})"


def refusal(
    budget: Budget, name: str, period: Period, *, left: Decimal, needed: Decimal, cost: Decimal, what: str
) -> BudgetExhaustedError:
    """Return the error for what does not fit, with all that a person needs to go on.

    :param needed: the limit that would do.
    :param cost: what does not fit, in USD.
    :param what: the same in words.
    """
    text = f"{title(budget, name, period.name)} has {amount(max(Decimal(0), left))} USD left, and {what}. "
    raise_it = f"raise usd in the DAG's Budget to {amount(needed)} or more, then clear the task"
    if cost > budget.limit:
        return BudgetExhaustedError(f"{text}That is more than the whole budget. To go on, {raise_it}")
    error = BudgetExhaustedError(
        f"{text}The budget resets at {period.resets_at:%Y-%m-%d %H:%M} UTC. To go on now, {raise_it}; to go on later, "
        "clear it after the reset"
    )
    error.resets_at = period.resets_at
    return error


def budget_problem(value: Any) -> str | None:
    """Return what is wrong with an operator's ``budget`` argument."""
    return None if value is None or isinstance(value, Budget) else 'a Budget, such as Budget(usd=20, per="day", ...)'
