"""Text from outside in Markdown: shown as it is, never as markup, a link or a picture."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

#: Marks that turn the direction of the text around them, which can make a form read as what it is not.
_TURNING = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C))


def shown(text: str, limit: int) -> str:
    """Return text without control characters and marks of direction, cut at ``limit`` characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_TURNING)
    text = "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cn") else " " for c in text)
    return text if len(text) <= limit else f"{text[:limit].rstrip()} … (cut: {len(text):,} characters)"


def block(text: str, limit: int = 2000) -> str:
    """Return text as a block of code, which Markdown shows as it is, on its own lines.

    Escaping alone is not enough: GitHub's Markdown turns an escaped URL into a link all the same.
    """
    text = shown(text, limit)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def inline(text: object, limit: int = 200) -> str:
    """Return text as code within a line or a table's cell."""
    text = " ".join(shown(str(text), limit).split())
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    # A table's cell ends at a bar, even within code; only an escape keeps it. And a backslash escapes a backslash: what
    # stood before the bar must not take the escape away.
    text = re.sub(r"(\\*)\|", _kept_bar, text)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}" if text else ""


def _kept_bar(found: re.Match[str]) -> str:
    slashes = found[1]
    return slashes + "\\" * (1 + len(slashes) % 2) + "|"


def link(text: str, address: str) -> str:
    """Return a link.

    :param text: plain words of our own.
    :param address: an address whose parts are quoted.
    """
    return f"[{text}](<{address}>)"


def picture(text: str, address: str) -> str:
    """Return a picture.

    :param text: plain words of our own, shown where the picture is not to be had.
    :param address: an address whose parts are quoted.
    """
    return f"![{text}](<{address}>)"


def part(value: object) -> str:
    """Return an id quoted as one part of a path: run ids hold ``+`` and ``:``."""
    return quote(str(value), safe="")
