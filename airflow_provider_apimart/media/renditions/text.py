"""Draws text of any script into a transparent picture: broken into lines, each part in a font that has it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from PIL import Image, ImageDraw

from airflow_provider_apimart.media.errors import Refused
from airflow_provider_apimart.media.renditions.direction import base_direction, levels, visual_order
from airflow_provider_apimart.media.renditions.fonts import Font, clusters, font_for, is_emoji

#: The space between two lines' baselines, in sizes of the font.
LINE_STEP = 1.3
#: The outline around letters, in sizes of the font.
OUTLINE = 0.07
#: The smallest letters, in pixels.
SMALLEST = 8


@dataclass(frozen=True)
class Pen:
    """How text is drawn.

    :param size: of the letters, in pixels.
    :param outline: ``#rrggbb`` around the letters; ``None`` for none.
    """

    fonts: tuple[Font, ...]
    size: int
    colour: str
    outline: str | None = None

    @property
    def stroke(self) -> int:
        """The outline's width in pixels."""
        return max(1, round(self.size * OUTLINE)) if self.outline else 0


@dataclass(frozen=True)
class _Run:
    """A part of a line in one font and one direction."""

    text: str
    font: Font
    direction: str

    def width(self, size: int) -> float:
        scale = size / self.font.strike if self.font.strike else 1.0
        return scale * float(_loaded(self.font, size).getlength(self.text, **_direction(self.direction)))


def draw_text(text: str, pen: Pen, max_width: int, max_height: int) -> Any:
    """Return a transparent picture just large enough for the text, its lines centred.

    A text that does not fit is drawn smaller.

    :raises Refused: if it does not fit in the smallest letters.
    """
    while True:
        lines = _lines(text, pen, max_width - 2 * pen.stroke)
        widths = [sum(run.width(pen.size) for run in line) for line in lines]
        height = round(pen.size * LINE_STEP * len(lines)) + 2 * pen.stroke
        width = round(max(widths, default=0)) + 2 * pen.stroke
        if height <= max_height and width <= max_width:
            break
        if pen.size <= SMALLEST:
            raise Refused(
                f"a text of {len(text)} characters does not fit into {max_width}x{max_height} pixels, not even in "
                f"letters of {SMALLEST}: shorten it, or show it in several parts ({text[:40]!r} ...)"
            )
        pen = Pen(pen.fonts, max(SMALLEST, int(pen.size * 0.9)), pen.colour, pen.outline)
    picture = Image.new("RGBA", (max(2, width), max(2, height)), (0, 0, 0, 0))
    for number, (line, wide) in enumerate(zip(lines, widths, strict=True)):
        baseline = round(pen.stroke + pen.size * (LINE_STEP * number + 1.02))
        _draw_line(picture, line, (picture.width - wide) / 2, baseline, pen)
    return picture


def _lines(text: str, pen: Pen, max_width: int) -> list[list[_Run]]:
    """Return the lines, each as its runs. A paragraph's first letter gives the direction of all of its lines."""
    return [
        _runs(line, pen.fonts, base_direction(paragraph))
        for paragraph in text.split("\n")
        for line in break_lines(paragraph, pen, max_width)
    ]


def break_lines(paragraph: str, pen: Pen, max_width: int) -> Iterator[str]:
    """Yield the lines: broken at spaces, between ideographs, and where nothing else helps within a word."""
    line = ""
    for word in _words(" ".join(paragraph.split())):
        if line and _width((line + word).rstrip(), pen) > max_width:
            yield line.strip()
            line = ""
        word = word.lstrip() if not line else word
        while _width(word.rstrip(), pen) > max_width and len(clusters(word)) > 1:
            head = _head(word, pen, max_width)
            yield head
            word = word[len(head) :]
        line += word
    yield line.strip()


def _words(text: str) -> Iterator[str]:
    """Cut a text where a line may be broken; the pieces keep their spaces."""
    word = ""
    before = ""
    for cluster in clusters(text):
        if word and (before == " " or _breaks_between(before, cluster)):
            yield word
            word = ""
        word += cluster
        before = cluster
    if word:
        yield word


