"""Finds, for each piece of a text, a font that has its characters. What no font has is refused by name.

A text is cut into what a reader sees as one character (a letter with its marks, an emoji with its parts), so that a
font is never changed within one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import regex
from fontTools.ttLib import TTFont, TTLibError
from PIL import ImageFont, features

from airflow_provider_apimart.media.errors import Refused

_EMOJI = regex.compile(r"\p{Emoji_Presentation}|\p{Emoji}\ufe0f|\p{Emoji}\u20e3")
#: Scripts whose letters change their shape or place beside each other. Without raqm they would be drawn wrong.
_SHAPED = regex.compile(
    r"[\p{Arabic}\p{Hebrew}\p{Syriac}\p{Thaana}\p{Nko}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}"
    r"\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}\p{Mongolian}]"
)
MAX_NAMED = 12


@dataclass(frozen=True)
class Font:
    """A font file and what is in it.

    :param path: ``None`` for the Latin font that Pillow brings.
    :param name: what the user knows it by.
    """

    path: str | None
    name: str

    def _open(self) -> Any:
        if self.path is not None:
            return open(self.path, "rb")
        own: Any = ImageFont.load_default(10)
        return BytesIO(own.font_bytes)

    @cached_property
    def _tables(self) -> tuple[frozenset[int], int | None]:
        try:
            with self._open() as file, TTFont(file, fontNumber=0, lazy=True) as font:
                characters = frozenset(font.getBestCmap() or ())
                bitmaps = "CBDT" in font and "CBLC" in font
                layered = "COLR" in font and font["COLR"].version > 0
                strike = font["CBLC"].strikes[0].bitmapSizeTable.ppemY if bitmaps else None
        except (TTLibError, OSError, KeyError, ValueError, AssertionError, IndexError) as error:
            raise Refused(f"fonts: {self.name} cannot be read as a font: {error}") from None
        if layered and not bitmaps:
            raise Refused(f"fonts: {self.name} holds colour glyphs of version 1 (COLR), which cannot be drawn")
        return characters, strike

    @property
    def characters(self) -> frozenset[int]:
        """The code points that it draws."""
        return self._tables[0]

    @property
    def strike(self) -> int | None:
        """The only size of a font of coloured bitmaps, in pixels; ``None`` for outlines, which have any size."""
        return self._tables[1]

    def at(self, size: int) -> Any:
        """Return Pillow's font of a size in pixels."""
        engine = ImageFont.Layout.RAQM if features.check("raqm") else ImageFont.Layout.BASIC
        try:
            with self._open() as file:
                return ImageFont.truetype(file, self.strike or size, layout_engine=engine)
        except OSError as error:
            raise Refused(f"fonts: {self.name} cannot be read as a font: {error}") from None


#: Is there on every worker: what draws a Latin text where no font is given or installed.
BUILT_IN = Font(None, "Pillow's own")


def clusters(text: str) -> list[str]:
    """Cut a text into what a reader sees as one character."""
    return list(regex.findall(r"\X", text))


def font_for(cluster: str, fonts: Iterable[Font]) -> Font | None:
    """Return the first font that has all of a cluster; for an emoji the first in colour, if there is one."""
    needed = {ord(character) for character in cluster if not is_invisible(character)}
    in_colour = is_emoji(cluster)
    other = None
    for font in fonts:
        # Fonts are large: one that is not asked is not read.
        if needed <= font.characters:
            if bool(font.strike) == in_colour:
                return font
            other = other or font
    # A colour font also has digits, as parts of its keycaps, and would draw them as blanks.
    return other if in_colour or not needed else None


def is_emoji(cluster: str) -> bool:
    """Return whether a cluster is shown in colour where there is a font for it."""
    return bool(_EMOJI.search(cluster))


def is_invisible(character: str) -> bool:
    """Return whether a character is drawn by no font: spaces, joiners, marks of direction, variation selectors."""
    return unicodedata.category(character) in ("Cf", "Cc", "Zs", "Zl", "Zp") or "\ufe00" <= character <= "\ufe0f"


def check_drawable(what: str, text: str, fonts: Sequence[Font]) -> None:
    """Check that every character can be drawn.

    :param what: the argument that the text is from.
    :raises Refused: with the characters that cannot.
    """
    missing = [each for each in dict.fromkeys(clusters(text)) if font_for(each, fonts) is None]
    if missing:
        named = ", ".join(_named(each) for each in missing[:MAX_NAMED])
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        names = ", ".join(font.name for font in fonts)
        raise Refused(
            f"{what}: no font has {named}{more} (tried: {names}): give fonts=[…] with one that has them, or install it "
            f"on the worker (Noto's packages have nearly all)"
        )
    if _SHAPED.search(text) and not features.check("raqm"):
        raise Refused(f"{what}: this script needs Pillow with raqm, which this worker's Pillow lacks")


def _named(cluster: str) -> str:
    return f"{cluster} ({' '.join(f'U+{ord(character):04X}' for character in cluster)})"
