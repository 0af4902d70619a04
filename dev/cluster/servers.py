"""The servers of a cluster, as child processes: PostgreSQL, Valkey (or Redis), and an S3-compatible store.

All listen on free ports of the loopback. PostgreSQL and the broker can be killed with everything that they have forked,
or frozen, and come up again on the same port with what their files hold. The store is moto's: it keeps its objects in
memory and is not killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
import psutil
from botocore.exceptions import BotoCoreError, ClientError

from dev.cluster.programs import broker_program, postgres_programs, reachable, unprivileged
from dev.local_airflow import clean_environment, free_ports
from dev.processes import ProcessSessions, Unprivileged

START_SECONDS = 90.0
BUCKET, STORE_CONNECTION = "apimart-cluster", "apimart_store"
DATABASE, BROKER, STORE = "postgres", "broker", "store"
_LOOPBACK = "127.0.0.1"
_ACCESS = {"aws_access_key_id": "cluster", "aws_secret_access_key": "only-on-loopback", "region_name": "us-east-1"}


class ServerError(RuntimeError):
    """A server did not start; the message ends with the tail of its log."""


class Servers:
    """What a cluster's Airflow stands on. Use it as a context manager.

    :param home: the folder of the broker's data and of all logs.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.processes = ProcessSessions(self.home / "logs", clean_environment())
        self._ports = dict(zip((DATABASE, BROKER, STORE), free_ports(3), strict=True))
        self._password = secrets.token_urlsafe(16)
        # PostgreSQL's user may not be able to enter the home, which can be below root's own.
        self._folder = Path(tempfile.mkdtemp(prefix="apimart-cluster-"))
        self._user: Unprivileged | None = None
        self._programs = Path()

    @property
    def database_url(self) -> str:
        """The database, in SQLAlchemy's form and without a driver's name."""
        return f"postgresql://airflow:{self._password}@{_LOOPBACK}:{self._ports[DATABASE]}/postgres"

    @property
    def broker_url(self) -> str:
        """The broker, in Celery's form."""
        return f"redis://:{self._password}@{_LOOPBACK}:{self._ports[BROKER]}/0"

    @property
    def store_url(self) -> str:
        """The store's S3 endpoint."""
        return f"http://{_LOOPBACK}:{self._ports[STORE]}"

    def store_connection(self) -> dict[str, Any]:
        """Return the Airflow connection that leads to the store."""
        return {
            "conn_type": "aws",
            "login": _ACCESS["aws_access_key_id"],
            "password": _ACCESS["aws_secret_access_key"],
            "extra": {"endpoint_url": self.store_url, "region_name": _ACCESS["region_name"]},
        }

    def store_client(self) -> Any:
        """Return a client of the store, without the provider's own ways to it."""
        return boto3.client("s3", endpoint_url=self.store_url, **_ACCESS)

    def start(self) -> Self:
        """Start all three, and return when they answer.

        :raises ServerError: if one of them does not.
        """
        try:
            self._make_database()
            for name in (DATABASE, BROKER, STORE):
                self._spawn(name)
            for name in (DATABASE, BROKER, STORE):
                self._wait(name)
            self._make_bucket()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all of them; calling it again is harmless."""
        for name in (DATABASE, BROKER):
            if name in self.processes.children:
                self.kill(name)
        self.processes.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def kill(self, name: str) -> None:
        """Kill a server and all that it has forked."""
        child = self.processes.children.pop(name)
        for pid in [child.pid, *_descendants(child.pid)]:
            _signal(pid, signal.SIGKILL)
        child.wait()

    def start_again(self, name: str) -> None:
        """Start a killed server on its port and with its files."""
        self._spawn(name)
        self._wait(name)

    def freeze(self, name: str) -> None:
        """Stop a server as a network that drops everything would: connections stay open, and nothing is answered."""
        pid = self.processes.children[name].pid
        for each in [pid, *_descendants(pid)]:
            _signal(each, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Continue a frozen server."""
        pid = self.processes.children[name].pid
        for each in [*_descendants(pid), pid]:
            _signal(each, signal.SIGCONT)

    def _make_database(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise ServerError("no PostgreSQL server")
        self._folder.chmod(0o711)
        data, password = self._folder / "data", self._folder / "password"
        data.mkdir()
        password.touch(mode=0o600)
        password.write_text(self._password, "utf-8")
        self._user = unprivileged(data)
        if self._user is not None:
            for each in (data, password):
                os.chown(each, self._user.uid, self._user.gid)
            programs = reachable(programs, self._folder, self._user)
        self._programs = programs
        arguments = ["--auth=scram-sha-256", f"--pwfile={password}", "--username=airflow", "--encoding=UTF8"]
        made = subprocess.run(  # noqa: S603 -- argv is ours
            [self._programs / "initdb", "-D", data, "--locale=C", "--no-sync", *arguments],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
            **(self._user.options() if self._user is not None else {}),
        )
        password.unlink()
        if made.returncode:
            raise ServerError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _spawn(self, name: str) -> None:
        port = self._ports[name]
        if name == DATABASE:
            options = {
                "listen_addresses": _LOOPBACK,
                "unix_socket_directories": "",
                "port": port,
                # Two schedulers, two triggerers, the API server and the workers, each with a pool of its own.
                "max_connections": 300,
                # A killed process loses nothing by it, only a power failure does.
                "fsync": "off",
            }
            words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
            self.processes.spawn(
                name, [str(self._programs / "postgres"), "-D", str(self._folder / "data"), *words], user=self._user
            )
        elif name == BROKER:
            program = broker_program()
            if program is None:
                raise ServerError("no Valkey or Redis server")
            folder = self.home / "broker"
            folder.mkdir(parents=True, exist_ok=True)
            config = folder / "broker.conf"
            config.touch(mode=0o600)
            config.write_text(
                f'bind {_LOOPBACK}\nport {port}\nrequirepass {self._password}\ndir "{folder}"\n'
                'save ""\nappendonly yes\nappendfsync everysec\n',
                "utf-8",
            )
            self.processes.spawn(name, [str(program), str(config)])
        else:
            self.processes.spawn(name, [sys.executable, "-m", "moto.server", "-H", _LOOPBACK, "-p", str(port)])

    def _wait(self, name: str) -> None:
        until = time.monotonic() + START_SECONDS
        while not self._answers(name):
            if name in self.processes.dead() or time.monotonic() > until:
                raise ServerError(f"{name} did not start\n{self.processes.log_tail(name)}")
            time.sleep(0.1)

    def _answers(self, name: str) -> bool:
        if name == DATABASE:
            import psycopg2

            parts = urlsplit(self.database_url)
            try:
                psycopg2.connect(
                    host=parts.hostname,
                    port=parts.port,
                    user=parts.username,
                    password=parts.password,
                    dbname="postgres",
                    connect_timeout=5,
                ).close()
            except psycopg2.OperationalError:
                return False
            return True
        if name == STORE:
            try:
                self.store_client().list_buckets()
            except (BotoCoreError, ClientError):
                return False
            return True
        try:
            with socket.create_connection((_LOOPBACK, self._ports[BROKER]), timeout=5) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    # While it reads its files it answers LOADING.
                    return [answers.readline().strip() for _ in range(2)] == [b"+OK", b"+PONG"]
        except OSError:
            return False

    def _make_bucket(self) -> None:
        client = self.store_client()
        client.create_bucket(Bucket=BUCKET)
        # What keeps two videos of one name apart must hold in this store, too.
        client.put_object(Bucket=BUCKET, Key="trial", Body=b"1", IfNoneMatch="*")
        try:
            client.put_object(Bucket=BUCKET, Key="trial", Body=b"2", IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
        else:
            raise ServerError("the store ignores If-None-Match")
        client.delete_object(Bucket=BUCKET, Key="trial")


def _descendants(pid: int) -> list[int]:
    # PostgreSQL's backends are sessions of their own.
    with contextlib.suppress(psutil.Error):
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]
    return []


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
