"""One cell of a table: whether it is empty, its value as a parameter, and its value as a label.

Tables spell the same value in many ways. A database without booleans has 0 and 1. Many tools turn a whole number beside
empty cells into 8.0. JSON in a text column is text, and numpy has its own number types. A spelling that can only mean
one thing is taken as that. Anything else is left to the request's own check, which refuses it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_apimart.client.null_words import is_damage, says_nothing, strip

WHOLE_NUMBERS = frozenset({"duration", "seed", "sample_count"})
TRUTHS = frozenset({"generate_audio", "enhance_prompt"})
#: Text that people write. Its spaces are kept as they are.
PROSE = frozenset({"prompt", "negative_prompt"})
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})
_WHOLE = re.compile(r"([0-9]{1,12})\.0+")


class BadCell(ValueError):
    """A cell that cannot be read; the text says what is allowed."""


def plain(cell: Any) -> Any:
    """Return a cell as a plain Python type: numpy's scalars and arrays as the values they hold, UTF-8 bytes as text."""
    if isinstance(cell, (bytes, bytearray, memoryview)):
        try:
            return bytes(cell).decode()
        except UnicodeDecodeError:
            return cell
    # No cell can be a numpy value unless numpy is loaded.
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(cell, (numpy.generic, numpy.ndarray)):
        return cell
    if isinstance(cell, (numpy.datetime64, numpy.timedelta64)):
        return None if numpy.isnat(cell) else str(cell)
    if isinstance(cell, numpy.longdouble):
        return float(cell)
    return plain(cell.tolist())


def is_empty(cell: Any) -> bool:
    """Say whether a cell is empty: ``None``, text that means so, or any library's "not a number"."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return says_nothing(cell)
    if type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, Decimal):
        return cell.is_nan()
    # NaN is the only number that does not equal itself.
    return isinstance(cell, float) and cell != cell


def matches(cell: Any, wanted: Any) -> bool:
    """Say whether a cell holds the wanted value; ``None`` stands for an empty cell.

    Cells of text files have no types, so ``False`` also matches "false" and "0", and 0 also matches "0.00".
    """
    cell = plain(cell)
    if wanted is None:
        return is_empty(cell)
    if cell is None:
        return False
    if isinstance(wanted, bool):
        return _truth(cell) is wanted
    if isinstance(cell, bool):
        return _truth(wanted) is cell
    if isinstance(wanted, (int, float, Decimal)):
        try:
            return Decimal(str(cell).strip()) == Decimal(str(wanted))
        except InvalidOperation:
            return False
    return strip(str(cell)) == strip(str(wanted))


def parameter(name: str, cell: Any) -> Any:
    """Return a cell as the value of a request's parameter.

    :raises BadCell: if the cell cannot be read as such a value.
    """
    if isinstance(cell, str):
        if is_damage(cell):
            raise BadCell("this is a spreadsheet's error, or text that was lost, and no value; leave the cell empty")
        if name not in PROSE:
            cell = strip(cell)
    if name in WHOLE_NUMBERS:
        return _whole(cell)
    if name in TRUTHS:
        return _truth(cell)
    if name == "extra_body" and isinstance(cell, str):
        return _json(cell)
    return cell


def label(cell: Any) -> Any:
    """Return a cell as plain JSON. An empty cell is ``None``; text is not changed."""
    cell = plain(cell)
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
    # A number far out of any range is not converted, so that the error does not show a thousand digits.
    if isinstance(cell, (float, Decimal)) and -1e15 < cell < 1e15 and cell == int(cell):
        return int(cell)
    if isinstance(cell, str) and (match := _WHOLE.fullmatch(cell)):
        return int(match[1])
    return cell


def _truth(cell: Any) -> Any:
    if isinstance(cell, (int, float, Decimal)) and cell in (0, 1):
        return bool(cell)
    if isinstance(cell, str):
        word = strip(cell).lower()
        # Many tools turn a 1 beside empty cells into 1.0.
        word = match[1] if (match := _WHOLE.fullmatch(word)) else word
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    return cell


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise BadCell(f"allowed: a JSON object ({error})") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict: the hook for ``json.loads``.

    :raises ValueError: for a key that appears twice, because JSON does not say which one counts.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} comes twice")
    return found


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    # A price such as 9.90 becomes a number. A value that a float would round is kept as text.
    return number if Decimal(repr(number)) == value else str(value)
