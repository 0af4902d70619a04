"""(d) Landing: time and peak memory against curl, on the local disk and on S3 (moto's server).

It runs once at the full speed of loopback, where all work besides the transfer shows, and once at the pace of a 1
Gbit/s network (the server's ``rate``). A store that answers each request only after 30 ms (a small S3 of our own) shows
what the number of requests costs. Every round does the same transfers one after the other, so that other load on
the machine affects all of them. The table shows the medians of the rounds and of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measurements.figures import median

BUCKET = "videos"
MEGABYTE = 10**6
TINY = "tiny.mp4"
LATE_SECONDS = 0.03
SIGNED = ("--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "test:test")


def tiny_video(path: Path) -> None:
    """Write a real MP4 of a few kilobytes."""
    from airflow_provider_apimart.emulator.media.videos import VideoSpec, make_video

    make_video(VideoSpec(320, 180, 4, False, "a benchmark", ("a benchmark",)), path)


def padded_video(path: Path, size: int) -> None:
    """Write a real MP4 of exactly ``size`` bytes: a short video, and a box of random bytes that players skip."""
    tiny_video(path)
    left = size - path.stat().st_size
    block = os.urandom(MEGABYTE)
    with path.open("ab") as file:
        file.write(left.to_bytes(4, "big") + b"free")
        left -= 8
        while left > 0:
            left -= file.write(block[:left])


@contextmanager
def server(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of our servers, or moto's, in a process of its own."""
    child = subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


MOTO = """
import time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%s" % server.get_host_and_port(), flush=True)
time.sleep(1e6)
"""


def said(child: subprocess.Popen[str]) -> str:
    """Return the URL that a server prints."""
    url = child.stdout.readline().strip() if child.stdout else ""
    if not url.startswith("http://127.0.0.1:"):
        raise RuntimeError("a server did not start")
    return url


def curl(*arguments: str) -> float:
    """Run curl and return the seconds of the transfer, measured by curl itself, without its start-up."""
    command = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--write-out", "%{time_total}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


def timed(*command: str) -> float:
    """Run a command and return the seconds that it took, including its start-up."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - named by this module
    return time.perf_counter() - began


def curl_local(url: str, folder: Path) -> dict[str, float]:
    """Fetch with curl, then do our other work with shell tools: hash the file and flush it to disk."""
    path = folder / "curl.mp4"
    path.unlink(missing_ok=True)
    fetched = curl("--output", str(path), url)
    checked = timed("sha256sum", str(path)) + timed("sync", str(path))
    path.unlink()
    return {"curl": fetched, "curl, sha256sum, sync": fetched + checked}


def curl_s3(url: str, folder: Path, endpoint: str) -> dict[str, float]:
    """Fetch with curl, then put into the bucket with curl."""
    path = folder / "curl.mp4"
    fetched = curl("--output", str(path), url)
    unsigned = ("--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD")
    put = curl("--upload-file", str(path), "--output", os.devnull, *SIGNED, *unsigned, f"{endpoint}/{BUCKET}/curl.mp4")
    path.unlink()
    return {"curl, curl --upload-file": fetched + put}


def ours(url: str, output: str, endpoint: str | None) -> dict[str, Any]:
    """Land in a process of its own, under an unused name."""
    tiny = f"{url.rpartition('/')[0]}/{TINY}"
    order = {"url": url, "tiny": tiny, "output": output} | ({"endpoint": endpoint} if endpoint else {})
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measurements.landing_child"],
        input=json.dumps(order) + "\n",
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"landing failed: {done.stderr[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rounds(count: int, peer: Callable[[], dict[str, float]], mine: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run both in turn and summarize."""
    found = []
    for _ in range(count):
        peers, landed = peer(), mine()
        found.append((peers, landed))
    names = list(found[0][0])
    return {
        "seconds": median([landed["seconds"] for _, landed in found]),
        "first_seconds": median([landed["first_seconds"] for _, landed in found]),
        "peak_mb": median([landed["peak_mb"] for _, landed in found]),
        "worst_peak_mb": max(landed["peak_mb"] for _, landed in found),
        "base_mb": median([landed["base_mb"] for _, landed in found]),
        "peers": {name: median([peers[name] for peers, _ in found]) for name in names},
        # Our throughput as a share of the peer's.
        "ratios": {name: median([peers[name] / landed["seconds"] for peers, landed in found]) for name in names},
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all sizes on all storages."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="apimart-landing-", dir=options.scratch) as name:
        folder = Path(name)
        media, out = folder / "media", folder / "out"
        media.mkdir()
        out.mkdir()
        late = server("-m", "benchmarks.servers.s3", str(LATE_SECONDS))
        with server("-m", "benchmarks.servers.media", str(media)) as files, server("-c", MOTO) as moto, late as slow:
            base, endpoint, slow_endpoint = said(files), said(moto), said(slow)
            tiny_video(media / TINY)
            for size in options.megabytes:
                padded_video(media / f"{size}.mp4", size * MEGABYTE)
                for rate in options.rates:
                    url = f"{base}/{size}.mp4" + (f"?rate={rate:g}" if rate else "")
                    fresh_bucket(endpoint)
                    lines += lines_of(size, rate, url, out, endpoint, slow_endpoint, options.rounds)
    return {"lines": lines}


def lines_of(size: int, rate: float, url: str, out: Path, endpoint: str, late: str, count: int) -> list[dict[str, Any]]:
    """Measure one file on each storage."""
    if size > 100:
        count = max(1, count // 2)
    found = {
        "local": rounds(count, partial(curl_local, url, out), partial(ours, url, str(out), None)),
        "S3 (moto)": rounds(
            count, partial(curl_s3, url, out, endpoint), partial(ours, url, f"s3://{BUCKET}", endpoint)
        ),
        f"S3, {LATE_SECONDS * 1000:g} ms a request": rounds(
            count, partial(curl_s3, url, out, late), partial(ours, url, f"s3://{BUCKET}", late)
        ),
    }
    about = {"megabytes": size, "rate": rate, "rounds": count}
    lines = [{**about, "storage": storage, **each} for storage, each in found.items()]
    for line in lines:
        print(f"  {size} MB, {pace(rate)}, {line['storage']}: {summary(line)}", flush=True)
    return lines


def pace(rate: float) -> str:
    """Return the server's sending rate as text."""
    return f"{rate * 8 / 1000:g} Gbit/s" if rate else "loopback"


def fresh_bucket(endpoint: str) -> None:
    """Empty the store, because moto keeps everything in memory."""
    httpx.post(f"{endpoint}/moto-api/reset", trust_env=False).raise_for_status()
    curl("--request", "PUT", "--output", os.devnull, *SIGNED, f"{endpoint}/{BUCKET}")


def summary(line: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    ratios = ", ".join(f"{ratio:.2f} of {name}" for name, ratio in line["ratios"].items())
    speed = line["megabytes"] / line["seconds"]
    return f"{speed:.0f} MB/s, {ratios}; peak +{line['peak_mb']:.1f} MB (worst +{line['worst_peak_mb']:.1f})"
