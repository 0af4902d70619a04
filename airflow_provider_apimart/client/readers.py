"""Reads single values of an answer: lenient about their type, and never a guess. What cannot be read is ``None``."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

#: The year 3000, in unix seconds.
LATEST_TIME = 32_503_680_000


def read_number(value: Any) -> float | None:
    """Return a finite number from a JSON number or its text, otherwise ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(Decimal(value.strip().rstrip("%")) if isinstance(value, str) else value)
    except (InvalidOperation, OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read_money(value: Any) -> Decimal | None:
    """Return an amount, to its last digit, from a JSON number or its text, otherwise ``None``."""
    try:
        return None if read_number(value) is None else Decimal(str(value).strip())
    except InvalidOperation:
        return None


def read_time(value: Any) -> datetime | None:
    """Return a UTC time from unix seconds (or milliseconds, recognized by their size), otherwise ``None``."""
    number = read_number(value)
    if number is None or number <= 0:
        return None
    seconds = number / 1000 if number > 1e11 else number
    # Later values are not times, and adding to them would overflow the calendar.
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds < LATEST_TIME else None


def read_text(value: Any, limit: int = 10_000) -> str | None:
    """Return a JSON value as text that any log or file accepts (no lone surrogates), otherwise ``None``."""
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):
        # An int of thousands of digits, or a list of thousands of levels.
        return None
    return text[:limit].encode(errors="replace").decode()
