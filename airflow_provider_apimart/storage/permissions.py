"""Decides what a storage's "forbidden" means, and which permissions a place needs.

If the role may not list (S3 without ``s3:ListBucket``), object stores answer a request for a missing file with 403. So
a 403 alone means neither "nothing is there" nor "you may not use this place". A test decides: a role that can write a
small file and read it back may use the place, and then a file that it gets a 403 for does not exist. The test file
always has the same name and is never removed: others may be running the same test, and a role need not be able to
delete.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.storage.uploads import protocols

log = logging.getLogger(__name__)

TRIAL_NAME = ".apimart-check"
TRIAL = b"airflow-provider-apimart wrote this to find out whether it may write and read here.\n"
#: How long a passed test stays valid.
BELIEVED_SECONDS = 300.0
#: The permissions that a place needs, by URI scheme: for files, and for folders that must be listed.
NEEDS: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset({"s3", "s3a"}), "s3:PutObject and s3:GetObject", "s3:ListBucket"),
    (
        frozenset({"gs", "gcs"}),
        "storage.objects.create, storage.objects.get and, to replace files, storage.objects.delete",
        "storage.objects.list",
    ),
    (
        frozenset({"abfs", "abfss", "az", "adl", "wasb", "wasbs"}),
        "the role Storage Blob Data Contributor, or a SAS that may read, create and write",
        "a SAS that may list",
    ),
)

_passed: dict[tuple[Any, str], float] = {}


class DeniedError(LandingError):
    """The storage forbids what is needed. A retry may help: a policy can be changed before the video expires, and a
    change takes a moment to reach all servers.
    """


def is_denied(error: BaseException) -> bool:
    """Return whether a storage answered "forbidden". Each fsspec file system reports that in its own way."""
    # s3fs; adlfs and the HTTP clients below the others; gcsfs.
    status = getattr(error, "status_code", getattr(error, "code", None))
    forbidden = isinstance(error, OSError) and str(error).startswith("Forbidden")
    return isinstance(error, PermissionError) or status in (403, "403") or forbidden


def needed(fs: Any, *, to_list: bool = False) -> str:
    """Return the permissions that a place in this storage needs, as text for messages."""
    for names, files, folders in NEEDS:
        if protocols(fs) & names:
            return folders if to_list else files
    return "permission to list" if to_list else "permission to write and to read"


def prove(fs: Any, folder: str, uri: str) -> None:
    """Test whether files can be written into a folder and read back.

    :param folder: the path inside ``fs``, without a trailing slash.
    :param uri: the same place, for messages.
    :raises DeniedError: if the storage forbids it.
    """
    place = getattr(fs, "_fs_token", id(fs)), folder
    if time.monotonic() - _passed.get(place, float("-inf")) < BELIEVED_SECONDS:
        return
    trial = f"{folder}/{TRIAL_NAME}"
    step = "writing"
    try:
        fs.pipe_file(trial, TRIAL)
        step = "reading"
        fs.cat_file(trial)
    except Exception as error:
        if not is_denied(error):
            raise
        raise DeniedError(
            f"The storage forbids {step} in {uri} (a trial with {TRIAL_NAME}: {type(error).__name__}: {error}); needed "
            f"there: {needed(fs)}"
        ) from error
    _passed[place] = time.monotonic()
    log.debug("%s may be written to and read from; what may not be seen there is not there.", uri)
