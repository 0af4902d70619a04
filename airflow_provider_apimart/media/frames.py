"""The first and the last frame of a video, as pictures. Runs in the child process (:mod:`.child`).

A shot that continues another begins with its last frame, so that has to be the very last one that a player shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av.error

from airflow_provider_apimart.media.opening import frames_of, open_media, picture_stream, pixel_ratio
from airflow_provider_apimart.media.pictures import picture_of, save_picture

JPEG_QUALITY = 95


def frames(inputs: list[str], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the frames of the first input that are wanted.

    :raises av.error.FFmpegError: if the file cannot be opened.
    :raises ValueError: if no picture of it can be decoded.
    """
    found: dict[str, Any] = {}
    for which in sorted({output["parameters"]["frame"] for output in outputs}):
        picture = _first(inputs[0]) if which == "first" else _last(inputs[0])
        for output in outputs:
            if output["parameters"]["frame"] == which:
                found[output["name"]] = _write(picture, output["path"], output["parameters"]["format"])
    return found


def _write(picture: Any, path: str, picture_format: str) -> dict[str, int]:
    if picture_format == "jpeg":
        save_picture(picture, path, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        save_picture(picture, path, format="PNG")
    return {"width": picture.width, "height": picture.height}


def _first(path: str) -> Any:
    for frame, stream in _decoded(path, None):
        return picture_of(frame, pixel_ratio(stream))
    raise ValueError("no picture of it can be decoded")


def _last(path: str) -> Any:
    """Return the last frame: decode from the last keyframe, or from the start where that leads to nothing."""
    for start in (_almost_the_end(path), None):
        last: tuple[Any, Fraction] | None = None
        for frame, stream in _decoded(path, start):
            if last is None or frame.pts is None or last[0].pts is None or frame.pts >= last[0].pts:
                last = frame, pixel_ratio(stream)
        if last is not None:
            return picture_of(*last)
    raise ValueError("no picture of it can be decoded")


def _almost_the_end(path: str) -> int | None:
    """Return a time, in the stream's time base, to seek to; ``None`` if it is not known."""
    with open_media(path) as container:
        stream = picture_stream(container)
        return None if stream.duration is None else int((stream.start_time or 0) + stream.duration - 1)


def _decoded(path: str, start: int | None) -> Iterator[tuple[Any, Any]]:
    """Yield the pictures, each with its stream, from the keyframe before ``start`` on; leave out damaged ones."""
    with open_media(path) as container:
        stream = picture_stream(container)
        if start is not None:
            try:
                container.seek(start, stream=stream, backward=True)
            except av.error.FFmpegError:
                return
        for packet in container.demux(stream):
            yield from ((frame, stream) for frame in frames_of(packet))
