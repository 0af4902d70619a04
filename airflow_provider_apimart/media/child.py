"""Runs a job on a file from outside in a process of its own, with a bound on memory and time.

FFmpeg's decoders are C code that reads hostile bytes. A crash there ends the child, and the parent reports a clear
error. The child gets its order on stdin and answers with JSON on stdout.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from typing import Any

from airflow_provider_apimart.media.errors import (
    MediaBoundsError,
    MediaRefusedError,
    MediaToolError,
    Refused,
    Unavailable,
    UndecodableVideoError,
)

#: The jobs, by name: a module and its function. Nothing else can be called.
#: Its arguments and its result are JSON objects.
JOBS = {
    "measure": ("airflow_provider_apimart.media.measure", "measure"),
    "join": ("airflow_provider_apimart.media.joining.join", "join"),
    "frames": ("airflow_provider_apimart.media.frames", "frames"),
    "poster": ("airflow_provider_apimart.media.poster", "poster"),
    "contact_sheet": ("airflow_provider_apimart.media.poster", "contact_sheet"),
    "render": ("airflow_provider_apimart.media.renditions.render", "render"),
    "provenance": ("airflow_provider_apimart.media.provenance.job", "mark_files"),
    "try_signer": ("airflow_provider_apimart.media.provenance.job", "try_signer"),
}
#: Enough for 4K and its reference pictures.
DEFAULT_MEMORY_BYTES = 2 * 1024**3
DEFAULT_SECONDS = 300.0
#: The variables of the environment that the child gets: what Python and the loader need, and nothing of Airflow.
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "VIRTUAL_ENV", "SYSTEMROOT")
#: From Linux' ``prctl.h``.
PR_SET_PDEATHSIG = 1
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT})
#: The disk is full, or a quota or a limit of this process is reached. No input is to blame.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MODULE = "airflow_provider_apimart.media.child"
#: Above the size of one 8K picture.
_HEADROOM_BYTES = 64 * 1024**2
_children: set[subprocess.Popen[bytes]] = set()


def run_isolated(
    job: str,
    arguments: dict[str, Any],
    *,
    seconds: float = DEFAULT_SECONDS,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    open_files: Collection[int] = (),
) -> Any:
    """Run ``job`` in a child process and return its result.

    :param seconds: how long it may take.
    :param memory_bytes: how much address space it may take beyond what its libraries need.
    :param open_files: descriptors that the child gets, too; ``arguments`` may name them as ``/dev/fd/<number>``.
    :raises UndecodableVideoError: if the file is the cause.
    :raises MediaRefusedError: if the job cannot make what its arguments ask for.
    :raises MediaBoundsError: if it takes too much.
    :raises MediaToolError: if the extra ``media`` is missing, or if the disk has no room.
    """
    order = json.dumps(
        {"job": job, "arguments": arguments, "memory_bytes": memory_bytes, "parent": os.getpid(), "seconds": seconds}
    )
    code, output, errors = _run(order.encode(), seconds, tuple(open_files))
    if -code in CRASHES:
        raise UndecodableVideoError(f"the video made the decoder crash ({_signal_name(-code)})")
    if code < 0:
        # Says nothing about the file: the system ran out of memory, or somebody stopped it.
        raise MediaToolError(f"the media process was stopped from outside ({_signal_name(-code)})")
    try:
        answer = json.loads(output)
    except ValueError:
        tail = errors.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise MediaToolError(f"the media process failed: {tail[0][:300]}") from None
    return _result(answer, memory_bytes)


def _run(order: bytes, seconds: float, open_files: tuple[int, ...]) -> tuple[int, bytes, bytes]:
    try:
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            pass_fds=open_files,
        )
    except OSError as error:
        raise MediaToolError(f"the media process could not be started: {error}") from error
    with child:
        _children.add(child)
        try:
            output, errors = child.communicate(order, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise MediaBoundsError(f"the work was not done within {seconds:g} s") from None
        finally:
            _children.discard(child)
            child.kill()
    return child.returncode, output, errors


def stop_children() -> None:
    """Stop all jobs of this process, in whichever thread they are waited for."""
    for child in tuple(_children):
        child.kill()


def _result(answer: dict[str, Any], memory_bytes: int) -> Any:
    match answer.get("error"):
        case None:
            return answer["result"]
        case "memory":
            raise MediaBoundsError(f"the work needs more than {memory_bytes // 1024**2} MiB of memory")
        case "missing":
            raise MediaToolError(f"{answer['text']}: install airflow-provider-apimart[media]")
        case "refused":
            raise MediaRefusedError(answer["text"])
        case "unavailable":
            raise MediaToolError(answer["text"])
        case _:
            text = f"the file cannot be decoded: {answer['text']}"
            raise UndecodableVideoError(text, input_number=answer.get("input"))


def _environment() -> dict[str, str]:
    """Return what the child needs of the environment. The rest may hold secrets, and it reads hostile bytes."""
    kept = {name: value for name, value in os.environ.items() if name in ENVIRONMENT}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main() -> int:
    """Carry out the order on stdin."""
    order = json.load(sys.stdin)
    _end_with(order["parent"], order["seconds"])
    module, function = JOBS[order["job"]]
    try:
        work = getattr(importlib.import_module(module), function)
    except ImportError as error:
        return _answer({"error": "missing", "text": str(error)})
    limit = _bound(order["memory_bytes"])
    try:
        result = work(**order["arguments"])
    except MemoryError:
        return _answer({"error": "memory"})
    except Unavailable as error:
        return _answer({"error": "unavailable", "text": _text(error)})
    except Refused as error:
        return _answer({"error": "refused", "text": _text(error)})
    except Exception as error:
        # PyAV's errors have many bases. Any other error is a mistake in the job, and no verdict on the file.
        if not isinstance(error, (OSError, ValueError, RuntimeError)) and not type(error).__module__.startswith("av."):
            raise
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return _answer({"error": "unavailable", "text": f"there is no room for what is made: {_text(error)}"})
        # FFmpeg reports a failed allocation as one of them.
        if (isinstance(error, OSError) and error.errno == errno.ENOMEM) or _is_near(limit):
            return _answer({"error": "memory"})
        return _answer({"error": "file", "text": _text(error), "input": getattr(error, "number", None)})
    if result.get("decode_errors") and _is_near(limit):
        return _answer({"error": "memory"})
    return _answer({"result": result})


def _end_with(parent: int, seconds: float) -> None:
    """End when the parent does, which may be killed: nobody else would stop this work."""
    signal.alarm(math.ceil(seconds) + 5)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended before the line above.
        raise SystemExit("the parent has ended")


def _text(error: BaseException) -> str:
    # FFmpeg's text names the file; the parent knows its real name.
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:300]


def _bound(memory_bytes: int) -> int | None:
    """Bound the address space to what is in use now plus ``memory_bytes``; return the bound, ``None`` without Linux."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = _address_space("VmSize")
    if used is None:
        return None
    resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))
    return used + memory_bytes


def _is_near(limit: int | None) -> bool:
    """Return whether memory may have run out: FFmpeg reports some failed allocations as damaged data."""
    peak = None if limit is None else _address_space("VmPeak")
    return peak is not None and limit is not None and peak > limit - _HEADROOM_BYTES


def _address_space(name: str) -> int | None:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None


def _answer(answer: dict[str, Any]) -> int:
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
