"""Text that stays data even in a DAG file, as in a table that was read while the DAG was parsed."""

from __future__ import annotations

from typing import Any


class Verbatim(str):
    """Text that the provider's operators never render as a template. All other code sees plain text."""

    __slots__ = ()


def verbatim(value: Any) -> Any:
    """Return plain JSON in which every text is :class:`Verbatim`."""
    if isinstance(value, str):
        return Verbatim(value)
    if isinstance(value, dict):
        return {key: verbatim(item) for key, item in value.items()}
    if isinstance(value, list):
        return [verbatim(item) for item in value]
    return value
