"""Starts and stops emulators: in a thread of this process, or as a child process that may be killed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_apimart.emulator.control.client import EmulatorControl
from airflow_provider_apimart.emulator.state.settings import EmulatorSettings

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
START_SECONDS = 30
#: How long a stopping server waits for answers in progress, such as a scripted stall.
DRAIN_SECONDS = 1


def make_server(settings: EmulatorSettings, host: str, port: int) -> uvicorn.Server:
    """Return a server for an emulator, not yet running.

    :raises RuntimeError: if the ``emulator`` extra is not installed.
    """
    try:
        # Looked for here so that the absence of one is said plainly.
        import av  # noqa: F401
        import fontTools  # noqa: F401
        import PIL  # noqa: F401
        import python_multipart  # noqa: F401
        import regex  # noqa: F401
        import uvicorn

        from airflow_provider_apimart.emulator.serving.app import create_app
        from airflow_provider_apimart.emulator.serving.middleware import AbortableProtocol
    except ImportError as error:
        raise RuntimeError(
            f"the emulator needs {error.name}: pip install 'airflow-provider-apimart[emulator]'"
        ) from error
    config = uvicorn.Config(
        create_app(settings),
        host=host,
        port=port,
        http=AbortableProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=30,
    )
    return uvicorn.Server(config)


def open_socket(host: str, port: int) -> socket.socket:
    """Bind a socket, so that the port is known before the server runs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables delayed sending only if the protocol is named. Otherwise each answer waits 40 ms for an
    # acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


class Emulator(EmulatorControl):
    """An emulator in a thread of this process. Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    :param port: 0 takes a free one.
    :param options: fields of :class:`~.settings.EmulatorSettings`; jobs take no time unless ``job_seconds`` says so.
    """

    def __init__(self, *, host: str = HOST, port: int = 0, **options: Any) -> None:
        self.settings = EmulatorSettings(**{"job_seconds": 0.0, "processing_seconds": 0.0, **options})
        super().__init__("", *self.settings.api_keys[:1])
        self._host, self._port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    def start(self) -> Self:
        """Start serving and return when requests are answered."""
        self._socket = open_socket(self._host, self._port)
        try:
            self._server = make_server(self.settings, self._host, self._port)
        except BaseException:
            self._socket.close()
            raise
        self.base_url = f"http://{self._host}:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="apimart-emulator", daemon=True
        )
        self._thread.start()
        waited = threading.Event()
        for _ in range(START_SECONDS * 100):
            if self._server.started:
                return self
            if not self._thread.is_alive():
                break
            waited.wait(0.01)
        self.stop()
        raise RuntimeError("the emulator did not start")

    def stop(self) -> None:
        """Stop serving. State in memory is lost; a state file stays."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def running_emulator(**options: Any) -> Iterator[Emulator]:
    """Run an :class:`Emulator` for the length of a ``with`` block; takes the same options."""
    with Emulator(**options) as emulator:
        yield emulator


_SWITCHES = {
    "any_key": "--any-key",
    "vary_jobs": "--vary-jobs",
    "unlimited_key": "--unlimited-key",
    "renew_urls": "--renew-urls",
    "ignore_idempotency": "--ignore-idempotency",
    "split_samples": "--split-samples",
}


def arguments(settings: EmulatorSettings) -> list[str]:
    """Return the command-line arguments for these settings."""
    words = [f"{name}={value}" for name, value in (
        ("--job-seconds", settings.job_seconds),
        ("--balance", settings.balance_usd),
        ("--url-ttl-seconds", settings.url_ttl_seconds),
        ("--idempotency-ttl-seconds", settings.idempotency_ttl_seconds),
        ("--latency-ms", settings.latency_ms),
        ("--processing-seconds", settings.processing_seconds),
        ("--listing-seconds", settings.listing_seconds),
        ("--youtube-token-seconds", settings.youtube_token_seconds),
        ("--key-quota", settings.key_quota_usd),
        ("--state", settings.state),
        ("--public-url", settings.public_url),
        *(("--api-key", key) for key in settings.api_keys),
        *(("--model-retired", model) for model in settings.retired_models),
    ) if value is not None]  # fmt: skip
    words += [word for name, word in _SWITCHES.items() if getattr(settings, name)]
    return words if settings.media_cache else [*words, "--no-media-cache"]


class EmulatorProcess(EmulatorControl):
    """An emulator in a child process, so that it can be killed and started again on the same port and state.

    The child ends when its parent does, even if the parent is killed.

    :param state: the SQLite file that outlives the process; ``None`` uses one that is deleted with this object.
    :param options: as for :class:`Emulator`.
    """

    def __init__(self, state: Path | None = None, *, port: int = 0, **options: Any) -> None:
        if state is None:
            folder = tempfile.mkdtemp(prefix="apimart-emulator-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            state = Path(folder) / "state.db"
        self.settings = EmulatorSettings(**{"job_seconds": 0.0, **options, "state": Path(state)})
        super().__init__("", *self.settings.api_keys[:1])
        self._port = port
        self._child: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, while it runs."""
        return self._child.pid if self._child is not None else None

    def start(self) -> Self:
        """Start the child and return when requests are answered."""
        command = [sys.executable, "-m", "airflow_provider_apimart.emulator", f"--port={self._port}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [*command, "--end-with-stdin", *arguments(self.settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        line = self._child.stdout.readline() if self._child.stdout else ""
        url = line.rpartition(" ")[2].strip()
        if not url.startswith("http"):
            self.kill()
            raise RuntimeError("the emulator's process did not start; its error output says why")
        self.base_url = url
        # The next start takes the port that this one got.
        self._port = int(url.rpartition(":")[2])
        return self

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child = None

    def kill(self) -> None:
        """Kill the child with SIGKILL: it gets no chance to save anything."""
        if self._child is not None:
            self._child.kill()
        self._reap()

    def stop(self) -> None:
        """Ask the child to end, and wait for it."""
        if self._child is not None:
            self._child.terminate()
        self._reap()

    def restart(self) -> Self:
        """Start again on the same port and state. A running child is stopped first."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
