"""Compares the bill with what tasks have written down, by day and model. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date
from decimal import Decimal

from airflow_provider_apimart.client.usage import Usage
from airflow_provider_apimart.generation.audit.entries import Entry, Standing

#: Costs come in up to six decimals, and a day's bill is a sum of rounded ones.
TOLERANCE_USD = Decimal("0.01")


@dataclass
class Line:
    """One day and model.

    :param billed_usd: what APIMart billed, for ``billed`` generations.
    :param known_usd: what tasks have written down, for ``known`` completed generations.
    :param unpriced: how many of these have no known cost.
    :param open: the generations of which it is not known whether they were completed.
    """

    day: date
    model: str
    billed_usd: Decimal = Decimal(0)
    billed: int = 0
    known_usd: Decimal = Decimal(0)
    known: int = 0
    unpriced: int = 0
    entries: list[Entry] = field(default_factory=list)
    open: list[Entry] = field(default_factory=list)

    @property
    def difference_usd(self) -> Decimal:
        """What was billed beyond what is known; negative if less was."""
        return self.billed_usd - self.known_usd

    def agrees(self, tolerance: Decimal) -> bool:
        """Return whether both say the same: the number of generations, and where all costs are known, the money."""
        return self.billed == self.known and (self.unpriced > 0 or abs(self.difference_usd) <= tolerance)


@dataclass(frozen=True)
class Audit:
    """The result.

    :param lines: by day and model.
    :param others: what was billed for models that no task has asked for and that make no Veo videos, by model.
    """

    lines: tuple[Line, ...]
    others: Mapping[str, Usage]

    @property
    def billed_usd(self) -> Decimal:
        """What was billed for all lines."""
        return sum((line.billed_usd for line in self.lines), Decimal(0))

    @property
    def known_usd(self) -> Decimal:
        """What is known of all lines."""
        return sum((line.known_usd for line in self.lines), Decimal(0))

    def differing(self, tolerance: Decimal = TOLERANCE_USD) -> list[Line]:
        """Return the lines in which the bill says something else than the tasks."""
        return [line for line in self.lines if not line.agrees(tolerance)]


def compare(bill: Iterable[Usage], entries: Iterable[Entry], first: date, last: date) -> Audit:
    """Return the bill beside what is known, line by line.

    :param entries: each generation once (:func:`.entries.each_once`). Those of other days are left out, as APIMart
        books a generation on the day of its completion.
    """
    lines: dict[tuple[date, str], Line] = {}

    def line(day: date, model: str) -> Line:
        return lines.setdefault((day, model), Line(day, model))

    asked = set()
    for entry in entries:
        if entry.standing is Standing.FREE or entry.at is None:
            continue
        asked.add(entry.model)
        day = entry.at.astimezone(UTC).date()
        if not first <= day <= last:
            continue
        own = line(day, entry.model)
        if entry.standing is Standing.OPEN:
            own.open.append(entry)
            continue
        own.entries.append(entry)
        own.known += 1
        own.unpriced += entry.usd is None
        own.known_usd += entry.usd or 0
    others: dict[str, Usage] = {}
    for item in bill:
        if item.model in asked or item.model.lower().startswith("veo"):
            own = line(item.day, item.model)
            own.billed += item.requests
            own.billed_usd += item.usd
        else:
            before = others.get(item.model)
            usd, requests = (before.usd, before.requests) if before else (Decimal(0), 0)
            changes = {"usd": usd + item.usd, "requests": requests + item.requests}
            others[item.model] = item.model_copy(update=changes)
    return Audit(tuple(lines[key] for key in sorted(lines)), others)
