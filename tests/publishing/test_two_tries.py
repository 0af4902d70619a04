"""Two tries of one post at once: each stands still or dies at any line while the other one goes on.

Within a save a try stands still only where the store can compare and swap (docs/publishing.md).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.publishing.world import DATA, KINDS, ComparingLife, Interleaved, Kind, Life, World, ends

#: Every so many lines of the second try; with CRASH_MATRIX=full in the environment every one.
STEP = 1 if os.environ.get("CRASH_MATRIX") == "full" else 5
SECOND: dict[str, dict[str, Any]] = {
    "the same": {},
    "other texts": {"title": "A cat"},
    "cleared with reuse": {"clear_epoch": 1},
    "cleared with repost": {"clear_epoch": 1, "on_clear": "repost"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("dies", [False, True], ids=["stands still", "dies"])
@pytest.mark.parametrize("made", [Life, ComparingLife])
def test_what_others_see(path: Path, kind: Kind, second: str, dies: bool, made: type[Life]) -> None:
    most = 2 if second == "cleared with repost" else 1
    i = 0
    while True:
        for j in range(i % STEP, 40, STEP):
            world, shelf = World(kind), list[str]()
            one, other = made(world, path, shelf), made(world, path, shelf, **SECOND[second])
            if dies:
                other.kill_at = j
            pair = Interleaved(one, other, i, None if dies else j)
            pair.run()
            if not pair.met[0]:
                assert i > 10
                return
            ending = ends(world, path, shelf, **SECOND[second])
            where = f"{one.passed[i]}, then {other.passed[j] if j < len(other.passed) else 'to the end'}: {ending}"
            assert 1 <= len(world.posts) <= most, f"{len(world.posts)} times public: {where}"
            assert ending == "kept", where
        i += 1


def test_two_runs_with_one_key_and_two_videos(path: Path, tmp_path: Path) -> None:
    """Only one of them is published, whichever it is, and the other one is refused."""
    other_path = tmp_path / "other.mp4"
    other_path.write_bytes(b"abcdefghij")
    for i in range(0, 30):
        for j in range(i % STEP, 30, STEP):
            world, shelf = World("upload"), list[str]()
            one = Life(world, path, shelf, run_id="a", post_key="summer")
            other = Life(world, other_path, shelf, run_id="b", post_key="summer", data=b"abcdefghij")
            Interleaved(one, other, i, j).run()
            endings = {
                ends(world, path, shelf, run_id="a", post_key="summer"),
                ends(world, other_path, shelf, run_id="b", post_key="summer", data=b"abcdefghij"),
            }
            assert len(world.posts) == 1, f"{i} {j}"
            assert "kept" in endings and any("another video" in ending for ending in endings), f"{i} {j} {endings}"
