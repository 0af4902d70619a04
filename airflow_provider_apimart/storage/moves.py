"""Gives a finished file its name in a storage that shows a file while it is written: it is uploaded hidden, and moved.

sshfs moves with ``posix-rename@openssh.com``. On a server without that extension it opens a shell and copies, so that
readers see half a file, and then it removes the source, even if there was no shell and nothing was copied. So its moves
are made here: by the extension, and otherwise by SFTP's own rename, which does not replace.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any


def move(fs: Any, source: str, destination: str) -> None:
    """Rename a stored file, even if the storage does not move onto an existing file (HDFS, FTP)."""
    sshfs = sys.modules.get("sshfs")
    if sshfs is not None and isinstance(fs, sshfs.SSHFileSystem):
        moving = asyncio.run_coroutine_threadsafe(_rename(fs, source, destination), fs.loop)
        try:
            moving.result()
        finally:
            moving.cancel()  # The task may have been killed while it waited.
        return
    try:
        fs.mv(source, destination)
    except Exception:
        if not fs.exists(destination) or not fs.exists(source):
            raise
        fs.rm_file(destination)
        fs.mv(source, destination)


async def _rename(fs: Any, source: str, destination: str) -> None:
    from asyncssh import SFTPError, SFTPOpUnsupported

    async with fs._pool.get() as channel:
        with contextlib.suppress(SFTPOpUnsupported):
            await channel.posix_rename(source, destination)
            return
        try:
            await channel.rename(source, destination)
        except SFTPError:
            # Each server says in its own words that the name is taken, also where there is nothing to be moved.
            if not await channel.exists(destination) or not await channel.exists(source):
                raise
            await channel.unlink(destination)
            await channel.rename(source, destination)
