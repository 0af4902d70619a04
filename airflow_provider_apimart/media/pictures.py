"""Turns a decoded frame into the picture that a player shows: its colours, upright, in square pixels.

Runs in the child process (:mod:`.child`).
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

from av.video.reformatter import Colorspace

from airflow_provider_apimart.media.opening import shown_size

#: FFmpeg's number of a colour space that the file does not tell.
UNSPECIFIED = 2
#: Players take an HD video that does not tell its colour space for BT.709, and a smaller one for BT.601.
HD_LINES = 720


def picture_of(frame: Any, pixels: Fraction, width: int | None = None) -> Any:
    """Return a frame as a Pillow image in RGB.

    :param pixels: the shape of its stream's pixels, as from :func:`.opening.pixel_ratio`.
    :param width: of the picture if it is to be smaller; it is never made larger.
    """
    shown_width, shown_height = shown_size(frame, pixels)
    scale = min(1.0, width / shown_width) if width else 1.0
    size = max(1, round(shown_width * scale)), max(1, round(shown_height * scale))
    turn = round(getattr(frame, "rotation", 0) or 0) % 360
    lying = size[::-1] if turn % 180 == 90 else size
    picture = frame.reformat(
        width=lying[0], height=lying[1], format="rgb24", src_colorspace=_colorspace(frame)
    ).to_image()
    return picture.rotate(turn, expand=True) if turn else picture


def save_picture(picture: Any, path: str, **options: Any) -> None:
    """Write a Pillow image.

    :param options: of Pillow's ``save``; ``format`` at least.
    :raises OSError: if it does not find room. Pillow itself would not notice that a JPEG or PNG was written in part.
    """
    data = io.BytesIO()
    picture.save(data, **options)
    with open(path, "wb") as file:
        file.write(data.getbuffer())


def _colorspace(frame: Any) -> Any:
    if int(frame.colorspace) == UNSPECIFIED:
        is_hd = min(frame.width, frame.height) >= HD_LINES
        return Colorspace.ITU709 if is_hd else Colorspace.ITU601
    return None
