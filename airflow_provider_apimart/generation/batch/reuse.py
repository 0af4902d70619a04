"""Videos that exist already: this task's own, which are checked again, and those of other tasks under the same root.

The journals are the index: a line that says "landed" names the request's fingerprint. So no second index exists that
could disagree with them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from airflow_provider_apimart.generation.batch.journal import FOLDER, READERS, JournalWriter, read_journal
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.generation.purchase.record import RecordState
from airflow_provider_apimart.storage.files import Target, storage_errors, stored_size

Opener = Callable[[str], Target]
#: How many rows' files a thread looks at in turn, and how many are taken up before the next ones are.
IN_TURN = 16
QUEUED = READERS * IN_TURN


def note_lost(plan: Plan, ledger: Ledger, writer: JournalWriter, open_target: Opener, now: float) -> int:
    """Record which landed rows have lost a file since they landed; return how many."""
    slots = [slot for slot, row in ledger.rows.items() if row.state is RecordState.LANDED and not row.lost]
    lines = []
    landed = (ledger.rows[slot].landed or [] for slot in slots)
    for slot, whole in zip(slots, _whole(landed, open_target), strict=True):
        if not whole:
            row = ledger.rows[slot]
            line = {"row": slot, "state": "landed", "lost": True, "number": row.number, "epoch": row.epoch, "at": now}
            lines.append(line)
    writer.add(lines)
    ledger.fold(lines)
    return len(lines)


def note_reused(
    plan: Plan, ledger: Ledger, root: Target, writer: JournalWriter, open_target: Opener, now: float
) -> int:
    """Record which rows need not be paid for because another run has landed them under ``root``.

    :return: how many.
    """
    wanted = {}
    for row in plan.rows():
        slot = plan.index.slots[row.position]
        known = ledger.rows.get(slot)
        # If a row's generation was or may have been paid for, the row lands that video and reuses no other.
        free = (RecordState.REFUSED, RecordState.FAILED, RecordState.MODEL_GONE)
        if known is None or (known.state in free and not known.fallback_from):
            wanted[row.fingerprint] = slot
    if not wanted:
        return 0
    # A video may have been deleted and then made again by a later run, so every set of landed files is a candidate.
    found: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
    for journal in _other_journals(root, plan):
        for line in read_journal(journal):
            if line.get("fingerprint") in wanted and line["state"] == "landed" and line.get("landed"):
                files = tuple(str(video["path"]) for video in line["landed"])
                found.setdefault((line["fingerprint"], files), line)
    lines = []
    landed = (one["landed"] for one in found.values())
    for line, whole in zip(found.values(), _whole(landed, open_target), strict=True):
        if whole and line["fingerprint"] in wanted:
            slot = wanted.pop(line["fingerprint"])
            known = ledger.rows.get(slot)
            names = ("landed", "fingerprint", "generation_id", "submitted_at", "completed_at")
            lines.append(
                {
                    **{name: line[name] for name in names if name in line},
                    "row": slot,
                    "state": "landed",
                    "reused": True,
                    "number": known.number if known else 1,
                    "epoch": known.epoch if known else 0,
                    "at": now,
                }
            )
    writer.add(lines)
    ledger.fold(lines)
    return len(lines)


def _other_journals(root: Target, plan: Plan) -> list[Target]:
    """Return the journals of other tasks under a root; ``root`` is the folder of all state folders."""
    mine = plan.folder.sibling("").name
    with storage_errors(root, "read"):
        root.fs.invalidate_cache(root.path.rstrip("/"))
        try:
            found = root.fs.ls(root.path.rstrip("/"), detail=False)
        except FileNotFoundError:
            return []
    names = sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)
    return [root.child(name).child(FOLDER) for name in names if name != mine and not name.startswith(".")]


def _whole(videos: Iterable[list[dict[str, Any]]], open_target: Opener) -> Iterator[bool]:
    """Say for each list of videos whether all of them are in storage with their recorded sizes."""
    # A batch's videos are in a few folders. Opening a place takes longer than looking at a file on a local disk.
    folder = functools.lru_cache(maxsize=64)(open_target)

    def there(one: list[dict[str, Any]]) -> bool:
        return bool(one) and all(_size(str(video["path"])) == video["bytes"] for video in one)

    def _size(path: str) -> int | None:
        head, slash, name = path.rpartition("/")
        return stored_size(folder(f"{head}/").child(name) if head and slash else open_target(path))

    def all_there(some: list[list[dict[str, Any]]]) -> list[bool]:
        return [there(one) for one in some]

    waiting = iter(videos)
    with ThreadPoolExecutor(READERS, thread_name_prefix="apimart-look") as pool:
        while some := list(islice(waiting, QUEUED)):
            # One by one where they are few, so that they are looked at at once.
            step = max(1, min(IN_TURN, len(some) // READERS))
            for found in pool.map(all_there, (some[at : at + step] for at in range(0, len(some), step))):
                yield from found
