"""Changes a small JSON file that several tasks write at the same time.

On this machine a lock of the folder keeps the writers apart. Other storages have neither locks nor conditional writes
in common, so the file is read right before it is written and once more after it. What another task writes between the
two can still be lost, so such a file holds notes, never what a payment or a post depends on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_apimart.storage.files import Target, commit_bytes, exclusive, read_small

log = logging.getLogger(__name__)

ATTEMPTS = 4

#: Returns the parsed content of a file; ``None`` stands for no file. Raises if the content is not to be replaced.
Read = Callable[[bytes | None], dict[str, Any]]
#: Returns the new content, or ``None`` if the content already is as it should be.
Change = Callable[[dict[str, Any]], Mapping[str, Any] | None]


def rewrite(place: Target, limit: int, read: Read, change: Change) -> None:
    """Apply ``change`` to the content of a JSON file until a reader sees its effect.

    :param limit: the largest content, in bytes, that is read.
    """
    with exclusive(place):
        rewrite_unlocked(place, limit, read, change)


def rewrite_unlocked(place: Target, limit: int, read: Read, change: Change) -> None:
    """Do the same for a caller that holds the lock of the folder."""
    for _ in range(ATTEMPTS):
        new = change(read(read_small(place, limit)))
        if new is None:
            return
        commit_bytes(place, json.dumps(new, indent=2, ensure_ascii=False).encode() + b"\n")
    log.warning("%s: other tasks write it at the same time, so a line may be missing there.", place.uri)
