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
from functools import cache
from pathlib import Path
from typing import Any

import av

from airflow_provider_apimart.emulator.media import picture

FPS = 24
SAMPLE_RATE = 48_000
AUDIO_FRAME = 1024
LOUDNESS = 0.2


@dataclass(frozen=True)
class VideoSpec:
    """All inputs of a video.

    :param defect: what is wrong with it: ``black``, ``frozen``, ``silent`` or ``corrupt``.
    :param defect_seconds: how long, from its start; ``None`` for all of it.
    """

    width: int
    height: int
    seconds: float
    audio: bool
    prompt: str
    lines: tuple[str, ...]
    defect: str | None = None
    defect_seconds: float | None = None

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
        # A constant quantizer: with a constant quality, x264 refines a still picture now and then, which is a motion.
        return "libx264", {"preset": "ultrafast", "qp": "30", "g": str(10 * FPS)}
    return "mpeg4", {"qscale": "8"}


def _frames(spec: VideoSpec, defect: str) -> int:
    """Return how many pictures from the start have a defect."""
    whole = round(spec.seconds * FPS)
    if spec.defect != defect:
        return 0
    return whole if spec.defect_seconds is None else min(whole, round(spec.defect_seconds * FPS))


def _add_video(container: Any, stream: Any, spec: VideoSpec) -> None:
    size, frames = (spec.width, spec.height), max(1, round(spec.seconds * FPS))
    plate = picture.plate(spec.lines, spec.prompt, *size)
    scene = picture.landscape("\n".join((*spec.lines, spec.prompt)), size, frames=frames, fps=FPS)
    camera = picture.Camera(scene, plate, size, frames=frames, fps=FPS, still=_frames(spec, "frozen"))
    dark, black = _frames(spec, "black"), picture.black(*size)
    for number in range(frames):
        frame = camera.take(number)
        if number < dark:
            frame = black
        frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, FPS), 0
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


#: Waves in a frame of sound: the notes of a chord. Whole waves follow each other without a click.
NOTES = (8, 10, 12, 16, 12, 10)
#: Frames of sound to a note: about a quarter of a second.
NOTE_FRAMES = 12


@cache
def _note(waves: int, amplitude: float) -> bytes:
    turn = 2 * math.pi * waves / AUDIO_FRAME
    return array("f", (amplitude * math.sin(turn * n) for n in range(AUDIO_FRAME))).tobytes()


def _add_audio(container: Any, stream: Any, spec: VideoSpec) -> None:
    silent = _frames(spec, "silent") / FPS
    first = hashlib.sha256(spec.prompt.encode()).digest()[0]
    for number in range(round(spec.seconds * SAMPLE_RATE) // AUDIO_FRAME):
        waves = NOTES[(first + number // NOTE_FRAMES) % len(NOTES)]
        wave = _note(waves, 0.0 if number * AUDIO_FRAME < silent * SAMPLE_RATE else LOUDNESS)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=AUDIO_FRAME)
        for plane in frame.planes:
            plane.update(wave)
        frame.sample_rate, frame.pts = SAMPLE_RATE, number * AUDIO_FRAME
        frame.time_base = Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _corrupt(path: Path) -> None:
    """Overwrite parts of the pictures and sounds. The container stays whole, so only a decoder sees it."""
    with path.open("r+b") as file:
        data = file.read()
        start = data.rindex(b"mdat") + 4
        room = len(data) - start
        for share in (0.3, 0.5, 0.7):
            file.seek(start + int(room * share))
            file.write(b"\xff" * max(16, room // 50))


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
        if spec.defect == "corrupt":
            _corrupt(Path(part))
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
