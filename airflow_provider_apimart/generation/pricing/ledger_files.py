"""The files of a budget's ledger: what their names say, and what they add up to. Pure; see ``ledger.py``."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

#: What is so old by the storage's clock is not taken back any more.
OLD = timedelta(minutes=10)
MICRO = Decimal(1_000_000)
_NAME = re.compile(
    r"(?P<entry>[0-9a-f]{32})~(?:(?P<number>\d{8})~)?(?:[0-9a-f]{16}~)?(?P<micro>\d+)"
    r"\.(?P<kind>reserved|paid|share)\.json"
)
#: Where listings say when a file was written.
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class Line:
    """One file of a ledger.

    :param number: of the shares of one batch, the later ones replace the earlier ones.
    """

    name: str
    entry: str
    kind: str
    number: int
    usd: Decimal
    old: bool = False

    @property
    def stays(self) -> bool:
        """Whether nobody will take it back."""
        return self.kind == "paid" or self.old


@dataclass
class Sums:
    """What a period's ledger holds."""

    lines: list[Line] = field(default_factory=list)

    @classmethod
    def of_files(cls, files: Iterable[Mapping[str, Any]]) -> Sums:
        """Return what a listing says. Files with other names do not count.

        :param files: what fsspec says about each.
        """
        sums = cls()
        for file in files:
            name = str(file["name"]).rstrip("/").rpartition("/")[2]
            if found := _NAME.fullmatch(name):
                usd, number = Decimal(found["micro"]) / MICRO, int(found["number"] or 0)
                sums.lines.append(Line(name, found["entry"], found["kind"], number, usd, _is_old(file)))
        return sums

    def by_entry(self, kind: str) -> dict[str, Decimal]:
        """Return the amounts of one kind in USD, by entry."""
        found: dict[str, Line] = {}
        for line in self.lines:
            other = found.get(line.entry)
            if line.kind == kind and (other is None or (line.number, line.usd) > (other.number, other.usd)):
                found[line.entry] = line
        return {entry: line.usd for entry, line in found.items()}

    @property
    def entries(self) -> set[str]:
        """All entries."""
        return {line.entry for line in self.lines}

    @property
    def names(self) -> set[str]:
        """All files."""
        return {line.name for line in self.lines}

    @property
    def total(self) -> Decimal:
        """What counts as spent."""
        counted = {**self.by_entry("share"), **self.by_entry("reserved"), **self.by_entry("paid")}
        return sum(counted.values(), Decimal(0))

    def share(self, entry: str) -> tuple[int, Decimal]:
        """Return the number and the amount of a batch's share; zeros if it has none."""
        mine = [(line.number, line.usd) for line in self.lines if line.kind == "share" and line.entry == entry]
        return max(mine, default=(0, Decimal(0)))

    def without(self, entry: str) -> Sums:
        """Return what the others have."""
        return Sums([line for line in self.lines if line.entry != entry])

    def of(self, names: Collection[str]) -> Sums:
        """Return what stays, and what these files add."""
        return Sums([line for line in self.lines if line.stays or line.name in names])


def _is_old(file: Mapping[str, Any]) -> bool:
    found = next((file[name] for name in _TIMES if file.get(name) is not None), None)
    if found is None:
        return False
    try:
        if isinstance(found, str):
            found = datetime.fromisoformat(found)
        at = found if isinstance(found, datetime) else datetime.fromtimestamp(float(found), tz=UTC)
    except (TypeError, ValueError):
        return False
    return datetime.now(UTC) - (at if at.tzinfo else at.replace(tzinfo=UTC)) >= OLD


def entry_of(idempotency_key: str) -> str:
    """Return the name of a generation's entry, or of a batch's."""
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]


def reserved_name(entry: str, usd: Decimal) -> str:
    """Return a new name for a reservation."""
    return f"{entry}~{secrets.token_hex(8)}~{_micro(usd)}.reserved.json"


def paid_name(entry: str, usd: Decimal) -> str:
    """Return the name of a payment."""
    return f"{entry}~{_micro(usd)}.paid.json"


def share_name(entry: str, number: int, usd: Decimal) -> str:
    """Return a new name for a batch's share."""
    return f"{entry}~{number:08d}~{secrets.token_hex(8)}~{_micro(usd)}.share.json"


def rounded(usd: Decimal) -> Decimal:
    """Return an amount as a name can hold it."""
    return Decimal(_micro(usd)) / MICRO


def _micro(usd: Decimal) -> int:
    return int((usd * MICRO).to_integral_value(rounding="ROUND_CEILING"))
