"""Killed at every boundary, with answers lost and lied about, a post is public once, or a refusal says where to look.

A death is an exception that nothing catches. Counted is what the emulated world has seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator import Emulator
from tests.crash.publishing import DATA, Ending, Post1

pytestmark = pytest.mark.crash

#: The steps of each service that a post passes, and where an answer can get lost.
STEPS = {
    "youtube": ("token", "channels", "start", "upload", "videos", "update", "playlist_add"),
    "instagram": ("account", "limit", "container", "upload", "status", "publish", "media"),
    "webhook": ("delivery",),
}
#: How the world is while a process is dead.
WORLDS: dict[str, list[dict[str, Any]]] = {
    "as it was": [],
    "session gone": [{"service": "youtube", "kind": "expire"}],
    "session gone, never listed": [
        {"service": "youtube", "kind": "expire"},
        {"service": "youtube", "kind": "never_listed"},
    ],
    "no file names": [
        {"service": "youtube", "kind": "expire"},
        {"service": "youtube", "kind": "no_file_name"},
    ],
    "reads fail for a while": [
        {"service": "instagram", "kind": "status", "step": "status", "status": 400, "code": 100, "subcode": 33}
    ],
    "a second publication is taken": [{"service": "instagram", "kind": "publishes_twice"}],
}
LIVES: Counter[str] = Counter()


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator
    total = LIVES["posts"]
    print(f"\npublish matrix: {total} posts, {LIVES['lives']} lives, {LIVES['refused']} honest stops")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("posts") / "clip.mp4"
    path.write_bytes(DATA)
    return path


def public(emulator: Emulator, kind: str) -> int:
    return len(emulator.posts(kind))


def once(emulator: Emulator, post: Post1, *, at_most: int = 1) -> Ending:
    """Let a post live to its end: it is public once, or it is refused with a word where to look."""
    ending = post.whole()
    seen = public(emulator, post.kind)
    where = f"{post.kind}, killed at {[ending.boundaries[at] for at in post.kill_at if at < len(ending.boundaries)]}"
    assert seen <= at_most, f"{seen} times public: {where}"
    if ending.kept:
        assert seen == at_most, where
    else:
        assert "apm-" in ending.refusal or "account" in ending.refusal, f"{where}: {ending.refusal}"
        assert "Nothing was posted" in ending.refusal or "not public" in ending.refusal, ending.refusal
    LIVES.update(posts=1, lives=ending.lives, refused=not ending.kept)
    return ending


def boundaries(emulator: Emulator, path: Path, kind: str) -> list[str]:
    emulator.reset()
    post = Post1(emulator, path, kind, "whole")
    ending = once(emulator, post)
    assert ending.kept and ending.lives == 1
    return ending.boundaries


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("world", WORLDS)
def test_killed_at_every_boundary(emulator: Emulator, path: Path, kind: str, world: str) -> None:
    conditions = WORLDS[world]
    if conditions and all(fault["service"] != kind for fault in conditions):
        pytest.skip("this world is the other service's")
    refused = 0
    points = boundaries(emulator, path, kind)
    for at in range(len(points)):
        emulator.reset()

        def change(post: Post1) -> None:
            for fault in conditions:
                if fault["kind"] == "expire":
                    emulator.expire_uploads()
                else:
                    emulator.publish_fault(**fault)

        post = Post1(emulator, path, kind, f"run-{at}", kill_at=frozenset({at}), on_death=change)
        refused += not once(emulator, post).kept
    assert refused == 0, f"{refused} of {len(points)} were stopped although the world could be asked"


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 503, "executed": True},
        {"kind": "broken"},
        {"kind": "cut", "bytes": 100_000},
    ],
    ids=["nothing done", "answer lost", "503", "503 after the effect", "broken JSON", "cut"],
)
def test_a_wrong_answer_at_every_step(emulator: Emulator, path: Path, kind: str, fault: dict[str, Any]) -> None:
    for step in STEPS[kind]:
        if fault["kind"] == "cut" and step != "upload":
            continue
        emulator.reset()
        emulator.publish_fault(kind, step=step, **fault)
        assert once(emulator, Post1(emulator, path, kind, f"{step}-{fault['kind']}")).kept, step


@pytest.mark.parametrize("kind", STEPS)
def test_killed_twice(emulator: Emulator, path: Path, kind: str) -> None:
    points = boundaries(emulator, path, kind)
    for at in range(0, len(points), 2):
        emulator.reset()
        post = Post1(emulator, path, kind, f"twice-{at}", kill_at=frozenset({at, at + 4, at + 9}))
        assert once(emulator, post).kept


@pytest.mark.parametrize("kind", STEPS)
def test_a_lost_answer_and_a_death(emulator: Emulator, path: Path, kind: str) -> None:
    """The answer of the step that matters is lost, and the process dies at any point after it."""
    points = boundaries(emulator, path, kind)
    for step in ("upload", "update", "publish", "delivery"):
        if step not in STEPS[kind]:
            continue
        for at in range(len(points)):
            emulator.reset()
            emulator.publish_fault(kind, "drop_after", step)
            assert once(emulator, Post1(emulator, path, kind, f"{step}-{at}", kill_at=frozenset({at}))).kept


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("listed", ["at once", "late"])
def test_a_record_that_is_lost_with_the_process(emulator: Emulator, path: Path, kind: str, listed: str) -> None:
    """YouTube is asked for the marker, and a receiver knows the message's id. Instagram's containers have no name."""
    if listed == "late" and kind != "youtube":
        pytest.skip("only YouTube has a list")
    points = boundaries(emulator, path, kind)
    for at in range(len(points)):
        emulator.reset()

        def forget(post: Post1) -> None:
            if listed == "late":
                emulator.publish_fault("youtube", "never_listed")

        post = LateList(emulator, path, kind, "lost", durable=False, kill_at=frozenset({at}), on_death=forget)
        assert once(emulator, post).kept is (kind != "instagram"), points[at]


class LateList(Post1):
    """A post whose video is listed only after some minutes."""

    def life(self) -> tuple[bool, str]:
        if self.lost_at is not None and self.time >= self.lost_at + timedelta(minutes=8):
            self.emulator.clear_publish_faults()
        return super().life()


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("on_clear", ["reuse", "repost"])
def test_a_clear_at_every_boundary(emulator: Emulator, path: Path, kind: str, on_clear: str) -> None:
    points = boundaries(emulator, path, kind)
    for at in range(0, len(points), 3):
        emulator.reset()

        def clear(post: Post1) -> None:
            post.clear_epoch += 1

        post = Post1(
            emulator, path, kind, f"{on_clear}-{at}", kill_at=frozenset({at}), on_death=clear, on_clear=on_clear
        )
        ending = post.whole()
        assert ending.kept
        # Before it was public, a clear with "repost" finds nothing that it could repeat.
        assert public(emulator, kind) <= (1 if on_clear == "reuse" else 2)


@pytest.mark.parametrize("kind", STEPS)
def test_a_file_that_changes_while_the_process_is_dead(emulator: Emulator, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(DATA)
    points = boundaries(emulator, path, kind)
    for at in range(0, len(points), 2):
        emulator.reset()
        path.write_bytes(DATA)

        def change(post: Post1) -> None:
            post.path.write_bytes(DATA[:-1] + b"?")

        post = Post1(emulator, path, kind, f"changed-{at}", kill_at=frozenset({at}), on_death=change)
        ending = post.whole()
        assert ending.kept or "the file has changed" in ending.refusal
        for seen in emulator.publishing()["posts"]:
            assert seen["sha256"] in (None, post_sha256()), "bytes that were not landed are public"
        assert public(emulator, kind) <= 1


def post_sha256() -> str:
    import hashlib

    return hashlib.sha256(DATA).hexdigest()


def test_two_tries_at_once(emulator: Emulator, path: Path) -> None:
    """While a try stands still at any boundary, the next one lives to its end: what they share is the record.

    Only within a save is nothing checked: a store without a compare-and-swap cannot (docs/publishing.md).
    """
    points = boundaries(emulator, path, "youtube")
    for at, point in enumerate(points):
        if point.startswith("before save"):
            continue
        emulator.reset()
        Zombie(emulator, path, "youtube", "zombie", at=at).whole()
        assert public(emulator, "youtube") == 1, point


@dataclass
class Zombie(Post1):
    """A try that stands still at a boundary while another one lives to its end."""

    at: int = 0
    stood_still: bool = False

    def pass_by(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) - 1 == self.at and not self.stood_still:
            self.stood_still = True
            other = Post1(self.emulator, self.path, self.kind, self.run_id, record=self.record)
            assert other.whole().kept
            self.record = other.record
