"""(f) Renditions: time and peak memory against the ``ffmpeg`` binary, with the same settings, in turn.

Ours runs as the operator runs it: a Python process that is started for the work. Each round makes the same files with
both, one after the other, so that other load on the machine affects both. Without an ``ffmpeg`` on PATH the part says
so and measures nothing. The encoder of both is x264, whose preset and threads are the same; its versions may differ.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measurements.figures import median

SECONDS, RATE = 8, 24
SOURCE = f"testsrc2=size=1920x1080:rate={RATE}:duration={SECONDS},noise=alls=6:allf=t"
SOUND = f"sine=frequency=300:duration={SECONDS}:sample_rate=48000"
YOUTUBE: dict[str, Any] = {"preset": "youtube"}
REELS: dict[str, Any] = {"preset": "reels", "fit": "blur"}
FEED: dict[str, Any] = {"preset": "feed", "fit": "crop"}
#: What is made in one decode, by the name of its row.
CASES: dict[str, list[dict[str, Any]]] = {
    "YouTube, 1920x1080": [YOUTUBE],
    "Reels, 1080x1920, blurred bars": [REELS],
    "both, and feed, 1080x1350, cropped": [YOUTUBE, REELS, FEED],
}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all cases."""
    binary = shutil.which("ffmpeg")
    if binary is None:
        return {"skipped": "there is no ffmpeg on PATH"}
    lines = []
    with tempfile.TemporaryDirectory(prefix="apimart-renditions-", dir=options.scratch) as name:
        folder = Path(name)
        source = folder / "source.mp4"
        make_source(binary, source)
        for row, shapes in CASES.items():
            rounds = [one_round(binary, source, shapes, folder) for _ in range(options.rendition_rounds)]
            lines.append({"row": row, **line_of(rounds)})
            print(
                f"  {row}: {lines[-1]['speed']:.2f} of its speed, {lines[-1]['memory']:.2f} of its memory", flush=True
            )
    return {"lines": lines, "seconds": SECONDS, "rounds": options.rendition_rounds, "versions": versions(binary)}


