"""Killed at every step of an approval's life: what is paid for and what is decided stays right.

With ``CRASH_MATRIX=full`` in the environment at all of them, else at some. A step is whatever leaves a trace outside
the process: the case's and the take's record, every call to APIMart, every file that is committed, every XCom. The
process dies before it and after it, once at each, and Airflow retries.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks import decisions as decisions_module
from airflow_provider_apimart.hooks.stores.model_stores import ObjectModelStore, TaskStateModelStore
from airflow_provider_apimart.operators.approval import VideoApprovalOperator
from tests.crash.running import quick_videos
from tests.operators.approval.conftest import STORES
from tests.operators.approval.desk import Desk, Ti, decisions
from tests.operators.conftest import Tries
from tests.operators.single import make as make_generate

#: What a life must have crossed at the least, or the instruments have come loose.
EXPECTED = {"save", "load", "submission", "file", "xcom", "asked"}


class Killed(BaseException):
    """The process is gone. No ``except Exception`` sees it."""


class Steps:
    """Counts the steps of a life, and dies at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kill: int | None = None
        self.crossed: list[str] = []
        for store in (TaskStateModelStore, ObjectModelStore):
            for name in ("load", "save"):
                monkeypatch.setattr(store, name, self._around(name, getattr(store, name)))
        monkeypatch.setattr(Ti, "xcom_push", self._around("xcom", Ti.xcom_push))
        monkeypatch.setattr(Desk, "_upsert", self._around("asked", Desk._upsert))
        monkeypatch.setattr(decisions_module, "commit_bytes", self._around("file", decisions_module.commit_bytes))
        once = ApimartClient._send_once

        def send_once(client: ApimartClient, call: Any) -> Any:
            return self._around(call.what, lambda: once(client, call))()

        monkeypatch.setattr(ApimartClient, "_send_once", send_once)

    def _around(self, label: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._cross(f"before {label}")
            found = original(*args, **kwargs)
            self._cross(f"after {label}")
            return found

        return wrapper

    def _cross(self, label: str) -> None:
        self.crossed.append(label)
        if len(self.crossed) - 1 == self.kill:
            raise Killed


class Person:
    """Wants two more takes, then approves the second video or rejects all. Does not remember what was asked before."""

    def __init__(self, ends: str) -> None:
        self.ends = ends

    def answer(self, desk: Desk) -> Any:
        takes = desk.told["takes"]
        if takes < 3:
            return desk.answer("Another take")
        return desk.answer("Approve", video="2", title="Best") if self.ends == "approved" else desk.answer("Reject")


def live(desk: Desk, person: Person) -> Any:
    """Let the task live until it ends, with a retry after each death."""
    step: Callable[[], Any] = desk.begin
    for _ in range(40):
        try:
            found = step()
        except Killed:
            step = desk.begin
            continue
        if found == "asked":
            step = lambda: person.answer(desk)  # noqa: E731
        elif found == "take under way":
            step = desk.take
        else:
            return found
    raise AssertionError("it does not end")


@pytest.fixture
def life(
    emulator: Emulator, no_waiting: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Returns what lives one life, killed at a step, in a folder of its own."""
    count = 0
    # Nothing here looks at a video's chunks.
    quick_videos(monkeypatch, padding=64)

    def one(ends: str, store: bool, kill: int | None) -> tuple[Any, Desk, list[str], int]:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        with monkeypatch.context() as patch:
            generate = make_generate(folder, seed=41, prompt=f"life {count}")
            generated = json.loads(json.dumps(generate.execute(Tries().next(generate))))
            paid = emulator.state()["paid"]
            values = {"task_id": f"approve_{count}", "video": generated, "title": "A cat", "max_takes": 3}
            steps = Steps(patch)
            steps.kill = kill
            desk = Desk(lambda: VideoApprovalOperator(**values), patch, store=store)
            found = live(desk, Person(ends))
            return found, desk, steps.crossed, emulator.state()["paid"] - paid

    yield one


@pytest.mark.parametrize("store", STORES, ids=lambda kept: "state store" if kept else "beside")
@pytest.mark.parametrize("ends", ["approved", "rejected"])
def test_killed_at_every_step(life: Callable[..., Any], ends: str, store: bool) -> None:
    whole, _, steps, paid = life(ends, store, None)
    assert {step.split()[1] for step in steps} >= EXPECTED
    assert paid == 2
    check(whole, _, ends)
    kills = range(len(steps))
    if os.environ.get("CRASH_MATRIX") != "full":
        # Some of them, other ones for each plan.
        plans = [(e, s) for e in ("approved", "rejected") for s in (True, False)]
        kills = kills[3 * plans.index((ends, store)) :: 13]
    wrong = []
    for kill in kills:
        found, desk, crossed, paid = life(ends, store, kill)
        try:
            assert paid == 2, f"{paid} takes were paid for"
            check(found, desk, ends)
        except AssertionError as error:
            wrong.append((kill, crossed[kill], str(error)[:200]))
    assert wrong == []


def check(found: Any, desk: Desk, ends: str) -> None:
    """Compare with what the person wanted."""
    videos = desk.told["videos"]
    assert len(videos) == 3
    last = [decisions(video["path"])[-1]["decision"] for video in videos]
    if ends == "approved":
        assert found["chosen"] == 2 and found["title"] == "Best", found
        assert last == ["another_take", "approved", "another_take"]
        assert found["videos"][0]["path"] == videos[1]["path"]
    else:
        assert str(found).startswith("skipped: "), found
        assert last == ["rejected", "rejected", "rejected"]
    assert all([line["decision"] for line in decisions(video["path"])].count("rejected") <= 1 for video in videos)
