"""Who pays for what: the fingerprint of a request and the idempotency key of a generation.

Invariant 1: the next try computes the same key. So a key is made of what a try cannot change (dag, run, task, map
index, row), the clear epoch, the number of the generation and the body. It never depends on a try number, a clock or a
random number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Identity:
    """One place in a DAG run that asks for one video.

    :param clear_epoch: stands for how often the task was cleared, from Airflow's own counters: any number that stays
        the same across retries and changes with a clear.
    :param row: the row of a batch, else empty.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    clear_epoch: int = 0
    row: str = ""

    @property
    def place(self) -> dict[str, str | int]:
        """The names of this place, for records and sidecars."""
        names: dict[str, str | int] = {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
        }
        return {**names, "row": self.row} if self.row else names

    @property
    def slug(self) -> str:
        """A short name of this place, the same in every try and every epoch; safe in a path."""
        return _digest([self.dag_id, self.run_id, self.task_id, self.map_index, self.row])[:32]


def fingerprint(body: Mapping[str, Any]) -> str:
    """Return a hash of the body that identifies the request. Checksums take the place of uploaded images."""
    return _digest(body)


def idempotency_key(identity: Identity, *, epoch: int, number: int, fingerprint: str) -> str:
    """Return the ``Idempotency-Key`` of the ``number``-th generation of a request: 76 visible ASCII characters.

    :param epoch: the clear epoch that pays for it (see :func:`.decide.decide`).
    """
    place = [identity.dag_id, identity.run_id, identity.task_id, identity.map_index, identity.row]
    return f"airflow-veo-{_digest([*place, epoch, number, fingerprint])}"


def account_mark(base_url: str, api_key: str) -> str:
    """Return what distinguishes one API key and host from another: 32 bits of a hash, far too few to reveal the key."""
    return _digest([base_url, api_key])[:8]


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
