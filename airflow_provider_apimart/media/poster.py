"""A video's poster, its animated preview, and contact sheets of many. Runs in the child process (:mod:`.child`).

The poster is the sharpest picture that is not black: the one whose edges vary most, seen at a width of 320. So it is
neither a fade, nor a blur, nor a cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av.error
from PIL import Image, ImageDraw, ImageFilter, ImageOps, ImageStat

from airflow_provider_apimart.media.errors import raise_if_out_of_memory
from airflow_provider_apimart.media.opening import frames_of, open_media, picture_stream, pixel_ratio
from airflow_provider_apimart.media.pictures import picture_of, save_picture

#: A picture is black if its brightest tenth is darker than this, of 255.
BLACK_BELOW = 32
LOOK_WIDTH = 320
#: Of a long video, so many pictures are looked at, evenly spread.
MAX_LOOKS = 240
PILLOW_FORMATS = {"jpeg": "JPEG", "webp": "WEBP"}
LAPLACE = ImageFilter.Kernel((3, 3), (-1, -1, -1, -1, 8, -1, -1, -1, -1), scale=1, offset=128)
SHEET_COLOUR, LABEL_COLOUR = (24, 24, 24), (235, 235, 235)
SHEET_GAP, LABEL_HEIGHT = 8, 18


def poster(inputs: list[str], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the poster and the preview of the first input, as far as they are wanted, from one decode.

    :raises av.error.FFmpegError: if the file cannot be opened.
    :raises ValueError: if no picture of it can be decoded.
    """
    previews = [_Preview(output["parameters"]) for output in outputs if output["parameters"]["what"] == "preview"]
    with open_media(inputs[0]) as container:
        stream = picture_stream(container)
        pixels = pixel_ratio(stream)
        choice = _Sharpest(float((stream.duration or 0) * stream.time_base) / MAX_LOOKS)
        for frame in _decoded(container, stream):
            choice.see(frame, pixels)
            for preview in previews:
                preview.see(frame, pixels)
        if choice.frame is None:
            raise ValueError("no picture of it can be decoded")
        written, waiting = {}, iter(previews)
        for output in outputs:
            if output["parameters"]["what"] == "preview":
                written[output["name"]] = next(waiting).write(output["path"])
            else:
                written[output["name"]] = _write_poster(choice.frame, pixels, output)
    return written


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the pictures of a stream; what cannot be decoded is left out."""
    stream.thread_type = "AUTO"
    try:
        for packet in container.demux(stream):
            yield from frames_of(packet)
    except av.error.FFmpegError as error:
        raise_if_out_of_memory(error)
        return


class _Sharpest:
    """Keeps the sharpest picture that is not black; of a black video, the brightest."""

    def __init__(self, step: float) -> None:
        self.frame: Any = None
        self._step = step
        self._best: tuple[bool, float] = (False, -1.0)
        self._next = -math.inf

    def see(self, frame: Any, pixels: Fraction) -> None:
        time = frame.time or 0.0
        if time < self._next and self.frame is not None:
            return
        self._next = time + self._step
        score = self._score(picture_of(frame, pixels, LOOK_WIDTH).convert("L"))
        if score > self._best:
            self._best, self.frame = score, frame

    @staticmethod
    def _score(grey: Any) -> tuple[bool, float]:
        counts = grey.histogram()
        bright = sum(counts[BLACK_BELOW:]) >= 0.1 * sum(counts)
        if not bright:
            return False, ImageStat.Stat(grey).mean[0]
        return True, ImageStat.Stat(grey.filter(LAPLACE)).var[0]


class _Preview:
    """Collects the pictures of an animation: small ones, so that all of them can be held."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._width = int(parameters["width"])
        self._step = 1 / float(parameters["fps"])
        self._most = max(1, round(float(parameters["seconds"]) * float(parameters["fps"])))
        self._quality = int(parameters["quality"])
        self._pictures: list[Any] = []
        self._first: float | None = None

    def see(self, frame: Any, pixels: Fraction) -> None:
        time = frame.time or 0.0
        self._first = time if self._first is None else self._first
        # Half of a usual frame's time earlier, so that rounding does not skip one.
        if len(self._pictures) < self._most and time - self._first >= len(self._pictures) * self._step - 0.01:
            self._pictures.append(picture_of(frame, pixels, self._width))

    def write(self, path: str) -> dict[str, int]:
        first, *others = self._pictures
        # A video may change its shape; an animation cannot.
        fitting = [other if other.size == first.size else other.resize(first.size) for other in others]
        options = {"save_all": True, "append_images": fitting, "duration": round(1000 * self._step), "loop": 0}
        save_picture(first, path, format="WEBP", quality=self._quality, **options)
        return {"width": first.width, "height": first.height}


def _write_poster(frame: Any, pixels: Fraction, output: dict[str, Any]) -> dict[str, int]:
    parameters = output["parameters"]
    picture = picture_of(frame, pixels, parameters["width"])
    save_picture(
        picture, output["path"], format=PILLOW_FORMATS[parameters["format"]], quality=int(parameters["quality"])
    )
    return {"width": picture.width, "height": picture.height}


def contact_sheet(inputs: list[str], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a sheet of pictures (posters, the inputs), each with its label below it.

    The parameters are ``labels`` (one for each input), ``columns``, ``width`` (of each picture), ``format`` and
    ``quality``.
    """
    written = {}
    for output in outputs:
        parameters = output["parameters"]
        columns, width = min(int(parameters["columns"]), len(inputs)), int(parameters["width"])
        cells = [_cell(path, width) for path in inputs]
        height = max(cell.height for cell in cells)
        rows = math.ceil(len(cells) / columns)
        size = columns * (width + SHEET_GAP) + SHEET_GAP, rows * (height + LABEL_HEIGHT + SHEET_GAP) + SHEET_GAP
        sheet = Image.new("RGB", size, SHEET_COLOUR)
        draw = ImageDraw.Draw(sheet)
        for number, (cell, label) in enumerate(zip(cells, parameters["labels"], strict=True)):
            left = SHEET_GAP + number % columns * (width + SHEET_GAP)
            top = SHEET_GAP + number // columns * (height + LABEL_HEIGHT + SHEET_GAP)
            sheet.paste(cell, (left + (width - cell.width) // 2, top + height - cell.height))
            draw.text((left + 2, top + height + 3), label, fill=LABEL_COLOUR)
        save_picture(
            sheet, output["path"], format=PILLOW_FORMATS[parameters["format"]], quality=int(parameters["quality"])
        )
        written[output["name"]] = {"width": sheet.width, "height": sheet.height}
    return written


def _cell(path: str, width: int) -> Any:
    with Image.open(path) as picture:
        return ImageOps.contain(picture.convert("RGB"), (width, width))
