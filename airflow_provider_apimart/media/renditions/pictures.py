"""Turns a video's pictures into those of one output: its shape, and what lies over them. All by FFmpeg's filters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
import av.filter

from airflow_provider_apimart.media.renditions.drawn import CLOCK, CaptionStrip, logo_frame, logo_place
from airflow_provider_apimart.media.renditions.look import Logo, Shape
from airflow_provider_apimart.media.renditions.source import UNSPECIFIED, Source

#: Bars are blurred at a quarter of the size in each direction: it looks the same and costs a sixteenth.
BLUR_SCALE = 4
BLUR_SIGMA = 8
BT709 = {"out_color_matrix": "bt709", "out_range": "tv"}


class Pictures:
    """The filter graph of one output.

    :param strip: the captions that are drawn into the picture.
    """

    def __init__(
        self,
        source: Source,
        shape: Shape,
        frame_rate: Fraction,
        logo: Logo | None = None,
        strip: CaptionStrip | None = None,
    ) -> None:
        self._source = source
        self._strip = strip
        graph = self._graph = av.filter.Graph()
        self._main = _buffer(graph, source)
        last = _turned(graph, self._main, source.turned)
        last = _then(graph, last, "fps", fps=str(frame_rate), start_time="0")
        last = _fitted(graph, last, source, shape)
        still = logo_frame(shape, logo) if logo is not None else None
        mark: Any = None
        self._over: Any = None
        if logo is not None and still is not None:
            mark = _still_buffer(graph, still.width, still.height)
            last = _over(graph, last, mark, *logo_place(shape, logo, still))
        if self._strip is not None:
            self._over = _still_buffer(graph, self._strip.width, self._strip.height)
            last = _over(graph, last, self._over, self._strip.left, self._strip.top)
        last = _then(graph, last, "format", pix_fmts="yuv420p")
        self._sink = graph.add("buffersink")
        last.link_to(self._sink)
        graph.configure()
        if mark is not None:
            # The overlay repeats its last picture.
            mark.push(still)
            mark.push(None)

    def through(self, frame: Any) -> Iterator[Any]:
        """Push a picture (``None``: the end), and yield those that come out, numbered from 0."""
        source = self._source
        if frame is not None and (frame.width, frame.height, frame.format.name) != (
            source.width,
            source.height,
            source.pixel_format,
        ):
            # Odd files change their size midway.
            pts, base = frame.pts, frame.time_base
            frame = frame.reformat(source.width, source.height, source.pixel_format)
            frame.pts, frame.time_base = pts, base
        if self._strip is not None:
            over = None if frame is None else self._strip.at(float(frame.time))
            if over is not None:
                over.pts, over.time_base = round(frame.time * CLOCK), Fraction(1, CLOCK)
            self._over.push(over)
        self._main.push(frame)
        while True:
            try:
                made: Any = self._sink.pull()
            except (BlockingIOError, EOFError, av.error.BlockingIOError, av.error.EOFError):
                return
            made.pict_type = 0
            yield made


def _buffer(graph: Any, source: Source) -> Any:
    options = {}
    if source.colorspace != UNSPECIFIED:
        options["colorspace"] = str(source.colorspace)
    if source.color_range:
        options["range"] = str(source.color_range)
    return graph.add(
        "buffer",
        video_size=f"{source.width}x{source.height}",
        pix_fmt=source.pixel_format,
        time_base=str(source.time_base),
        pixel_aspect="1/1",
        **options,
    )


def _then(graph: Any, last: Any, name: str, *, output: int = 0, **options: str) -> Any:
    following = graph.add(name, **options)
    last.link_to(following, output)
    return following


def _turned(graph: Any, last: Any, quarters: int) -> Any:
    if quarters == 2:
        return _then(graph, _then(graph, last, "hflip"), "vflip")
    return _then(graph, last, "transpose", dir="cclock" if quarters == 1 else "clock") if quarters else last


def _fitted(graph: Any, last: Any, source: Source, shape: Shape) -> Any:
    wide, high = source.shown
    inner = _sized(wide, high, shape, math.ceil if shape.fit == "crop" else math.floor)
    if shape.fit == "crop" or inner == (shape.width, shape.height):
        last = _scaled(graph, last, source, *inner)
        if inner != (shape.width, shape.height):
            last = _then(graph, last, "crop", w=str(shape.width), h=str(shape.height))
    elif shape.fit == "blur":
        last = _blurred(graph, last, source, shape, inner)
    else:
        left, top = (shape.width - inner[0]) // 4 * 2, (shape.height - inner[1]) // 4 * 2
        last = _scaled(graph, last, source, *inner)
        colour = "0x" + shape.background[1:]
        last = _then(graph, last, "pad", w=str(shape.width), h=str(shape.height), x=str(left), y=str(top), color=colour)
    return _then(graph, last, "setsar", sar="1")


def _sized(wide: Fraction, high: Fraction, shape: Shape, rounded: Any) -> tuple[int, int]:
    """Return the even size of the video within (floor) or around (ceil) the shape."""
    ratios = shape.width / wide, shape.height / high
    ratio = max(ratios) if rounded is math.ceil else min(ratios)
    width, height = (
        max(2, rounded(side * ratio / 2 - Fraction(rounded is math.floor, 10**6)) * 2) for side in (wide, high)
    )
    # A shape that differs by a line of rounding is the same shape.
    width = shape.width if abs(width - shape.width) <= 2 else width
    height = shape.height if abs(height - shape.height) <= 2 else height
    return width, height


def _scaled(graph: Any, last: Any, source: Source, width: int, height: int, *, output: int = 0) -> Any:
    options = dict(BT709)
    if source.colorspace == UNSPECIFIED:
        # Players take an untagged picture by its size.
        options["in_color_matrix"] = "bt709" if min(source.width, source.height) >= 720 else "bt601"
    last = _then(graph, last, "scale", output=output, w=str(width), h=str(height), **options)
    return _then(graph, last, "format", pix_fmts="yuv420p")


def _blurred(graph: Any, last: Any, source: Source, shape: Shape, inner: tuple[int, int]) -> Any:
    small = Shape(
        name="bars",
        width=max(64, shape.width // BLUR_SCALE // 2 * 2),
        height=max(64, shape.height // BLUR_SCALE // 2 * 2),
    )
    around = _sized(*source.shown, small, math.ceil)
    split = _then(graph, last, "split")
    back = _scaled(graph, split, source, *around)
    back = _then(graph, back, "crop", w=str(small.width), h=str(small.height))
    back = _then(graph, back, "gblur", sigma=str(BLUR_SIGMA))
    back = _then(graph, back, "scale", w=str(shape.width), h=str(shape.height), flags="bilinear")
    back = _then(graph, back, "setsar", sar="1")
    front = _scaled(graph, split, source, *inner, output=1)
    front = _then(graph, front, "setsar", sar="1")
    return _over(graph, back, front, (shape.width - inner[0]) // 2, (shape.height - inner[1]) // 2)


def _over(graph: Any, back: Any, front: Any, left: int, top: int) -> Any:
    overlay = graph.add("overlay", x=str(left), y=str(top), format="yuv420")
    back.link_to(overlay, 0, 0)
    front.link_to(overlay, 0, 1)
    return overlay


def _still_buffer(graph: Any, width: int, height: int) -> Any:
    return graph.add(
        "buffer",
        video_size=f"{width}x{height}",
        pix_fmt="yuva420p",
        time_base=f"1/{CLOCK}",
        pixel_aspect="1/1",
        colorspace="1",
        range="1",
    )
