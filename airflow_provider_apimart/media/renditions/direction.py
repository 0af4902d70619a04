"""Which way a line of text runs: the parts of the Unicode Bidirectional Algorithm (UAX #9) that need no control signs.

Pillow orders the letters within a run of one font. A line in several fonts, such as Arabic with an emoji in it, has
several runs, and their order is found here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_STRONG = {"L": "L", "R": "R", "AL": "R"}
#: What is left of the classes once numbers are resolved.
_SIMPLE = {**_STRONG, "EN": "N", "AN": "N"}


def base_direction(text: str) -> str:
    """Return ``R`` if the first letter with a direction is of a right-to-left script, else ``L`` (rules P2 and P3)."""
    return next((found for found in map(_strong, text) if found), "L")


def levels(clusters: Sequence[str], base: str) -> list[int]:
    """Return the embedding level of each cluster: odd ones run from right to left."""
    bottom = 1 if base == "R" else 0
    kinds = [
        _SIMPLE.get(kind, kind) for kind in _resolved([unicodedata.bidirectional(each[0]) for each in clusters], base)
    ]
    return [
        _level(kind, bottom) if kind in ("L", "R", "N") else _neutral(kinds, at, base, bottom)
        for at, kind in enumerate(kinds)
    ]


def visual_order(levels_of: Sequence[int]) -> list[int]:
    """Return the indices of runs from left to right (rule L2)."""
    order = list(range(len(levels_of)))
    for level in range(max(levels_of, default=0), 0, -1):
        at = 0
        while at < len(order):
            end = at
            while end < len(order) and levels_of[order[end]] >= level:
                end += 1
            order[at:end] = reversed(order[at:end])
            at = max(end, at + 1)
    return order


def _strong(character: str) -> str | None:
    return _STRONG.get(unicodedata.bidirectional(character))


def _resolved(kinds: list[str], base: str) -> list[str]:
    """Return the classes after the rules of numbers: European (``EN``) and Arabic ones (``AN``), with their signs."""
    found = list(kinds)
    strong = base
    for at, kind in enumerate(kinds):
        strong = kind if kind in _STRONG else strong
        if kind == "EN" and strong == "AL":
            # A number after an Arabic word is an Arabic one, whatever its digits (W2).
            found[at] = "AN"
    for at in range(1, len(found) - 1):
        between = found[at - 1] if found[at - 1] == found[at + 1] else ""
        if (found[at], between) in (("ES", "EN"), ("CS", "EN"), ("CS", "AN")):
            # A sign between two digits (W4).
            found[at] = between
    for places in (range(len(found)), range(len(found) - 1, -1, -1)):
        before = ""
        for at in places:
            if found[at] == "ET" and before == "EN":
                # A percent sign or a currency beside a number (W5).
                found[at] = "EN"
            before = found[at]
    strong = base
    for at, kind in enumerate(found):
        strong = kind if kind in _STRONG else strong
        if kind == "EN" and strong == "L":
            # A number after a left-to-right word belongs to it (W7).
            found[at] = "L"
    return found


def _level(kind: str, bottom: int) -> int:
    if kind == "N":
        # Digits run from left to right, also within what runs from right to left.
        return 2
    if kind == "R":
        return 1
    return 2 if bottom else 0


def _neutral(kinds: Sequence[str], at: int, base: str, bottom: int) -> int:
    """Return the level between two neighbours: theirs if they agree, else the paragraph's (rules N1 and N2)."""
    left = next((_side(kinds[there]) for there in range(at - 1, -1, -1) if _side(kinds[there])), base)
    right = next((_side(kinds[there]) for there in range(at + 1, len(kinds)) if _side(kinds[there])), base)
    return _level(left, bottom) if left == right else bottom


def _side(kind: str) -> str:
    """Return the direction that a neutral sees in a neighbour: a number in right-to-left text counts as ``R``."""
    return {"L": "L", "R": "R", "N": "R"}.get(kind, "")
