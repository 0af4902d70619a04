"""Makes small MP4s with known defects, for the tests."""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av

Picture = Literal["moving", "still", "black"]
Sound = Literal["tone", "silent", "clipped"]
RATE = 48_000
SAMPLES = 1024


def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 24,
    size: tuple[int, int] = (320, 180),
    picture: Picture = "moving",
    black_from: float | None = None,
    sound: Sound | None = "tone",
    faststart: bool = True,
    container_format: str = "mp4",
) -> Path:
    """Write an H.264/AAC clip, and return its path.

    :param black_from: the second from which on the picture is black.
    """
    options = {"movflags": "+faststart"} if faststart and container_format == "mp4" else {}
    with av.open(str(path), "w", format=container_format, options=options) as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=RATE)
            audio.layout = "stereo"
        for number in range(int(seconds * fps)):
            dark = picture == "black" or (black_from is not None and number >= black_from * fps)
            container.mux(video.encode(_picture(number, fps, size, 0 if picture == "still" else number, dark)))
        container.mux(video.encode(None))
        if audio is not None:
            for number in range(int(seconds * RATE / SAMPLES)):
                container.mux(
                    audio.encode(_sound(number, {"tone": 0.1, "silent": 0.0, "clipped": 3.0}[sound or "tone"]))
                )
            container.mux(audio.encode(None))
    return path


def _picture(number: int, fps: int, size: tuple[int, int], shift: int, dark: bool) -> Any:
    frame = av.VideoFrame(*size, "yuv420p")
    line = frame.planes[0].line_size
    row = bytes([16]) * line if dark else bytes(40 + (x * 3 + shift * 7) % 180 for x in range(line))
    frame.planes[0].update(row * size[1])
    for plane in frame.planes[1:]:
        plane.update(bytes([128]) * plane.buffer_size)
    frame.pts, frame.time_base = number, Fraction(1, fps)
    return frame


def _sound(number: int, loudness: float) -> Any:
    frame = av.AudioFrame(format="fltp", layout="stereo", samples=SAMPLES)
    start = number * SAMPLES
    wave = (loudness * math.sin(2 * math.pi * 440 * (start + n) / RATE) for n in range(SAMPLES))
    samples = array("f", (max(-1.0, min(1.0, value)) for value in wave)).tobytes()
    for plane in frame.planes:
        plane.update(samples)
    frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
    return frame