def _breaks_between(left: str, right: str) -> bool:
    """Return whether a line may end between two ideographs or kana. Korean is broken at its spaces."""
    if not left or unicodedata.category(right[0]) in ("Pe", "Pf", "Po", "Lm") or unicodedata.category(left[0]) == "Ps":
        return False
    return _is_ideographic(left[0]) or _is_ideographic(right[0])


def _is_ideographic(character: str) -> bool:
    wide = unicodedata.east_asian_width(character) in ("W", "F")
    return wide and not unicodedata.name(character, "").startswith("HANGUL") and unicodedata.category(character) == "Lo"


def _head(word: str, pen: Pen, max_width: int) -> str:
    """Return as many clusters of a word as fit, at least one."""
    parts = clusters(word)
    low, high = 1, len(parts)
    while low < high:
        middle = (low + high + 1) // 2
        if _width("".join(parts[:middle]), pen) <= max_width:
            low = middle
        else:
            high = middle - 1
    return "".join(parts[:low])


def _width(text: str, pen: Pen) -> float:
    return sum(run.width(pen.size) for run in _runs(text, pen.fonts, base_direction(text)))


def _runs(line: str, fonts: Sequence[Font], base: str) -> list[_Run]:
    """Return the runs of a line from left to right.

    :param base: the direction of its paragraph: ``L`` or ``R``.
    """
    parts = clusters(line)
    if not parts:
        return []
    chosen = _fonts_for(parts, fonts)
    if len(set(chosen)) == 1:
        # Shaping orders what is within one font by itself, by the whole algorithm.
        return [_Run(line, chosen[0], base)]
    found = []
    keys = list(zip(chosen, levels(parts, base), strict=True))
    for key, places in groupby(range(len(parts)), key=lambda at: keys[at]):
        font, level = key
        found.append((_Run("".join(parts[at] for at in places), font, "R" if level % 2 else "L"), level))
    return [found[at][0] for at in visual_order([level for _, level in found])]


def _fonts_for(parts: Sequence[str], fonts: Sequence[Font]) -> list[Font]:
    """Return the font of each cluster. Spaces and signs stay in the font of the text before them if it has them."""
    chosen: list[Font] = []
    for part in parts:
        before = chosen[-1] if chosen else None
        neutral = not any(unicodedata.category(each)[0] in "LM" for each in part) and not is_emoji(part)
        if neutral and before is not None and not before.strike and font_for(part, (before,)) is not None:
            chosen.append(before)
        else:
            chosen.append(font_for(part, fonts) or fonts[0])
    return chosen


def _draw_line(picture: Any, line: Sequence[_Run], left: float, baseline: int, pen: Pen) -> None:
    for run in line:
        if run.font.strike:
            _draw_bitmaps(picture, run, left, baseline, pen.size)
        else:
            ImageDraw.Draw(picture).text(
                (left, baseline),
                run.text,
                font=_loaded(run.font, pen.size),
                fill=pen.colour,
                anchor="ls",
                stroke_width=pen.stroke,
                stroke_fill=pen.outline,
                **_direction(run.direction),
            )
        left += run.width(pen.size)


def _draw_bitmaps(picture: Any, run: _Run, left: float, baseline: int, size: int) -> None:
    """Draw a run of coloured bitmaps: at the only size that they have, then scaled."""
    strike = run.font.strike or size
    font = _loaded(run.font, size)
    drawn = Image.new("RGBA", (max(1, round(font.getlength(run.text))), round(strike * 1.4)), (0, 0, 0, 0))
    ImageDraw.Draw(drawn).text((0, strike), run.text, font=font, anchor="ls", embedded_color=True)
    scale = size / strike
    wide, high = max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))
    picture.alpha_composite(
        drawn.resize((wide, high), Image.Resampling.LANCZOS), (max(0, round(left)), max(0, baseline - size))
    )


def _direction(direction: str) -> dict[str, Any]:
    from PIL import features

    return {"direction": "rtl" if direction == "R" else "ltr"} if features.check("raqm") else {}


@cache
def _loaded(font: Font, size: int) -> Any:
    return font.at(size)
