"""Runs the contestants' child processes against one status server, and adds the server's counts to their figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.servers.status import WARM_UP_INDEX

T = TypeVar("T")

#: The extra time that a child has, besides its window, to start and to report.
GRACE_SECONDS = 120.0


class Server:
    """The status server, as its parent process sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60.0)

    def open(self, account: str, **settings: float) -> str:
        """Create or reset an account with its limit or answer time; return the URL under which it polls."""
        self._get("open", account, **settings)
        return f"{self.url}/{account}"

    def count(self, account: str, since: float, until: float) -> dict[str, int]:
        """Return the polls and refusals of an account in a span of time, and the connections of all accounts."""
        counts: dict[str, int] = self._get("count", account, since=since, until=until)
        return counts

    def asked(self, account: str, since: float, until: float) -> list[tuple[float, int]]:
        """Return the time and the job of each answered poll."""
        return [(when, index) for when, index in self._get("asked", account, since=since, until=until)]

    def _get(self, what: str, account: str, **query: float) -> Any:
        return self._http.get(f"/control/{what}/{account}", params=query).raise_for_status().json()


@contextmanager
def status_server(answer_seconds: float) -> Iterator[Server]:
    """Run the status server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.servers.status", f"--answer-seconds={answer_seconds}"]
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


def run_child(server: Server, order: dict[str, Any], account: str = "bench", **settings: float) -> dict[str, Any]:
    """Run one contestant and return its figures; ``{"error": ...}`` if it gave none.

    :param account: the account under which it polls; others may run in parallel under other names.
    :param settings: settings of the account: ``per_minute``, ``answer_seconds``.
    """
    url = server.open(account, **settings)
    contestant = CONTESTANTS[order["contestant"]]
    # Children must not use the environment's proxies and credentials.
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= contestant.environment(url)
    env["PYTHONWARNINGS"] = "ignore"
    limit = order["warm"] + order["seconds"] + GRACE_SECONDS
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.measurements.loop_child"],
            input=json.dumps(order | {"url": url}) + "\n",
            capture_output=True,
            text=True,
            env=env,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"gave no figures in {limit:.0f} s"}
    if not done.stdout:
        return {"error": f"ended with {done.returncode}: {done.stderr[-500:]}"}
    found: dict[str, Any] = json.loads(done.stdout)
    found["delays"] = {int(index): delay for index, delay in found["delays"].items()}
    return found | {
        "polls": server.count(account, found["begin"], found["end"])["polls"],
        "throttled": server.count(account, found["origin"], found["end"])["throttled"],
        # Count from its start, so that a connection that is opened once and kept counts as one.
        "connections": server.count(account, found["first"], found["end"])["connections"],
        "window": found["end"] - found["begin"],
        # All polls of its life, except the trial poll.
        "asked": [
            (when, index)
            for when, index in server.asked(account, found["origin"], found["end"])
            if index != WARM_UP_INDEX
        ],
    }


def beside(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run contestants in parallel; return their figures in the given order."""
    with ThreadPoolExecutor(max(1, len(jobs))) as pool:
        return [each.result() for each in [pool.submit(job) for job in jobs]]
