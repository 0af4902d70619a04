"""Opens files from outside. Runs in the child process.

FFmpeg decides by a file's content what it is. A playlist that is named ``clip.mp4`` would make it open the files and
addresses that the playlist names. So only containers that hold their own media are allowed, and only local files.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import av.error

# PyAV loads it when it opens a file. By then the child's memory is bounded, and its code must not count.
import av.subtitles.stream
from av.stream import Disposition

from airflow_provider_apimart.media.errors import raise_if_out_of_memory

#: FFmpeg's names of the containers that are read.
CONTAINERS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "flv", "ogg", "mp3", "aac", "wav", "flac")

#: Pixels that are wider or higher than this are damage, not a shape.
MAX_PIXEL_RATIO = 20
#: The least that FFmpeg can be told to look at before it knows the streams.
LEAST_PROBE_BYTES = 32
#: Titles that are not UTF-8 are no reason to refuse a video. PyAV 19 never refuses one, and has no such argument.
_ANY_TITLE: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}


def open_media(path: str) -> Any:
    """Open a video or sound file for reading.

    :raises av.error.FFmpegError: if it is none.
    :raises ValueError: if it is in another container, or is a picture, a playlist or a stream's description.
    """
    return _opened(path, {})


def open_packets(path: str) -> Any:
    """Open a video or sound file to copy its packets: nothing of it is decoded, which is most of the time of opening.

    The streams do not tell what only their pictures or their sound could, such as a pixel format.

    :raises av.error.FFmpegError: if it is none, or is one in another container.
    """
    return _opened(path, {"codec_whitelist": "none", "probesize": str(LEAST_PROBE_BYTES)})


def _opened(path: str, more: Mapping[str, str]) -> Any:
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file", **more}
    try:
        return av.open(path, mode="r", options=options, **_ANY_TITLE)
    except av.error.ArgumentError:
        # All that FFmpeg says of a format that it may not read is "invalid argument".
        raise ValueError(f"it is in none of the containers that are read: {', '.join(CONTAINERS)}") from None


def picture_stream(container: Any) -> Any:
    """Return the stream of a file's pictures. A cover picture is none.

    :raises ValueError: if there is none.
    """
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    raise ValueError("it holds no picture that can be decoded")


def sound_stream(container: Any) -> Any | None:
    """Return the stream of a file's sound; ``None`` without one that can be decoded."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def told_seconds(stream: Any, found: Fraction) -> Fraction | None:
    """Return how long a stream says that it is, from its first picture on; ``None`` if it does not say.

    Files in fragments count from the beginning of their clock, and others from their first picture. What is nearer to
    what was found is meant.
    """
    if not stream.duration or not stream.time_base:
        return None
    told = Fraction(stream.duration) * Fraction(stream.time_base)
    start = Fraction(max(0, stream.start_time or 0)) * Fraction(stream.time_base)
    return told - start if abs(told - start - found) < abs(told - found) else told


def frames_of(packet: Any) -> list[Any]:
    """Return the frames of a packet, or none if it is damaged."""
    try:
        return list(packet.decode())
    except av.error.FFmpegError as error:
        raise_if_out_of_memory(error)
        return []


def pixel_ratio(stream: Any) -> Fraction:
    """Return how much wider than high a stream's pixels are: 1 in nearly all videos."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return ratio if ratio and 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO else Fraction(1)


def shown_size(frame: Any, pixels: Fraction) -> tuple[int, int]:
    """Return the width and height as a player shows them: in square pixels, and turned as the file says.

    :param pixels: as from :func:`pixel_ratio`.
    """
    width = max(1, round(frame.width * pixels))
    is_turned = round(getattr(frame, "rotation", 0) or 0) % 180 == 90
    return (frame.height, width) if is_turned else (width, frame.height)
