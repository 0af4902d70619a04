"""Child processes that never outlive this process.

Airflow's components fork, and their task supervisors leave the process group that they were started in. So every
component gets a *session* of its own, and signals always go to the whole session. Three things end the sessions:
:meth:`ProcessSessions.stop`, the interpreter's exit, and, if this process is killed with SIGKILL, a small reaper
process. The reaper holds the other end of a pipe to this process and acts when the pipe closes.

Run as ``python -m dev.processes`` this module is that reaper.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_REPO = Path(__file__).resolve().parent.parent


def pids_of_session(session: int) -> list[int]:
    """Return the living processes of a session (zombies do not count)."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def signal_session(session: int, number: int) -> None:
    """Send a signal to every process of a session, whatever its process group is."""
    for pid in pids_of_session(session):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_sessions(sessions: Sequence[int], patience_seconds: float = 3.0) -> None:
    """Ask the leaders of the sessions to end, and kill every process that has not ended in time."""
    for session in sessions:
        # Only the leader gets SIGTERM: a triggerer whose children disappear waits for them forever.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(session, signal.SIGTERM)
        # A stopped process cannot act on SIGTERM until it is continued.
        signal_session(session, signal.SIGCONT)
    until = time.monotonic() + patience_seconds
    while time.monotonic() < until and any(pids_of_session(session) for session in sessions):
        time.sleep(0.1)
    kill_sessions(sessions)


def kill_sessions(sessions: Sequence[int]) -> None:
    """Kill every process of the sessions with SIGKILL, as a machine that loses its power does."""
    # The next round catches a fork that happens between the listing and the signal.
    for _ in range(50):
        if not any(pids_of_session(session) for session in sessions):
            return
        for session in sessions:
            signal_session(session, signal.SIGKILL)
        time.sleep(0.05)


@dataclass(frozen=True)
class Unprivileged:
    """A user for programs that refuse to run as root.

    :param folder: the working directory, which must be this user's to enter.
    """

    uid: int
    gid: int
    folder: Path

    def options(self) -> dict[str, Any]:
        """Return the arguments for :class:`subprocess.Popen`."""
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": self.folder}


class ProcessSessions:
    """Named child processes, each the leader of a session, with its output in ``logs/<name>.log``.

    :param logs: the directory of the logs; created if missing.
    :param env: the complete environment of the children.
    """

    def __init__(self, logs: Path, env: Mapping[str, str]) -> None:
        self.logs = logs
        self.env = dict(env)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._reaper: subprocess.Popen[bytes] | None = None

    def spawn(
        self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None, user: Unprivileged | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a child. Its output is appended to the log, so that the log survives a restart.

        :param env: environment variables of this child alone.
        :param user: whom the child runs as, in a folder of theirs.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log_path(name).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 -- argv is ours
                argv,
                env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **(user.options() if user is not None else {}),
            )
        self.children[name] = child
        self._tell_reaper(child.pid)
        return child

    def log_path(self, name: str) -> Path:
        """Return where the output of a child goes."""
        return self.logs / f"{name}.log"

    def log_tail(self, name: str, lines: int = 40) -> str:
        """Return the last lines of a child's output."""
        path = self.log_path(name)
        if not path.exists():
            return ""
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:])

    def dead(self) -> list[str]:
        """Return the names of children that have ended."""
        return [name for name, child in self.children.items() if child.poll() is not None]

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a child and all processes that it has forked."""
        signal_session(self.children[name].pid, number)
        if number == signal.SIGKILL:
            self.children[name].wait()

    def kill(self, *names: str) -> None:
        """Kill children and all processes that they have forked, all at once, and forget them."""
        children = [self.children.pop(name) for name in names]
        kill_sessions([child.pid for child in children])
        for child in children:
            child.wait()

    def end(self, name: str, patience_seconds: float = 15.0) -> None:
        """End one child and all processes that it has forked, and wait for it."""
        child = self.children.pop(name)
        end_sessions([child.pid], patience_seconds)
        child.wait()

    def stop(self, patience_seconds: float = 3.0) -> None:
        """End all children at the same time; calling it again is harmless."""
        atexit.unregister(self.stop)
        children, self.children = self.children, {}
        end_sessions([child.pid for child in children.values()], patience_seconds)
        for child in children.values():
            child.wait()
        if self._reaper is not None:
            reaper, self._reaper = self._reaper, None
            reaper.communicate()

    def _tell_reaper(self, session: int) -> None:
        if self._reaper is None:
            atexit.register(self.stop)
            # The reaper has a session of its own, so that Ctrl-C in the terminal does not reach it.
            self._reaper = subprocess.Popen(
                [sys.executable, "-m", "dev.processes"],
                cwd=_REPO,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        pipe = self._reaper.stdin
        if pipe is not None:
            pipe.write(f"{session}\n".encode())
            pipe.flush()


def _reap() -> None:
    """Read session ids until the pipe closes, then end those sessions."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_sessions([int(line) for line in sys.stdin], patience_seconds=2.0)


if __name__ == "__main__":
    _reap()
