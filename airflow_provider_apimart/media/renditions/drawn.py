"""What Pillow draws for an output: the logo, the captions, the end card. Each becomes a frame for FFmpeg's filters."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
from PIL import Image, ImageOps, UnidentifiedImageError

from airflow_provider_apimart.media.errors import Refused
from airflow_provider_apimart.media.renditions.captions import Cue
from airflow_provider_apimart.media.renditions.fonts import Font
from airflow_provider_apimart.media.renditions.look import Captions, EndCard, Logo, Shape
from airflow_provider_apimart.media.renditions.text import Pen, draw_text

#: Captions keep to so much of the picture's width, and to its lower part.
CAPTION_WIDTH, CAPTION_HEIGHT = 0.9, 0.4
CARD_WIDTH, CARD_HEIGHT = 0.85, 0.8
MAX_PICTURE_PIXELS = 50_000_000
#: The overlay's clock: fine enough for every file's.
CLOCK = 1_000_000
_SIDES = {"left": 0.0, "top": 0.0, "center": 0.5, "right": 1.0, "bottom": 1.0}


class CaptionStrip:
    """The part of the picture that captions are drawn in. A caption is drawn as its time comes, and one is kept."""

    def __init__(self, shape: Shape, captions: Captions, cues: Sequence[Cue], fonts: tuple[Font, ...]) -> None:
        self._cues = cues
        short = min(shape.width, shape.height)
        self._pen = Pen(fonts, max(8, round(short * captions.size)), captions.colour, captions.outline)
        margin = round(shape.height * captions.margin)
        self.width = _even(shape.width * CAPTION_WIDTH)
        self.height = min(_even(shape.height * CAPTION_HEIGHT), _even(shape.height - margin))
        # Only as large as the largest needs: each pixel of it is blended into each picture. Never narrower than that,
        # or the lines would be broken elsewhere when they are drawn again.
        sizes = [self._draw(cue.text).size for cue in cues]
        self.width = _even(max((width for width, _ in sizes), default=2) + 2)
        self.height = _even(max((height for _, height in sizes), default=2) + 1)
        self.left = (shape.width - self.width) // 4 * 2
        self.top = max(0, (shape.height - margin - self.height) // 2 * 2)
        self._at = 0
        self._shown: Cue | None = None
        self._frame = frame_of(Image.new("RGBA", (self.width, self.height), (0, 0, 0, 0)), "yuva420p")
        self._none = self._frame

    def at(self, seconds: float) -> Any:
        """Return the frame for a time. Times only go forward."""
        while self._at < len(self._cues) and self._cues[self._at].end <= seconds:
            self._at += 1
        cue = self._cues[self._at] if self._at < len(self._cues) else None
        if cue is None or cue.start > seconds:
            return self._none
        if cue is not self._shown:
            text = self._draw(cue.text)
            strip = Image.new("RGBA", (self.width, self.height), (0, 0, 0, 0))
            strip.alpha_composite(text, ((self.width - text.width) // 2, self.height - text.height))
            self._frame, self._shown = frame_of(strip, "yuva420p"), cue
        return self._frame

    def _draw(self, text: str) -> Any:
        return draw_text(text, self._pen, self.width, self.height)


def logo_frame(shape: Shape, logo: Logo) -> Any:
    """Return the logo in its size and opacity."""
    picture = load_picture("logo", logo.path)
    width = _even(shape.width * logo.width)
    height = _even(picture.height * width / picture.width)
    if height > shape.height:
        width, height = _even(width * shape.height / height), _even(shape.height)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    if logo.opacity < 1:
        picture.putalpha(picture.getchannel("A").point(lambda value: round(value * logo.opacity)))
    return frame_of(picture, "yuva420p")


def logo_place(shape: Shape, logo: Logo, frame: Any) -> tuple[int, int]:
    """Return where the logo's left upper corner lies."""
    margin = round(min(shape.width, shape.height) * logo.margin)
    across = next((_SIDES[side] for side in ("left", "right") if side in logo.position), 0.5)
    down = next((_SIDES[side] for side in ("top", "bottom") if side in logo.position), 0.5)
    return (
        _between(margin, shape.width - margin - frame.width, across),
        _between(margin, shape.height - margin - frame.height, down),
    )


def end_card_frame(shape: Shape, card: EndCard, fonts: tuple[Font, ...]) -> Any:
    """Return the still at the end, in the shape of the output."""
    canvas = Image.new("RGBA", (shape.width, shape.height), card.background)
    if card.path is not None:
        picture = load_picture("end_card", card.path)
        scale = min(shape.width / picture.width, shape.height / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        fitted = picture.resize(size, Image.Resampling.LANCZOS)
        canvas.alpha_composite(fitted, ((shape.width - fitted.width) // 2, (shape.height - fitted.height) // 2))
    if card.text:
        pen = Pen(fonts, max(8, round(min(shape.width, shape.height) * card.size)), card.colour)
        text = draw_text(card.text, pen, _even(shape.width * CARD_WIDTH), _even(shape.height * CARD_HEIGHT))
        canvas.alpha_composite(text, ((shape.width - text.width) // 2, (shape.height - text.height) // 2))
    return frame_of(canvas, "yuv420p")


def _even(length: float) -> int:
    return max(2, int(length) // 2 * 2)


def _between(low: int, high: int, share: float) -> int:
    return max(0, round((low + max(low, high)) * 0.5 if share == 0.5 else high if share else low) // 2 * 2)


def load_picture(what: str, path: str) -> Any:
    """Return a picture from outside as RGBA.

    :raises Refused: if it is none, or too large.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            pixels = picture.width * picture.height
            if pixels > MAX_PICTURE_PIXELS:
                raise ValueError(f"{pixels} pixels; at most {MAX_PICTURE_PIXELS}")
            return ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{what}: the picture cannot be read as PNG, JPEG or WebP: {_reason(error)}") from None


def frame_of(picture: Any, pixel_format: str) -> Any:
    """Return Pillow's RGBA picture as a frame in BT.709."""
    frame = av.VideoFrame(picture.width, picture.height, "rgba")
    plane, data, row = frame.planes[0], picture.tobytes(), 4 * picture.width
    if plane.line_size == row:
        plane.update(data)
    else:
        pad = bytes(plane.line_size - row)
        plane.update(b"".join(data[at : at + row] + pad for at in range(0, len(data), row)))
    made = frame.reformat(format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")
    made.pts, made.time_base = 0, Fraction(1, CLOCK)
    return made


def _reason(error: Exception) -> str:
    # Pillow's own text names the file as this process sees it.
    return "it is none of these" if isinstance(error, UnidentifiedImageError) else str(error)
