"""What the runs gave, and the table of docs/compatibility.md that is made of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from dev.compat.cells import CELLS, PARTS

BEGIN, END = "<!-- made by make compat: begin -->", "<!-- made by make compat: end -->"


@dataclass(frozen=True)
class Result:
    """What one run of a part of the tests gave in a cell."""

    cell: str
    part: str
    day: str
    airflow: str
    python: str
    pins: str
    lifted: list[str]
    passed: int
    skipped: int
    failed: int


def counts(report: Path) -> tuple[int, int, int]:
    """Return how many tests of pytest's report passed, were skipped, and failed (errors are failures)."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314 -- written by our own pytest
    total, skipped, failures, errors = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "skipped", "failures", "errors")
    )
    return total - skipped - failures - errors, skipped, failures + errors


def table(results: list[Result]) -> str:
    """Return the table, one line a run."""
    if not results:
        return "No run is recorded yet."
    lines = [
        "| Airflow | Python | tests | passed | skipped | failed | day | packages | lifted pins |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        lifted = ", ".join(f"`{pin}`" for pin in one.lifted) or "none"
        part = PARTS.get(one.part, f"`{one.part}`")
        lines.append(
            f"| {one.airflow} | {one.python} | {part} | {one.passed} | {one.skipped} | {one.failed} "
            f"| {one.day} | {one.pins} | {lifted} |"
        )
    return "\n".join(lines)


def record(results: list[Result], page: Path, runs: Path) -> None:
    """Keep the last run of each part in each cell, and write the page's table anew.

    :param runs: the JSON file that the runs are kept in: the page outlives the environments of one machine
    """
    kept = {
        (one["cell"], one["part"]): Result(**one) for one in (json.loads(runs.read_text()) if runs.exists() else [])
    }
    kept.update({(one.cell, one.part): one for one in results})
    parts = [*PARTS, *sorted({one.part for one in kept.values()} - set(PARTS))]
    ordered = [kept[cell, part] for cell in CELLS for part in parts if (cell, part) in kept]
    runs.write_text(json.dumps([asdict(one) for one in ordered], indent=2) + "\n")
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for the table: it needs the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{table(ordered)}\n\n{END}{after}")
