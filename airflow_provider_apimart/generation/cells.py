"""One cell of a table: whether it is empty, what it is as a parameter, and what it is as a label.

Tables spell the same value in many ways: a database without booleans has 0 and 1, a whole number beside empty cells
becomes 8.0 in many tools, and JSON in a text column is text. What can only mean one thing is taken as that; anything
else is left to the request's own check, which refuses it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

WHOLE_NUMBERS = frozenset({"duration", "seed", "sample_count"})
TRUTHS = frozenset({"generate_audio", "enhance_prompt"})
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})
_WHOLE = re.compile(r"([0-9]{1,12})\.0+")


class BadCell(ValueError):
    """A cell that cannot be read; the text says what is allowed."""


def is_empty(cell: Any) -> bool:
    """Say whether a cell holds nothing: ``None``, blank text, or any library's "not a number"."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return not cell.strip()
    if type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, Decimal):
        return cell.is_nan()
    # NaN is the one number that is not itself.
    return isinstance(cell, float) and cell != cell


def parameter(name: str, cell: Any) -> Any:
    """Return a cell as the value of a request's parameter.

    :raises BadCell: for what cannot be read as one.
    """
    if name in WHOLE_NUMBERS:
        return _whole(cell)
    if name in TRUTHS:
        return _truth(cell)
    if name == "extra_body" and isinstance(cell, str):
        return _json(cell)
    return cell


def label(cell: Any) -> Any:
    """Return a cell as plain JSON; an empty one is ``None``, blank text stays what it is."""
    if isinstance(cell, str):
        return _valid(cell)
    if isinstance(cell, (bool, int)):
        return cell
    if is_empty(cell):
        return None
    if isinstance(cell, float):
        return cell if cell - cell == 0 else str(cell)
    if isinstance(cell, Decimal):
        return _decimal(cell)
    if isinstance(cell, (date, datetime, time)):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, Mapping):
        return {_valid(str(key)): label(value) for key, value in cell.items()}
    if isinstance(cell, (list, tuple, set, frozenset)):
        return [label(value) for value in cell]
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return bytes(cell).decode("utf-8", "backslashreplace")
    return _valid(str(cell))


def _valid(text: str) -> str:
    """Return text that a manifest can hold: without lone surrogates."""
    return str(text) if text.isascii() else text.encode(errors="replace").decode()


def _whole(cell: Any) -> Any:
    # A number far out of any range stays what it is, so that the error shows it and not its thousand digits.
    if isinstance(cell, (float, Decimal)) and -1e15 < cell < 1e15 and cell == int(cell):
        return int(cell)
    if isinstance(cell, str) and (match := _WHOLE.fullmatch(cell.strip())):
        return int(match[1])
    return cell


def _truth(cell: Any) -> Any:
    if isinstance(cell, (int, float, Decimal)) and cell in (0, 1):
        return bool(cell)
    if isinstance(cell, str):
        word = cell.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    return cell


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadCell(f"allowed: a JSON object ({error})") from None


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    # A price such as 9.90 is a number; what a float would round is kept as text.
    return number if Decimal(repr(number)) == value else str(value)
