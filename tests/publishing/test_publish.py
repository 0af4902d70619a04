"""One post on a small network: killed, answered wrongly, limited and changed at every line. Counted is the oracle."""

from __future__ import annotations

import os
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import InvalidParameterError, LandingError
from airflow_provider_apimart.publishing.decide import Action
from airflow_provider_apimart.publishing.errors import TargetUnavailableError
from airflow_provider_apimart.publishing.record import PostState
from tests.publishing.world import DATA, KINDS, START, Interleaved, Killed, Kind, Life, World, ends, live

FULL = os.environ.get("CRASH_MATRIX") == "full"
FAULTS = ("unavailable", "lost", "late", "refused connection", "limit")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(DATA)
    return path


def boundaries(kind: Kind, path: Path) -> list[str]:
    """Return what a post passes if nothing goes wrong."""
    life = Life(World(kind), path, [])
    assert life.end() in ("kept", "waits")
    return life.passed


def once(world: World, ending: str, where: str, at_most: int = 1) -> None:
    assert len(world.posts) <= at_most, f"{len(world.posts)} times public: {where}"
    if ending == "kept":
        assert world.posts, f"kept, and not public: {where}"
    else:
        assert "Nothing was posted" in ending, f"{where}: {ending}"
        assert "apm-" in ending or "account" in ending, f"{where}: {ending}"
    if world.kind == "upload":
        assert all(content == DATA for _, _, content in world.posts), where


# --- the way without trouble -----------------------------------------------------------------------------------------


