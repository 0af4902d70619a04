"""Clips that flash and click at the same moment, and where they do so in what was made of them."""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

CLICK_SECONDS = 0.1
LOUD = 0.35


def marked_clip(
    path: Path,
    *,
    frames: int = 96,
    flash: int = 24,
    fps: Fraction = Fraction(24),
    size: tuple[int, int] = (160, 90),
    rate: int = 48_000,
    layout: str = "stereo",
    sound: bool = True,
    sound_ends_early: float = 0.0,
    grey: int = 60,
) -> Path:
    """Write a clip of so many frames that is white from frame ``flash`` on for 3 frames, and clicks with it."""
    with av.open(str(path), "w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "bf": "2"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio: Any = None
        if sound:
            audio = container.add_stream("aac", rate=rate)
            audio.layout = layout
        for number in range(frames):
            container.mux(video.encode(_picture(number, fps, size, 235 if 0 <= number - flash < 3 else grey)))
        container.mux(video.encode(None))
        if sound:
            total = round(frames / fps * rate) - round(sound_ends_early * rate)
            for start in range(0, total, 1024):
                click = round(flash / fps * rate)
                container.mux(audio.encode(_sound(start, min(1024, total - start), rate, layout, click)))
            container.mux(audio.encode(None))
    return path


def _picture(number: int, fps: Fraction, size: tuple[int, int], luma: int) -> Any:
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(frame.planes, (luma, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.pts, frame.time_base = number, 1 / fps
    return frame


def _sound(start: int, samples: int, rate: int, layout: str, click: int) -> Any:
    frame = av.AudioFrame(format="fltp", layout=layout, samples=samples)
    wave = [
        0.8 * math.sin(2 * math.pi * 1000 * (at - click) / rate) if 0 <= at - click < CLICK_SECONDS * rate else 0.0
        for at in range(start, start + samples)
    ]
    data = array("f", wave).tobytes()
    for plane in frame.planes:
        plane.update(data + bytes(plane.buffer_size - len(data)))
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame


def flashes(path: Path) -> list[Fraction]:
    """Return when the picture turns white."""
    found, white = [], False
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            middle = bytes(plane)[plane.line_size * (frame.height // 2) + frame.width // 2]
            if middle > 180 and not white:
                found.append(frame.pts * Fraction(frame.time_base))
            white = middle > 180
    return found


def clicks(path: Path, *, by_time: bool) -> list[float]:
    """Return when the sound begins to click.

    :param by_time: as players hear it that keep the times in the file; else as if all samples came back to back.
    """
    found: list[float] = []
    quiet, back_to_back = 10**9, 0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            rate = frame.sample_rate
            start = frame.pts * frame.time_base * rate if by_time else back_to_back
            back_to_back += frame.samples
            samples = array("f", bytes(frame.planes[0])[: frame.samples * 4])
            for number, sample in enumerate(samples):
                if abs(sample) > LOUD:
                    if quiet > rate // 5:
                        found.append(float(start + number) / rate)
                    quiet = 0
                else:
                    quiet += 1
    return found


def decoded(path: Path) -> tuple[int, Fraction]:
    """Return how many pictures there are, and when the last one ends."""
    with av.open(str(path)) as container:
        frames = [(frame.pts, frame.duration, frame.time_base) for frame in container.decode(video=0)]
    times = [pts for pts, _, _ in frames]
    assert times == sorted(set(times))
    pts, duration, time_base = frames[-1]
    return len(frames), (pts + duration) * Fraction(time_base)


def payloads(path: Path, kind: str) -> list[bytes]:
    """Return the packets of a stream, without their times."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.dts is not None]
