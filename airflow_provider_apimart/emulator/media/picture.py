"""Draws what a clip shows: a landscape that the camera passes, and a plate with what was asked for.

The landscape is wider than the picture, and FFmpeg's crop filter moves over it: the whole picture moves, and a frame
costs hardly more than a still.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import av.filter
from av.video.reformatter import Colorspace
from PIL import Image, ImageDraw, ImageOps

from airflow_provider_apimart.media.renditions.fonts import BUILT_IN, Font
from airflow_provider_apimart.media.renditions.installed import installed_fonts
from airflow_provider_apimart.media.renditions.text import Pen, draw_text

#: The landscape is drawn small and enlarged, as if out of focus.
BLUR = 4
#: A clip's camera passes so many pictures' widths in a second.
SPEED = 1 / 20
PLATE, TEXT, DIM = (16, 18, 24), "#ffffff", "#9aa4b5"
#: A prompt may be longer than a picture can show.
MOST_CHARACTERS = 320


class Camera:
    """Passes a landscape, with a plate over it.

    :param scene: the frame that :func:`landscape` returns.
    :param plate: the frame that :func:`plate` returns.
    :param frames: how many pictures there will be at most.
    :param still: so many of them, from the first, do not move.
    """

    def __init__(self, scene: Any, plate: Any, size: tuple[int, int], *, frames: int, fps: int, still: int) -> None:
        step = (scene.width - size[0]) // frames // 2 * 2
        margin = _margin(*size)
        graph: Any = av.filter.Graph()
        self._scene, self._base = scene, Fraction(1, fps)
        self._source = _buffer(graph, scene, fps)
        over = _buffer(graph, plate, fps)
        crop = graph.add("crop", w=str(size[0]), h=str(size[1]), x=f"{step}*max(0,n-{still})", y="0")
        self._source.link_to(crop)
        overlay = graph.add("overlay", x=str(margin), y=str(margin), format="yuv420")
        crop.link_to(overlay, 0, 0)
        over.link_to(overlay, 0, 1)
        self._graph, self._sink = graph, graph.add("buffersink")
        overlay.link_to(self._sink)
        graph.configure()
        # The overlay repeats its last picture.
        plate.pts, plate.time_base = 0, self._base
        over.push(plate)
        over.push(None)

    def take(self, number: int) -> Any:
        """Return a picture; they are taken in order, from 0."""
        self._scene.pts, self._scene.time_base = number, self._base
        self._source.push(self._scene)
        return self._sink.pull()


def _buffer(graph: Any, frame: Any, fps: int) -> Any:
    size = f"{frame.width}x{frame.height}"
    return graph.add(
        "buffer",
        video_size=size,
        pix_fmt="yuv420p",
        time_base=f"1/{fps}",
        pixel_aspect="1/1",
        colorspace="1",
        range="1",
    )


def _margin(width: int, height: int) -> int:
    return min(width, height) // 24 // 2 * 2


def landscape(seed: str, size: tuple[int, int], *, frames: int, fps: int) -> Any:
    """Return a frame with a sky, a sun and hills, in colours that depend on the seed, as wide as the camera goes."""
    # Even, because colours have half the resolution.
    width, height = size[0] + frames * max(2, round(size[0] * SPEED / fps / 2) * 2), size[1]
    chance = hashlib.sha256(seed.encode()).digest()
    wide, high = max(2, width // BLUR), max(2, height // BLUR)
    sky, ground = _colour(chance[0], 200), _colour(chance[0] + 90 + chance[1] % 80, 90)
    picture = ImageOps.colorize(Image.linear_gradient("L").resize((wide, high)), sky, _mixed(sky, ground))
    draw = ImageDraw.Draw(picture)
    radius = high // 8
    for number in range(3):
        x, y = wide * (number * 85 + chance[2 + number] % 85) // 255, high // 5 + high * chance[5 + number] // 1024
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_mixed(sky, (255, 255, 235)))
    for number, depth in enumerate((0.6, 0.72, 0.86)):
        colour = tuple(value * (4 - number) // 4 for value in ground)
        pace = 2 * math.pi * (2 + chance[8 + number] % 3) / high / (2 - number / 2)
        hills = [(x, high * (depth + 0.08 * math.sin(x * pace + chance[11 + number]))) for x in range(0, wide + 4, 4)]
        draw.polygon([(0, high), *hills, (wide, high)], fill=colour)
    return _frame(picture.resize((width, height), Image.Resampling.BILINEAR))


def plate(lines: Sequence[str], prompt: str, width: int, height: int) -> Any:
    """Return a frame with the lines, small, and under them the prompt, in any script that there are fonts for here."""
    short = min(width, height)
    margin = _margin(width, height)
    room = width - 4 * margin
    fonts = _fonts()
    small = [draw_text(line, Pen(fonts, max(10, short // 36), DIM), room, short // 10) for line in lines]
    shown = " ".join(prompt.split())
    shown = shown if len(shown) <= MOST_CHARACTERS else shown[:MOST_CHARACTERS] + "..."
    large = draw_text(shown, Pen(fonts, max(12, short // 20), TEXT), room, height // 2)
    parts = [*small, large]
    size = max(part.width for part in parts) + 2 * margin, sum(part.height for part in parts) + 2 * margin
    picture = Image.new("RGB", tuple(side // 2 * 2 for side in size), PLATE)
    top = margin
    for part in parts:
        picture.paste(part, (margin, top), part)
        top += part.height
    return _frame(picture)


@cache
def _fonts() -> tuple[Font, ...]:
    return (*(Font(path, Path(path).name) for path in installed_fonts()), BUILT_IN)


def black(width: int, height: int) -> Any:
    """Return a black frame."""
    return _frame(Image.new("RGB", (width, height)))


def _frame(picture: Any) -> Any:
    # PyAV's method has no types.
    made: Any = av.VideoFrame
    frame = made.from_image(picture)
    return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)


def _colour(hue: int, value: int) -> tuple[int, int, int]:
    red, green, blue = Image.new("HSV", (1, 1), (hue % 256, 150, value)).convert("RGB").tobytes()
    return red, green, blue


def _mixed(one: Sequence[int], other: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = ((first + second) // 2 for first, second in zip(one, other, strict=True))
    return red, green, blue
