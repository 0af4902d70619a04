"""An SFTP server on loopback (asyncssh's), with sshfs in front, as Airflow's SFTP provider opens it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_apimart.storage.files import Target


class Folder:
    """The server's folder, from the inside (``path``) and through sshfs (``fs``).

    :ivar asked: SFTP's numbers of the requests that the server has got.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[int] = []
        self.fs: Any = None

    def target(self, name: str) -> Target:
        return Target(self.fs, f"/videos/{name}", f"sftp://videos/{name}")

    @property
    def names(self) -> list[str]:
        return sorted(each.name for each in (self.path / "videos").iterdir())

    def data(self, name: str) -> bytes:
        return (self.path / "videos" / name).read_bytes()


@contextmanager
def serving(path: Path, *, posix_rename: bool = True) -> Iterator[Folder]:
    """Serve a folder as the root of an SFTP server without a shell.

    :param posix_rename: whether the server has OpenSSH's extension, which replaces a file.
    """
    import asyncssh
    import sshfs
    from asyncssh.sftp import SFTPServerHandler

    folder = Folder(path)

    class Anybody(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return False

    class Rooted(asyncssh.SFTPServer):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel, chroot=str(path).encode())

    process, extensions = SFTPServerHandler._process_packet, SFTPServerHandler._extensions

    async def counted(self: Any, kind: int, number: int, packet: Any) -> Any:
        folder.asked.append(kind)
        return await process(self, kind, number, packet)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> Any:
        key = asyncssh.generate_private_key("ssh-ed25519")
        options = {"server_factory": Anybody, "server_host_keys": [key], "sftp_factory": Rooted}
        return await asyncssh.listen("127.0.0.1", 0, **options)

    async def stop(server: Any) -> None:
        server.close()
        await server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    SFTPServerHandler._process_packet = counted
    if not posix_rename:
        SFTPServerHandler._extensions = [each for each in extensions if not each[0].startswith(b"posix-rename")]
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    # A killed try leaves files open. The collector closes them in whatever thread it happens to run: in the server's,
    # it would wait for an answer of the server itself. So nothing is collected but here, in the client's thread.
    gc.disable()
    try:
        folder.fs = sshfs.SSHFileSystem(
            host="127.0.0.1", port=server.get_port(), username="u", known_hosts=None, skip_instance_cache=True
        )
        yield folder
        gc.collect()
        sshfs.SSHFileSystem._finalize(folder.fs.loop, folder.fs._pool, folder.fs._stack)
    finally:
        gc.enable()
        SFTPServerHandler._process_packet, SFTPServerHandler._extensions = process, extensions
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
