"""(f) Joining: clips that agree, copied bit by bit into one video, beside ``cp``, which copies as many bytes.

Every round does all, one after the other and to the same disk, so that other load on the machine affects all. What is
timed is the job itself, from opening the clips to a file that is flushed to the disk; then the same in a child process,
as tasks run it. A task also reads each file once for its checksum.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.measurements.figures import median

CLIPS = 20
FRAMES, RATE, SIZE = 192, 24, (1920, 1080)
#: So many pictures of noise are enough that an encoder finds nothing to save.
NOISY = 6


def noisy_clip(path: Path, megabytes: int) -> None:
    """Write a clip of 8 seconds with sound, of about so many megabytes: noise, at a fixed quantizer."""
    import av

    noise = random.Random(0)  # noqa: S311
    planes = [
        [noise.randbytes(SIZE[0] * SIZE[1]), *[noise.randbytes(SIZE[0] * SIZE[1] // 4)] * 2] for _ in range(NOISY)
    ]
    bits = str(megabytes * 8 * 10**6 * RATE // FRAMES)
    # So that the first picture has no more than its share.
    buffer = str(int(bits) // RATE)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        options = {"preset": "ultrafast", "b": bits, "maxrate": bits, "bufsize": buffer}
        video: Any = container.add_stream("libx264", rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio: Any = container.add_stream("aac", rate=48_000)
        audio.layout = "stereo"
        for number in range(FRAMES):
            frame = av.VideoFrame(*SIZE, "yuv420p")
            for plane, content in zip(frame.planes, planes[number % NOISY], strict=True):
                plane.update(content.ljust(plane.buffer_size, b"\0")[: plane.buffer_size])
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        # 8 s are exactly 375 packets of sound, so that it is copied, too.
        for start in range(0, FRAMES // RATE * 48_000, 1024):
            sound = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
            for plane in sound.planes:
                plane.update(bytes(plane.buffer_size))
            sound.pts, sound.sample_rate, sound.time_base = start, 48_000, Fraction(1, 48_000)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def timed(work: Callable[[], object], out: Path) -> float:
    """Return how long ``work`` takes until its file is on the disk."""
    out.unlink(missing_ok=True)
    os.sync()
    began = time.perf_counter()
    work()
    with out.open("rb") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - began


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all sizes."""
    from airflow_provider_apimart.media.joining.join import join

    lines = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        for megabytes in options.clip_megabytes:
            first = Path(folder, f"{megabytes}.mp4")
            noisy_clip(first, megabytes)
            clips = [str(first.rename(Path(folder, "0.mp4")))]
            for number in range(1, CLIPS):
                clips.append(str(Path(folder, f"{number}.mp4")))
                Path(clips[-1]).write_bytes(Path(clips[0]).read_bytes())
            lines.append(_line(clips, Path(folder), options.rounds, join))
            print(f"  {line_text(lines[-1])}", flush=True)
    return {"lines": lines, "clips": CLIPS}


def _line(clips: list[str], folder: Path, rounds: int, join: Callable[..., Any]) -> dict[str, Any]:
    from airflow_provider_apimart.media.child import run_isolated

    joined, whole, copied = folder / "joined.mp4", folder / "whole", folder / "copied"
    wanted = [{"name": "one", "path": str(joined), "parameters": {"encode": "never"}}]
    with whole.open("wb") as file:
        subprocess.run(["cat", *clips], stdout=file, check=True)  # noqa: S603, S607
    works: dict[str, tuple[Callable[[], object], Path]] = {
        "join": (lambda: join(clips, wanted), joined),
        "task": (lambda: run_isolated("join", {"inputs": clips, "outputs": wanted}), joined),
        "copy": (lambda: subprocess.run(["cp", str(whole), str(copied)], check=True), copied),  # noqa: S603, S607
    }
    for work, out in works.values():
        timed(work, out)
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, out) in works.items():
            took[name].append(timed(work, out))
    return {
        "megabytes": whole.stat().st_size / 10**6,
        **{f"{name}_seconds": median(seconds) for name, seconds in took.items()},
        "ratio": _ratio(took["join"], took["copy"]),
        "task_ratio": _ratio(took["task"], took["copy"]),
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return median([one / other for one, other in zip(ours, theirs, strict=True)])


def line_text(line: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    return (
        f"{CLIPS} clips, {line['megabytes']:.0f} MB: join {line['join_seconds']:.3f} s, with its process "
        f"{line['task_seconds']:.3f} s, cp {line['copy_seconds']:.3f} s, ratio {line['ratio']:.2f}, with its process "
        f"{line['task_ratio']:.2f}"
    )
