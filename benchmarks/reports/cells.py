"""How the page formats tables, figures and their origin. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(value: float | None, unit: str = "", digits: int = 2) -> str:
    """Return a number with this many significant digits, never in scientific notation."""
    if value is None or math.isnan(value):
        return "-"
    if value == 0:
        return f"0{unit}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, digits - 1 - math.floor(math.log10(abs(value)))):,.{places}f}{unit}"


def milliseconds(value: float | None) -> str:
    """Return a time that may be far below or far above a second."""
    if value is None or math.isnan(value):
        return "-"
    return figure(value / 1000, " s") if value >= 1000 else figure(value, " ms")


def about(found: dict[str, Any]) -> str:
    """Return the line that says where and how a part was measured."""
    it = found["about"]
    on = it["machine"]
    return (
        f"`{it['command']}`, {it['date']}: {on['cpus']} CPUs ({on['model']}), {on['memory_gb']} GB, {on['system']}, "
        f"Python {on['python']}, Airflow {on['airflow']}; load before: {it['load_before']:.1f}; took "
        f"{lasted(it['took_seconds'])}."
    )


def lasted(seconds: float) -> str:
    """Return a duration as people say it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def percent(share: float | None) -> str:
    """Return a share as a percentage; a share below one is never rounded up to 100 %."""
    if share is None:
        return "-"
    return f"{math.floor(share * 1000) / 10:g} %" if 0.99 < share < 1 else f"{min(share, 1.0) * 100:.0f} %"