def make_source(binary: str, path: Path) -> None:
    """Write the clip: 1080p, something that moves everywhere, and sound."""
    inputs = ("-f", "lavfi", "-i", SOURCE, "-f", "lavfi", "-i", SOUND)
    coded = ("-c:v", "libx264", "-preset", "veryfast", "-b:v", "10M", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2")
    tagged = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
    subprocess.run([binary, "-y", "-loglevel", "error", *inputs, *coded, *tagged, str(path)], check=True)  # noqa: S603


def one_round(binary: str, source: Path, shapes: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Make the files with ffmpeg, then with ours."""
    peer = measured(ffmpeg_command(binary, source, shapes, folder))
    mine = measured([sys.executable, "-m", "airflow_provider_apimart.media.child"], our_order(source, shapes, folder))
    return {"ours": mine, "ffmpeg": peer}


def measured(command: Sequence[str], given: str = "") -> dict[str, float]:
    """Run a command, and return its seconds from start to end and its peak memory in MB (Linux)."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with tempfile.TemporaryFile("w+") as order, tempfile.TemporaryFile("w+") as told:
        order.write(given)
        order.seek(0)
        began = time.perf_counter()
        child = subprocess.Popen(command, stdin=order, stdout=told, stderr=subprocess.STDOUT, env=env)  # noqa: S603
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        said = told.read()
    if child.returncode or '"error"' in said:
        raise RuntimeError(f"{command[0]} failed: {said[-500:]}")
    return {"seconds": seconds, "megabytes": usage.ru_maxrss / 1024}


def our_order(source: Path, shapes: Sequence[dict[str, Any]], folder: Path) -> str:
    """Return what the operator tells its child process."""
    from airflow_provider_apimart.media.renditions.look import wanted

    asked, problems = wanted(list(shapes))
    if asked is None:
        raise RuntimeError(str(problems))
    outputs = [
        {
            "name": shape.name,
            "path": str(folder / f"ours-{shape.name}.mp4"),
            "parameters": {"shape": shape.model_dump(mode="json", exclude_none=True), "look": {}},
        }
        for shape in asked.shapes
    ]
    arguments = {"inputs": [str(source)], "outputs": outputs, "names": [source.name]}
    order = {
        "job": "render",
        "arguments": arguments,
        "memory_bytes": 4 * 1024**3,
        "parent": os.getpid(),
        "seconds": 1800,
    }
    return json.dumps(order)


def ffmpeg_command(binary: str, source: Path, shapes: Sequence[dict[str, Any]], folder: Path) -> list[str]:
    """Return the command that makes the same with the same settings."""
    from airflow_provider_apimart.media.renditions.look import wanted

    asked, _ = wanted(list(shapes))
    assert asked is not None  # noqa: S101 - our own shapes
    split = "".join(f"[i{number}]" for number in range(len(shapes)))
    graph = [f"[0:v]fps={RATE},split={len(shapes)}{split}"]
    outputs: list[str] = []
    for number, shape in enumerate(asked.shapes):
        graph.append(f"[i{number}]{_fitted(number, shape.fit, shape.width, shape.height)}[o{number}]")
        rate = str(shape.video_bitrate)
        outputs += ["-map", f"[o{number}]", "-map", "0:a", "-c:v", "libx264", "-preset", shape.effort]
        outputs += ["-crf", f"{shape.crf:g}", "-profile:v", "high", "-maxrate", rate, "-bufsize", rate]
        outputs += ["-g", str(2 * RATE), "-flags", "+cgop", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ar", "48000"]
        outputs += ["-ac", "2", "-b:a", str(shape.audio_bitrate), "-movflags", "+faststart"]
        outputs.append(str(folder / f"ffmpeg-{shape.name}.mp4"))
    return [binary, "-y", "-loglevel", "error", "-i", str(source), "-filter_complex", ";".join(graph), *outputs]


def _fitted(number: int, fit: str, width: int, height: int) -> str:
    """Return the filters that bring 16:9 into a shape, as ours does."""
    if fit == "crop":
        return f"scale=-2:{height},crop={width}:{height},setsar=1"
    if fit == "blur":
        small = f"{width // 4 // 2 * 2}:{height // 4 // 2 * 2}"
        back = (
            f"scale=-2:{height // 4 // 2 * 2},crop={small},gblur=sigma=8,scale={width}:{height}:flags=bilinear,setsar=1"
        )
        front = f"scale={width}:-2,setsar=1"
        names = [f"[{part}{number}]" for part in ("a", "b", "c", "d")]
        one, two, below, above = names
        return f"split{one}{two};{one}{back}{below};{two}{front}{above};{below}{above}overlay=(W-w)/2:(H-h)/2"
    return f"scale={width}:{height},setsar=1"


def line_of(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of the rounds, and of the ratios within a round."""

    def middle(who: str, what: str) -> float:
        return median([each[who][what] for each in rounds])

    return {
        "ours_seconds": middle("ours", "seconds"),
        "ffmpeg_seconds": middle("ffmpeg", "seconds"),
        "ours_mb": middle("ours", "megabytes"),
        "ffmpeg_mb": middle("ffmpeg", "megabytes"),
        # Our speed and our memory as a share of the peer's.
        "speed": median([each["ffmpeg"]["seconds"] / each["ours"]["seconds"] for each in rounds]),
        "memory": median([each["ours"]["megabytes"] / each["ffmpeg"]["megabytes"] for each in rounds]),
    }


def versions(binary: str) -> dict[str, str]:
    """Return which FFmpeg the binary is, and which PyAV brings its own."""
    import av

    told = subprocess.run([binary, "-version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = re.search(r"version (\S+)", told)
    return {
        "ffmpeg": found[1] if found else "unknown",
        "av": str(av.__version__),
        "av_ffmpeg": str(av.ffmpeg_version_info),
    }
