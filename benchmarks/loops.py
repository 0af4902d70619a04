"""Runs contestants' children against the one status server, and adds what the server saw to what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from benchmarks.contestants import CONTESTANTS
from benchmarks.status_server import WARM_UP_INDEX

#: What a child may take on top of its window to start and to tell.
GRACE_SECONDS = 120.0


class Server:
    """The status server, from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60.0)
        self.reset()

    def reset(self, per_minute: int = 0) -> None:
        """Forget, and set the limit (0: none)."""
        self._get("reset", per_minute=per_minute)

    def count(self, since: float, until: float) -> dict[str, Any]:
        """Return the polls, refusals and connections of a span of time."""
        counts: dict[str, Any] = self._get("count", since=since, until=until)
        return counts

    def jobs(self) -> dict[int, int]:
        """Return the answered polls of each job, by its index."""
        found = {int(index): polls for index, polls in self._get("jobs").items()}
        found.pop(WARM_UP_INDEX, None)
        return found

    def _get(self, what: str, **query: float) -> Any:
        return self._http.get(f"/control/{what}", params=query).raise_for_status().json()


@contextmanager
def status_server(answer_seconds: float) -> Iterator[Server]:
    """Run the status server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.status_server", f"--answer-seconds={answer_seconds}"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
    try:
        url = child.stdout.readline().strip() if child.stdout else ""
        if not url.startswith("http://127.0.0.1:"):
            raise RuntimeError("the status server did not start")
        yield Server(url)
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def run_child(server: Server, order: dict[str, Any], per_minute: int = 0) -> dict[str, Any]:
    """Run one contestant and return its figures; ``{"error": ...}`` where it gave none."""
    server.reset(per_minute)
    contestant = CONTESTANTS[order["contestant"]]
    # Proxies and credentials of the environment are nobody's business here.
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= contestant.environment(server.url)
    env["PYTHONWARNINGS"] = "ignore"
    limit = order["warm"] + order["seconds"] + GRACE_SECONDS
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.loop_child"],
            input=json.dumps(order | {"url": server.url}) + "\n",
            capture_output=True,
            text=True,
            env=env,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"gave no figures in {limit:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"error": f"ended with {done.returncode}: {done.stderr[-500:]}"}
    found: dict[str, Any] = json.loads(lines[-1])
    found["delays"] = {int(index): delay for index, delay in found["delays"].items()}
    counts = server.count(found["begin"], found["end"])
    ever = server.count(found["origin"], found["end"])
    # Since its start: a connection that is opened once and kept is one.
    connections = server.count(found["first"], found["end"])["connections"]
    return found | {
        "polls": counts["polls"],
        "throttled": ever["throttled"],
        "connections": connections,
        "window": found["end"] - found["begin"],
        "jobs": server.jobs(),
    }
