"""Brings what a task wrote into a form that every database, every encoding and every page takes.

One value that cannot be written would otherwise stop the index for everybody, and one that cannot be sent would break
the page of everybody who may see it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

#: What lies deeper is left out. JSON libraries give up at some hundred levels.
MAX_DEPTH = 24
#: JSON numbers beyond this are read differently by different programs.
MAX_NUMBER = 2**63
MAX_NAMES = 50
MAX_NAME = 120


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a value as plain JSON: nothing deeper than ``depth``, no NaN, no text that cannot be encoded."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, (int, float)):
        return value if math.isfinite(value) and abs(value) < MAX_NUMBER else None
    if depth <= 0:
        return None
    if isinstance(value, Mapping):
        return {plain_text(str(name)): plain(item, depth - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth - 1) for item in value]
    return plain_text(str(value))


def plain_text(text: str) -> str:
    """Return a text without what PostgreSQL (NUL) or an encoding (half a surrogate pair) does not take."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def short(named: Mapping[str, Any] | None, limit: int) -> dict[str, Any]:
    """Return labels or parameters for a list: no more than some, each cut.

    :param limit: how many characters one of them may have.
    """
    return {name[:MAX_NAME]: _cut(value, limit) for name, value in list((named or {}).items())[:MAX_NAMES]}


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value[:limit]
    if isinstance(value, (Mapping, list, tuple)):
        text = json.dumps(value, ensure_ascii=False)
        return value if len(text) <= limit else text[:limit]
    return value
