"""What a storage's "forbidden" means, and which permissions a place needs.

Object stores answer a look at a name that is not there with 403 where the role may not list (S3 without
``s3:ListBucket``), so that a 403 alone says neither "nothing is there" nor "you may not use this place". A trial
decides: a role that can write a small file and read it back may use the place, and then what it may not see is not
there. The trial file keeps one name and is never removed: others may be at the same trial, and a role need not be able
to delete.
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
#: A place that has passed is believed for so long.
BELIEVED_SECONDS = 300.0
#: What a place needs, by the names in its URIs: for files, and for folders that have to be listed.
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
    """The storage forbids what is needed. A policy can be changed while the video is still to be had, and takes a
    moment to reach all servers, so a retry may help.
    """


def is_denied(error: BaseException) -> bool:
    """Say whether a storage answered "forbidden": each file system of fsspec has its own way to say so."""
    # s3fs; adlfs and the HTTP clients below the others; gcsfs.
    status = getattr(error, "status_code", getattr(error, "code", None))
    forbidden = isinstance(error, OSError) and str(error).startswith("Forbidden")
    return isinstance(error, PermissionError) or status in (403, "403") or forbidden


def needed(fs: Any, *, to_list: bool = False) -> str:
    """Return the permissions that a place in this storage needs, for people."""
    for names, files, folders in NEEDS:
        if protocols(fs) & names:
            return folders if to_list else files
    return "permission to list" if to_list else "permission to write and to read"


def prove(fs: Any, folder: str, uri: str) -> None:
    """Find out by a trial whether files can be written into a folder and read back.

    :param folder: inside ``fs``, without a slash at its end.
    :param uri: the same for people.
    :raises DeniedError: when the storage forbids it.
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
