"""Makes the videos: real MP4s with the requested duration, size and sound, and with the prompt in the picture.

A video is made once, when it is first requested, off the event loop, and stored under a name derived from all its
inputs. A file appears under that name only when it is complete.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import tempfile
from array import array
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from airflow_provider_apimart.emulator.media import font

FPS = 24
SAMPLE_RATE = 48_000
AUDIO_FRAME = 1024
BACKGROUND, TEXT, DIM, BAR = 48, 235, 160, 210


@dataclass(frozen=True)
class VideoSpec:
    """All inputs of a video."""

    width: int
    height: int
    seconds: int
    audio: bool
    prompt: str
    lines: tuple[str, ...]

    def digest(self) -> str:
        """Return the name under which the video is kept."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class VideoFile:
    """A finished video in memory."""

    data: bytes
    etag: str


def _codec() -> tuple[str, dict[str, str]]:
    if "libx264" in av.codecs_available:
        return "libx264", {"preset": "ultrafast", "crf": "30", "g": str(10 * FPS)}
    return "mpeg4", {"qscale": "8"}


def _picture(spec: VideoSpec) -> bytearray:
    """Return the brightness plane of the picture's static part."""
    luma = bytearray([BACKGROUND]) * (spec.width * spec.height)
    short = min(spec.width, spec.height)
    scale = max(2, short // 180)
    margin, step = short // 24, scale * (font.HEIGHT + 3)
    columns = (spec.width - 2 * margin) // (scale * (font.WIDTH + 1))
    top = margin
    for line in spec.lines:
        font.draw(luma, spec.width, line[:columns], margin, top, scale, DIM)
        top += step
    top += step
    room = max(1, (spec.height * 8 // 10 - top) // step)
    for line in font.wrap(spec.prompt, columns, room):
        font.draw(luma, spec.width, line, margin, top, scale, TEXT)
        top += step
    return luma


def _fill(plane: Any, data: bytes | bytearray, width: int) -> None:
    """Copy tightly packed samples into a plane whose rows may be padded."""
    if plane.line_size == width:
        plane.update(data)
        return
    pad = bytes(plane.line_size - width)
    plane.update(b"".join(bytes(data[at : at + width]) + pad for at in range(0, len(data), width)))


def _add_video(container: Any, stream: Any, spec: VideoSpec) -> None:
    luma = _picture(spec)
    colour = hashlib.sha256(" ".join(spec.lines).encode()).digest()
    chroma = [bytes([88 + value % 80]) * (spec.width // 2 * (spec.height // 2)) for value in colour[:2]]
    frames = spec.seconds * FPS
    top, high = spec.height * 17 // 20, spec.height // 20
    wide = spec.width // 16
    for number in range(frames):
        left = (spec.width - wide) * number // max(1, frames - 1)
        row = bytearray([DIM // 2]) * spec.width
        row[left : left + wide] = bytes([BAR]) * wide
        luma[top * spec.width : (top + high) * spec.width] = row * high
        frame = av.VideoFrame(spec.width, spec.height, "yuv420p")
        _fill(frame.planes[0], luma, spec.width)
        for plane, data in zip(frame.planes[1:], chroma, strict=True):
            _fill(plane, data, spec.width // 2)
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _add_audio(container: Any, stream: Any, spec: VideoSpec) -> None:
    # A frame holds exactly ten waves, so frames follow each other without a click.
    wave = array("f", (0.1 * math.sin(2 * math.pi * 10 * n / AUDIO_FRAME) for n in range(AUDIO_FRAME))).tobytes()
    for number in range(spec.seconds * SAMPLE_RATE // AUDIO_FRAME):
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=AUDIO_FRAME)
        for plane in frame.planes:
            plane.update(wave)
        frame.sample_rate, frame.pts = SAMPLE_RATE, number * AUDIO_FRAME
        frame.time_base = Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def make_video(spec: VideoSpec, path: Path) -> None:
    """Write the MP4 of a spec to ``path``, all at once."""
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        with av.open(part, "w", format="mp4", options={"movflags": "faststart"}) as container:
            name, options = _codec()
            video: Any = container.add_stream(name, rate=FPS, options=options)
            video.width, video.height, video.pix_fmt = spec.width, spec.height, "yuv420p"
            audio: Any = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo") if spec.audio else None
            _add_video(container, video, spec)
            if audio is not None:
                _add_audio(container, audio, spec)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


class MediaShelf:
    """Makes each video once and hands it out.

    :param folder: where the videos are kept; ``None`` uses a temporary folder that is removed with the shelf.
    """

    def __init__(self, folder: Path | None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="apimart-emulator-") if folder is None else None
        self.folder = folder if folder is not None else Path(self._temporary.name if self._temporary else ".")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._locks: dict[str, asyncio.Lock] = {}
        # Two at a time, because the tests that wait for these videos share the cores.
        self._slots = asyncio.Semaphore(2)

    def close(self) -> None:
        """Remove the temporary folder, if there is one."""
        if self._temporary is not None:
            self._temporary.cleanup()

    async def get(self, spec: VideoSpec) -> VideoFile:
        """Return a video. Make it first if it does not exist yet."""
        name = spec.digest()
        path = self.folder / f"{name}.mp4"
        async with self._locks.setdefault(name, asyncio.Lock()):
            if not await asyncio.to_thread(path.exists):
                async with self._slots:
                    await asyncio.to_thread(make_video, spec, path)
        data = await asyncio.to_thread(path.read_bytes)
        return VideoFile(data, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