def test_the_order_of_what_is_saved_and_sent(path: Path) -> None:
    passed = [name for name in boundaries("upload", path) if not name.startswith("after ")]
    assert passed == [
        "before account",
        "before save intent",
        "before start",
        "before save session",
        "before upload",
        "before save armed",
        "before upload",
        "before save drafted",
        "before ask",
        "before save committing",
        "before commit",
        "before save public",
        "before ask",
        "before thumbnail",
        "before save public",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_post_that_is_public_is_kept(path: Path, kind: Kind) -> None:
    world, shelf = World(kind), list[str]()
    assert ends(world, path, shelf) == "kept"
    before = len(world.requests)
    for _ in range(3):
        assert ends(world, path, shelf, clear_epoch=1, trusted=False) == "kept"
    assert len(world.posts) == 1
    assert set(world.requests[before:]) <= {"account", "ask"}


# --- deaths and answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("session", ["alive", "gone"])
@pytest.mark.parametrize("listed", [timedelta(0), timedelta(minutes=5), None], ids=["at once", "late", "never"])
def test_a_death_at_every_line(path: Path, kind: Kind, session: str, listed: timedelta | None) -> None:
    for at, name in enumerate(boundaries(kind, path)):
        world, shelf = World(kind, listed_after=listed), list[str]()

        def make(number: int, at: int = at, world: World = world, shelf: list[str] = shelf) -> Life:
            if number and session == "gone":
                world.sessions.clear()
            return Life(world, path, shelf, kill_at=at if not number else None)

        ending = live(make)
        once(world, ending, name)
        assert ending == "kept", f"{name}: {ending}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_answer_and_a_death(path: Path, kind: Kind, fault: str) -> None:
    """One answer goes wrong, and the process dies at one line after it, or does not die."""
    count = len(boundaries(kind, path))
    requests = sum(name.startswith("before ") and "save" not in name for name in boundaries(kind, path))
    for number in range(requests):
        for at in [*range(0, count + 6, 1 if FULL else 3), None]:
            world, shelf = World(kind, faults={number: fault}), list[str]()
            ending = Life(world, path, shelf, kill_at=at).end()
            if ending in ("waits", "killed", "failed"):
                ending = ends(world, path, shelf)
            once(world, ending, f"{fault} at request {number}, killed at {at}")
            assert ending == "kept", f"{fault} at request {number}, killed at {at}: {ending}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["void token", "rejected"])
def test_a_refusal_at_every_request_is_told_and_a_clear_goes_on(path: Path, kind: Kind, fault: str) -> None:
    for number, op in enumerate(_requests(kind, path)):
        world, shelf = World(kind, faults={number: fault}), list[str]()
        ending = ends(world, path, shelf)
        if op == "thumbnail":
            assert ending == "kept"
        else:
            assert "the token is void" in ending or "not this one" in ending, op
        assert ends(world, path, shelf, clear_epoch=1) == "kept", op
        assert len(world.posts) == 1, op


def _requests(kind: Kind, path: Path) -> list[str]:
    world = World(kind)
    assert ends(world, path, []) == "kept"
    return world.requests


# --- the record is lost ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("listed", [timedelta(0), timedelta(minutes=5)], ids=["at once", "late"])
def test_a_record_that_is_lost_with_the_process(path: Path, kind: Kind, listed: timedelta) -> None:
    stops = 0
    for at, name in enumerate(boundaries(kind, path)):
        world, shelf, began = World(kind, listed_after=listed), list[str](), list[datetime]()

        def make(
            number: int,
            at: int = at,
            world: World = world,
            shelf: list[str] = shelf,
            began: list[datetime] = began,
        ) -> Life:
            if number == 1:
                shelf.clear()
                began.append(world.now)
            since = began[0] if began else None
            return Life(
                world, path, shelf, kill_at=None if number else at, trusted=not number, lost=bool(number), began=since
            )

        ending = live(make)
        once(world, ending, f"{name}: {ending}")
        stops += ending != "kept"
    # A container cannot be looked up, and publishing it twice makes two posts.
    assert bool(stops) is (kind == "container")


# --- clears ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_clear", ["reuse", "repost"])
def test_a_clear_at_every_line(path: Path, kind: Kind, on_clear: str) -> None:
    for at, name in enumerate(boundaries(kind, path)):
        for second in (None, at):
            world, shelf = World(kind), list[str]()
            cleared = {"clear_epoch": 1, "on_clear": on_clear}
            Life(world, path, shelf, kill_at=at, on_clear=on_clear).end()
            Life(world, path, shelf, kill_at=second, **cleared).end()
            ending = ends(world, path, shelf, **cleared)
            once(world, ending, name, at_most=2 if on_clear == "repost" else 1)
            assert ending == "kept", f"{name}: {ending}"


def test_each_clear_with_repost_posts_once_more(path: Path) -> None:
    for kind in KINDS:
        world, shelf = World(kind), list[str]()
        for epoch in (0, 0, 1, 1, 2):
            assert ends(world, path, shelf, clear_epoch=epoch, on_clear="repost") == "kept"
        assert len(world.posts) == 3
        assert len({marker for _, marker, _ in world.posts}) == 3


def test_a_clear_that_was_answered_with_reuse_is_not_counted_later(path: Path) -> None:
    world, shelf = World("upload"), list[str]()
    assert ends(world, path, shelf) == "kept"
    assert Life(world, path, shelf, clear_epoch=1).end() == "kept"
    assert Life(world, path, shelf, clear_epoch=1, on_clear="repost").end() == "kept"
    assert len(world.posts) == 1


# --- a post key spans runs -------------------------------------------------------------------------------------------


def keyed(world: World, path: Path, shelf: list[str], run_id: str, **more: Any) -> Life:
    return Life(world, path, shelf, run_id=run_id, post_key="summer", **more)


def test_a_post_key_posts_once_in_all_runs(path: Path) -> None:
    for kind in KINDS:
        world, shelf = World(kind), list[str]()
        for run_id, epoch, posts in [("a", 0, 1), ("b", 0, 1), ("b", 1, 1), ("b", 5, 1), ("a", 1, 2), ("b", 6, 2)]:
            more = {"run_id": run_id, "clear_epoch": epoch, "on_clear": "repost"}
            assert ends(world, path, shelf, post_key="summer", **more) == "kept"
            assert len(world.posts) == posts, (kind, run_id, epoch)


def test_a_message_of_another_run_after_a_repost_has_a_mark_of_its_own(path: Path) -> None:
    """A receiver that knows the mark already would throw the message away."""
    world, shelf = World("message"), list[str]()
    assert keyed(world, path, shelf, "a").end() == "kept"
    again = keyed(world, path, shelf, "a", clear_epoch=1, on_clear="repost")
    again.kill_at = 5
    assert again.end() == "killed" and PostState.DRAFTED in shelf[0] and len(world.posts) == 1
    assert keyed(world, path, shelf, "b", title="A cat").end() == "kept"
    assert len(world.posts) == 2
    assert "A cat" in world.posts[1][2].decode()
    # The other run's own first clear is one more post, not the same.
    assert keyed(world, path, shelf, "b", title="A cat", clear_epoch=1, on_clear="repost").end() == "kept"
    assert len(world.posts) == 3


def test_another_video_under_the_same_key_is_never_taken_for_the_first(path: Path, tmp_path: Path) -> None:
    """The first video lies there as a private draft that the record does not know; the second one is looked for."""
    other = tmp_path / "other.mp4"
    other.write_bytes(b"abcdefghij")
    first = Life(World("upload"), path, [])
    assert first.end() == "kept"
    at = [n for n, name in enumerate(first.passed) if name == "after upload"][-1]
    for second_at in range(len(first.passed)):
        world, shelf = World("upload"), list[str]()
        assert keyed(world, path, shelf, "a", kill_at=at).end() == "killed"
        assert keyed(world, other, shelf, "b", data=b"abcdefghij", kill_at=second_at).end() == "killed"
        world.sessions.clear()
        ending = ends(world, other, shelf, run_id="b", post_key="summer", data=b"abcdefghij")
        assert ending == "kept"
        assert [content for _, _, content in world.posts] == [b"abcdefghij"], first.passed[second_at]


# --- what changes between tries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_another_account_at_every_line(path: Path, kind: Kind) -> None:
    for at, name in enumerate(boundaries(kind, path)):
        world, shelf = World(kind), list[str]()
        assert Life(world, path, shelf, kill_at=at).end() == "killed"
        world.account = "UC2"
        ending = ends(world, path, shelf)
        once(world, ending, name)
        if ending != "kept":
            assert "UC1" in ending and "UC2" in ending


@pytest.mark.parametrize("kind", KINDS)
def test_another_secret_at_every_line(path: Path, kind: Kind) -> None:
    for at, name in enumerate(boundaries(kind, path)):
        world, shelf = World(kind), list[str]()
        assert Life(world, path, shelf, kill_at=at).end() == "killed"
        ending = ends(world, path, shelf, secret="another")
        if ending == "Nothing was posted: the message cannot be read":
            assert kind == "message"
        else:
            once(world, ending, name)
            assert ending == "kept", name


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_changes_and_is_put_back(path: Path, kind: Kind) -> None:
    """What was sent of the changed file is not made part of the post later."""
    for at, name in enumerate(boundaries(kind, path)):
        world, shelf = World(kind), list[str]()
        path.write_bytes(DATA)
        assert Life(world, path, shelf, kill_at=at).end() == "killed"
        path.write_bytes(b"X" + DATA[1:5] + b"X" + DATA[6:])
        ending = ends(world, path, shelf)
        assert ending == "kept" or "the file has changed" in ending
        path.write_bytes(DATA)
        ending = ends(world, path, shelf, clear_epoch=1)
        once(world, ending, name)
        assert ending == "kept", name


def test_a_file_that_is_missing_or_cut_sends_nothing(path: Path) -> None:
    world = World("upload")
    path.write_bytes(DATA[:5])
    assert "Nothing" in Life(world, path, []).end() and world.requests == ["account"]
    path.unlink()
    with pytest.raises(LandingError, match="is not on this machine"):
        Life(world, path, []).end()
    assert set(world.requests) == {"account"}


# --- wrong input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_texts_are_refused_before_anything_is_sent(path: Path, kind: Kind) -> None:
    world = World(kind)
    with pytest.raises(InvalidParameterError):
        Life(world, path, [], title="A <dog>").advance()
    assert world.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_new_texts_are_refused_before_they_are_sent(path: Path, kind: Kind) -> None:
    for at, name in enumerate(boundaries(kind, path)):
        world, shelf = World(kind), list[str]()
        assert Life(world, path, shelf, kill_at=at).end() == "killed"
        sent = len(world.requests)
        try:
            standing = Life(world, path, shelf, title="A <dog>").advance()
        except InvalidParameterError:
            assert not {"start", "commit"} & set(world.requests[sent:]), name
        except Exception as error:
            # A message that may have been delivered is not replaced by another.
            assert "Nothing was posted" in str(error), name
        else:
            # It was public with the texts of then, or may be so.
            assert standing.decision.action in (Action.KEEP, Action.WAIT), name
            assert not {"start", "commit"} & set(world.requests[sent:]), name


# --- limits and pauses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [90.0, 1e6, 1e12, 1e300])
def test_a_target_that_asks_for_a_pause_of_any_length(path: Path, pause: float) -> None:
    class Slow(World):
        def handle(self, op: str, what: Any, body: bytes) -> Any:
            if op == "commit" and self.faults.pop("slow", None):
                raise TargetUnavailableError("busy", retry_after_seconds=pause)
            return super().handle(op, what, body)

    world, shelf = Slow("upload", faults={"slow": "once"}), list[str]()
    standing = Life(world, path, shelf).advance()
    assert standing.decision.action is Action.WAIT and standing.until is not None
    assert timedelta(0) < standing.until - START <= timedelta(days=8)
    assert Life(world, path, shelf).end() == "kept"
    assert len(world.posts) == 1


def test_a_service_that_never_answers_ends_the_try_and_not_the_post(path: Path) -> None:
    world, shelf = World("upload", faults={"commit": "unavailable"}), list[str]()
    assert Life(world, path, shelf).end() == "failed"
    assert PostState.COMMITTING in shelf[0]
    world.faults.clear()
    assert Life(world, path, shelf).end() == "kept"


def test_a_session_that_claims_more_bytes_than_there_are(path: Path) -> None:
    class Boasting(World):
        def _ask_session(self, what: Any, body: bytes) -> Any:
            return {"stored": 4711} if self.faults else super()._ask_session(what, body)

    world, shelf = Boasting("upload", faults={"nothing": "boast"}), list[str]()
    at = boundaries("upload", path).index("before upload")
    assert Life(world, path, shelf, kill_at=at).end() == "killed"
    assert Life(world, path, shelf).end() == "failed"
    world.faults.clear()
    assert ends(world, path, shelf) == "kept"
    assert [content for _, _, content in world.posts] == [DATA]


def test_nothing_catches_a_death(path: Path) -> None:
    with pytest.raises(Killed):
        Life(World("upload"), path, [], kill_at=0).advance()


# --- everything together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_many_lives_with_many_troubles(path: Path, kind: Kind) -> None:
    """Deaths, wrong answers, sessions that go, tries that stand still, clears and new texts, all by chance."""
    stops = 0
    seeds = 2000 if FULL else 120
    for seed in range(seeds):
        chance = random.Random(f"{kind}{seed}")
        world = World(kind, listed_after=timedelta(seconds=chance.choice((0, 30, 200))))
        shelf, clears, title = list[str](), 0, "A dog"
        for _ in range(chance.randrange(1, 7)):
            first = len(world.requests)
            world.faults = {first + chance.randrange(12): chance.choice(FAULTS) for _ in range(chance.randrange(3))}
            clears += chance.random() < 0.2
            title = chance.choice((title, title, "A cat"))
            life = Life(world, path, shelf, kill_at=chance.choice((None, chance.randrange(36))), clear_epoch=clears)
            life.title = title
            if chance.random() < 0.3:
                other = Life(world, path, shelf, clear_epoch=clears, title=title)
                Interleaved(life, other, chance.randrange(30), chance.choice((None, chance.randrange(30)))).run()
            else:
                life.end()
            if chance.random() < 0.3:
                world.sessions.clear()
            world.now += timedelta(seconds=chance.choice((0, 10, 100, 1000)))
        world.faults.clear()
        ending = ends(world, path, shelf, clear_epoch=clears, title=title)
        once(world, ending, f"seed {seed}: {ending}")
        stops += ending != "kept"
    print(f"{kind}: {seeds} posts, {stops} honest stops")
    # New texts after a message that may have been delivered are a stop that is meant.
    assert stops <= (seeds // 5 if kind == "message" else seeds // 50)
