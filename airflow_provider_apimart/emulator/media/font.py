"""A 5x7 dot font, because PyAV's ffmpeg cannot draw text and another dependency is not worth it.

Capital letters, digits and common signs. Other characters are drawn as their nearest letter (an accent is dropped) or
as a hollow box, so text in other scripts is not legible in the picture.
"""

from __future__ import annotations

import unicodedata

WIDTH, HEIGHT = 5, 7

# Seven rows to a glyph, five bits to a row, two hex digits each.
_ROWS = {
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1e11111111111e", "E": "1f10101e10101f",
    "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111", "I": "0e04040404040e", "J": "0702020202120c",
    "K": "11121418141211", "L": "1010101010101f", "M": "111b1515111111", "N": "11191915131311", "O": "0e11111111110e",
    "P": "1e11111e101010", "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "1111111515150a", "X": "11110a040a1111", "Y": "1111110a040404",
    "Z": "1f01020408101f", "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e",
    "4": "02060a121f0202", "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e",
    "9": "0e11110f01020c", " ": "00000000000000", ".": "00000000000c0c", ",": "0000000c0c0408",
    "!": "04040404040004", "?": "0e110102040004", ":": "000c0c000c0c00", ";": "000c0c000c0408", "-": "0000001f000000",
    "_": "0000000000001f", "+": "0004041f040400", "*": "000a041f040a00", "/": "00010204081000", "=": "00001f001f0000",
    "(": "02040808080402", ")": "08040202020408", "[": "0e08080808080e", "]": "0e02020202020e", "'": "0c040800000000",
    '"': "0a0a0a00000000", "#": "0a0a1f0a1f0a0a", "%": "18190204081303", "&": "0c12140815120d", "@": "0e110d15150e00",
    "$": "040f140e051e04", "<": "02040810080402", ">": "08040201020408",
}  # fmt: skip
_BOX = "1f11111111111f"


def _decode(rows: str) -> tuple[int, ...]:
    return tuple(int(rows[at : at + 2], 16) for at in range(0, 2 * HEIGHT, 2))


GLYPHS = {letter: _decode(rows) for letter, rows in _ROWS.items()}
BOX = _decode(_BOX)


def glyph(character: str) -> tuple[int, ...]:
    """Return the rows of a character, the leftmost dot in bit 4."""
    plain = unicodedata.normalize("NFKD", character)[:1].upper()
    return GLYPHS.get(plain, BOX)


def wrap(text: str, columns: int, lines: int) -> list[str]:
    """Break a text into lines at spaces. End it with "..." if it does not fit."""
    out: list[str] = []
    line = ""
    for word in text.split():
        while len(word) > columns:
            out += [line] if line else []
            line, word = word[:columns], word[columns:]
            out, line = [*out, line], ""
        if line and len(line) + 1 + len(word) > columns:
            out, line = [*out, line], word
        else:
            line = f"{line} {word}" if line else word
    out += [line] if line else []
    if len(out) > lines:
        out = out[:lines]
        out[-1] = out[-1][: max(0, columns - 3)] + "..."
    return out


def draw(plane: bytearray, stride: int, text: str, left: int, top: int, scale: int, shade: int) -> None:
    """Draw one line of text into a plane of 8-bit samples, cut off at the right edge."""
    for index, character in enumerate(text):
        at = left + index * (WIDTH + 1) * scale
        if at + WIDTH * scale > stride:
            return
        for row, bits in enumerate(glyph(character)):
            for column in range(WIDTH):
                if bits >> (WIDTH - 1 - column) & 1:
                    for line in range(scale):
                        start = (top + row * scale + line) * stride + at + column * scale
                        plane[start : start + scale] = bytes([shade]) * scale
