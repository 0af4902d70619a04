"""Makes renditions in this process, and reads what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from airflow_provider_apimart.media import workshop
from airflow_provider_apimart.media.renditions.look import wanted
from airflow_provider_apimart.media.renditions.order import order_of
from airflow_provider_apimart.media.renditions.render import render
from tests.storage.places import local

SMALL: dict[str, Any] = {"width": 90, "height": 160, "effort": "ultrafast", "crf": 5}


def make(source: Path, *shapes: Any, fonts: tuple[str, ...] = (), **look: Any) -> dict[str, Path]:
    """Make renditions of ``source`` beside it, and return their paths by name."""
    asked, problems = wanted(list(shapes) or [{"name": "small", **SMALL}], **look)
    assert asked is not None, [str(problem) for problem in problems]
    order = order_of(
        workshop.Source(local(str(source))), asked, lambda _, path: workshop.Source(local(path)), lambda: fonts
    )
    paths = {each.name: source.with_name(f"made-{each.name}.mp4") for each in order.wanted}
    outputs = [
        {"name": each.name, "path": str(paths[each.name]), "parameters": each.parameters} for each in order.wanted
    ]
    render([each.place.path for each in order.inputs], outputs, **order.private)
    return paths


def pictures(path: Path) -> list[Any]:
    """Return all pictures as Pillow's."""
    with av.open(str(path)) as container:
        return [_image(frame) for frame in container.decode(video=0)]


def _image(frame: Any) -> Any:
    from PIL import Image

    frame = frame.reformat(format="rgb24", src_colorspace="ITU709")
    plane = frame.planes[0]
    row = 3 * frame.width
    data = bytes(plane)
    packed = b"".join(data[at * plane.line_size : at * plane.line_size + row] for at in range(frame.height))
    return Image.frombytes("RGB", (frame.width, frame.height), packed)


def near(found: Any, wanted_: tuple[int, int, int], most: int = 16) -> bool:
    """Return whether two colours are the same but for the encoder's losses."""
    return all(abs(one - other) <= most for one, other in zip(found, wanted_, strict=True))


def make_colour(
    path: Path,
    *,
    colour: tuple[int, int, int] = (200, 40, 40),
    size: tuple[int, int] = (160, 90),
    frames: int = 24,
    fps: int = 24,
    sound: float | None = None,
    **stream_options: Any,
) -> Path:
    """Write a clip of one colour in BT.709, with a tone of an amplitude if ``sound`` is given."""
    from fractions import Fraction

    from PIL import Image

    from airflow_provider_apimart.media.renditions.drawn import frame_of
    from tests.media import clips

    still = frame_of(Image.new("RGBA", size, (*colour, 255)), "yuv420p")
    with av.open(str(path), "w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=fps, options={"crf": "5", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        for name, value in stream_options.items():
            setattr(context, name, value)
        audio: Any = container.add_stream("aac", rate=clips.RATE, layout="stereo") if sound is not None else None
        for number in range(frames):
            still.pts, still.time_base = number, Fraction(1, fps)
            container.mux(video.encode(still))
        container.mux(video.encode(None))
        if audio is not None:
            for number in range(frames * clips.RATE // fps // clips.SAMPLES):
                container.mux(audio.encode(clips._sound(number, sound or 0.0)))
            container.mux(audio.encode(None))
    return path


def make_font(path: Path, characters: str) -> str:
    """Write a font in which each of ``characters`` is a filled square, and return its path."""
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    square, empty = TTGlyphPen(None), TTGlyphPen(None)
    for at, point in enumerate(((50, 0), (50, 700), (750, 700), (750, 0))):
        square.moveTo(point) if at == 0 else square.lineTo(point)
    square.closePath()
    glyph, none = square.glyph(), empty.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): name for character, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf({name: none if name in (".notdef", "u0020") else glyph for name in names})
    builder.setupHorizontalMetrics({name: (800, 0) for name in names})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(str(path))
    return str(path)
