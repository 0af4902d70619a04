"""Real MP4s for the tests, made once."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path

import av

WIDTH, HEIGHT, FPS, RATE, BLOCK = 64, 48, 24, 48000, 1024


@functools.cache
def mp4(seconds: int = 1, *, audio: bool = True, movflags: str = "", noise: bool = False) -> bytes:
    """Encode ``seconds`` of 64x48 video at 24 fps. With ``noise`` it is some 100 KB instead of a few."""
    dice = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with av.open(str(path), "w", format="mp4", options={"movflags": movflags} if movflags else {}) as container:
            video = container.add_stream("mpeg4", rate=FPS)
            video.width, video.height = WIDTH, HEIGHT
            if noise:
                video.bit_rate = 4_000_000
            sound = container.add_stream("aac", rate=RATE) if audio else None
            for index in range(FPS * seconds):
                frame = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
                size = frame.planes[0].buffer_size
                frame.planes[0].update(dice.randbytes(size) if noise else bytes([index * 5 % 256]) * size)
                container.mux(video.encode(frame))
            container.mux(video.encode())
            if sound is not None:
                for index in range(RATE * seconds // BLOCK + 1):
                    block = av.AudioFrame(format="fltp", layout="mono", samples=BLOCK)
                    block.planes[0].update(bytes(block.planes[0].buffer_size))
                    block.sample_rate, block.pts = RATE, index * BLOCK
                    container.mux(sound.encode(block))
                container.mux(sound.encode())
        return path.read_bytes()
