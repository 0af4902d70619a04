from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_apimart.client.errors import InvalidVideoError, LandingError, VideoTooLargeError
from airflow_provider_apimart.generation.landing import claims, landing
from airflow_provider_apimart.generation.landing.download import Downloader
from airflow_provider_apimart.generation.landing.landing import already_landed, land
from airflow_provider_apimart.generation.landing.sidecars import sidecar_of
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage import files
from airflow_provider_apimart.storage.files import Target, commit_bytes, video_targets
from tests.generation.landing.fetching import fetch
from tests.generation.landing.media_files import HEIGHT, WIDTH, mp4
from tests.generation.landing.media_server import MediaServer, Serve, endless, status
from tests.storage.object_store import Store, store
from tests.storage.places import local

__all__ = ["fetch", "store"]

VIDEO = mp4(noise=True)
OTHER = mp4(2, audio=False)


@pytest.fixture(autouse=True)
def _no_proxy(fetch: Any) -> None:
    """Everything here starts without proxies."""


def provenance(generation_id: str = "g", **airflow: Any) -> dict[str, Any]:
    whose = {"dag_id": "d", "run_id": "r1", "task_id": "t", "map_index": -1, "try_number": 1, **airflow}
    return {"generation_id": generation_id, "model": "veo", "prompt": "a fox, ü", "airflow": whose}


def run(answer: Any, target: Target, made: dict[str, Any] | None = None, **options: Any) -> LandedVideo:
    options = {"max_bytes": 10**9, "refresh": lambda: None, **options}
    with MediaServer(answer) as media, Downloader(allow_private=True, sleep=lambda _: None) as downloader:
        return land(media.url(), target, downloader=downloader, provenance=made or provenance(), **options)


def sidecar(target: Target) -> dict[str, Any]:
    return dict(json.loads(sidecar_of(target).fs.cat_file(sidecar_of(target).path)))


@pytest.fixture
def unconditional() -> Iterator[None]:
    """A store of which nobody knows conditional writes. Not undone with what a test itself changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "conditional_writes", lambda _: None)
        yield


@pytest.fixture(params=["local", "memory", "s3", "s3, conditions ignored"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "local":
        return local(f"{tmp_path}/out/")
    if request.param == "memory":
        return Target(MemoryFileSystem(global_store=False, skip_instance_cache=True), "/out/", "memory://out/")
    if request.param == "s3, conditions ignored":
        request.getfixturevalue("unconditional")
    return request.getfixturevalue("store").target("out/")  # type: ignore[no-any-return]


def test_landed_whole_with_its_sidecar(folder: Target) -> None:
    (target,) = video_targets(folder, "g", 1)
    assert already_landed(target, "g", 1) is None
    video = run(Serve(VIDEO), target)
    assert video.sha256 == hashlib.sha256(VIDEO).hexdigest() and abs(video.duration_seconds - 1) < 0.1
    assert folder.fs.cat_file(target.path) == VIDEO
    written = sidecar(target)
    assert written.pop("video") == {
        "path": target.uri,
        "bytes": len(VIDEO),
        "sha256": video.sha256,
        "duration_seconds": video.duration_seconds,
        "width": WIDTH,
        "height": HEIGHT,
        "has_audio": True,
        "sample": 1,
    }
    assert written == {"schema": 1, **provenance(), "mismatches": None}
    assert already_landed(target, "g", 1) == video
    assert len(folder.fs.ls(folder.path.rstrip("/"), detail=False)) == 2


def test_every_sample_lands_and_is_found_again(folder: Target) -> None:
    targets = video_targets(folder, "g", 2)
    videos = [
        run(Serve(data), target, sample=number)
        for number, (data, target) in enumerate(zip([VIDEO, OTHER], targets, strict=True), 1)
    ]
    assert [already_landed(target, "g", number) for number, target in enumerate(targets, 1)] == videos
    assert already_landed(targets[0], "g", 2) is None


def test_what_is_not_that_video_whole_is_not_taken_for_it(folder: Target) -> None:
    (target,) = video_targets(folder, "g", 1)
    video = run(Serve(VIDEO), target)
    assert already_landed(target, "other", 1) is None
    written = sidecar(target)
    for damaged in (VIDEO[:-1], VIDEO[:-1] + b"\x00" if VIDEO[-1] else VIDEO[:-1] + b"\x01"):
        commit_bytes(target, damaged)
        assert already_landed(target, "g", 1) is None
    folder.fs.rm_file(target.path)
    assert already_landed(target, "g", 1) is None
    commit_bytes(target, VIDEO)
    assert already_landed(target, "g", 1) == video
    spoiled = [b"", b"null", b"[" * 100_000, b"{}", b'{"generation_id": "g"}', b"\xff", b'{"a": 1}' * 200_000]
    spoiled.append(json.dumps({**written, "video": {"sample": 1, "bytes": "many"}}).encode())
    for data in spoiled:
        commit_bytes(sidecar_of(target), data)
        assert already_landed(target, "g", 1) is None


def test_the_signed_url_is_not_written_down(tmp_path: Path) -> None:
    target = local(tmp_path / "clip.mp4")
    run(Serve(VIDEO), target)
    assert "s3cret" not in (tmp_path / "clip.mp4.json").read_text()


@pytest.mark.parametrize(
    ("answer", "options", "error"),
    [
        (status(200, b"<!DOCTYPE html><p>Sorry"), {}, InvalidVideoError),
        (Serve(VIDEO[:-100]), {}, InvalidVideoError),
        (Serve(VIDEO, headers={"Content-Length": str(len(VIDEO) - 100)}), {}, InvalidVideoError),
        (Serve(VIDEO[:-100], headers={"Content-Length": None}), {}, InvalidVideoError),
        (Serve(VIDEO, headers={"Content-Length": str(len(VIDEO) + 100)}), {}, LandingError),
        (Serve(VIDEO), {"max_bytes": 1000}, VideoTooLargeError),
        (endless, {"max_bytes": 1_000_000}, VideoTooLargeError),
        (status(500), {}, LandingError),
    ],
)
def test_nothing_less_than_a_whole_video_appears(
    tmp_path: Path, answer: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"old")
    with pytest.raises(error):
        run(answer, local(tmp_path / "clip.mp4"), **options)
    assert os.listdir(tmp_path) == ["clip.mp4"] and (tmp_path / "clip.mp4").read_bytes() == b"old"


def test_earlier_generations_and_other_runs_are_replaced(folder: Target) -> None:
    target = folder.child("clip.mp4")
    for made in (provenance("g1"), provenance("g2", try_number=2), provenance("g3", run_id="r2", task_id="other")):
        assert run(Serve(VIDEO), target, made).path == target.uri
        assert sidecar(target)["generation_id"] == made["generation_id"]
    assert len(folder.fs.ls(folder.path.rstrip("/"), detail=False)) == 2


@pytest.mark.parametrize("other", [{"map_index": 1}, {"task_id": "t2"}, {"row": 7}])
def test_the_video_of_another_task_of_the_run_is_kept(
    folder: Target, other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    target = folder.child("clip.mp4")
    first = run(Serve(VIDEO), target, provenance("g1"))
    with caplog.at_level(logging.WARNING):
        second = run(Serve(OTHER), target, provenance("g2", **other))
    assert second.path == folder.child("clip-g2.mp4").uri and "output_path" in caplog.text
    assert already_landed(target, "g1", 1) == first
    assert already_landed(target, "g2", 1) == second
    assert folder.fs.cat_file(target.path) == VIDEO


def test_a_name_that_the_user_cleared_is_free_again(tmp_path: Path) -> None:
    target = local(tmp_path / "clip.mp4")
    run(Serve(VIDEO), target, provenance("g1"))
    (tmp_path / "clip.mp4").unlink()
    assert run(Serve(OTHER), target, provenance("g2", map_index=1)).path == target.uri


@pytest.mark.parametrize("folder", ["memory", "s3, conditions ignored"], indirect=True)
@pytest.mark.parametrize("moment", ["before the commit", "after the commit", "after the sidecar"])
def test_a_rival_that_comes_at_the_last_moment(folder: Target, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock: the rival finds the name free too, and lands on it between two steps of ours."""
    target = folder.child("clip.mp4")
    rival: list[LandedVideo] = []
    commit, write = files._RemoteStaged.commit, landing.commit_bytes

    def come() -> None:
        monkeypatch.undo()
        with monkeypatch.context() as blind:
            blind.setattr(landing, "rival_of", lambda *_: None)
            rival.append(run(Serve(OTHER), target, provenance("g2", map_index=1)))

    def late_commit(staged: Any, place: Target, taken: Any = lambda: False) -> bool:
        done: bool = commit(
            staged, place, lambda: bool(come() or taken()) if moment == "before the commit" else taken()
        )
        if moment == "after the commit":
            come()
        return done

    def late_write(place: Target, data: bytes, *, writer: str) -> None:
        write(place, data, writer=writer)
        come()

    if moment == "after the sidecar":
        monkeypatch.setattr(landing, "commit_bytes", late_write)
    else:
        monkeypatch.setattr(files._RemoteStaged, "commit", late_commit)
    mine = run(Serve(VIDEO), target, provenance("g1"))
    assert mine.path == folder.child("clip-g1.mp4").uri
    assert already_landed(target, "g1", 1) == mine
    assert already_landed(target, "g2", 1) == rival[0]


def test_tasks_that_land_on_one_name_at_once_lose_nothing(tmp_path: Path) -> None:
    target, results = local(tmp_path / "clip.mp4"), []
    start = threading.Barrier(8)

    def one(index: int) -> None:
        start.wait()
        results.append(run(Serve([VIDEO, OTHER][index % 2]), target, provenance(f"g{index}", map_index=index)))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({video.path for video in results}) == 8
    assert all(already_landed(target, f"g{index}", 1) in results for index in range(8))
    assert len(os.listdir(tmp_path)) == 16


def test_storage_that_fails_says_which_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LandingError, match=r"file/clip\.mp4 could not be written"):
        run(Serve(VIDEO), local(tmp_path / "file" / "clip.mp4"))


def test_full_disk_while_fetching_is_not_taken_for_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("airflow_provider_apimart.generation.landing.resumable.ResumableFile.write", full)
    with pytest.raises(LandingError, match="No space left"):
        run(Serve(VIDEO), local(tmp_path / "clip.mp4"))
    assert os.listdir(tmp_path) == []


def test_progress_is_reported(tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    run(Serve(VIDEO), local(tmp_path / "clip.mp4"), on_progress=lambda *step: steps.append(step))
    assert steps[-1] == (len(VIDEO), len(VIDEO)) and steps == sorted(steps)


@pytest.mark.parametrize("named", [False, True], ids=["anonymous", "named"])
def test_killed_at_every_step(tmp_path: Path, named: bool) -> None:
    """After every kill the name holds a whole video or none; after the retry there is the video, and nothing else."""
    whole = hashlib.sha256(VIDEO).hexdigest()
    with MediaServer(Serve(VIDEO)) as media:
        rounds = killing(media.url(), tmp_path / "new" / "clip.mp4", tmp_path / "none", named=named)
    assert [each["ended"] for each in rounds] == [-signal.SIGKILL] * (len(rounds) - 1) + [0]
    assert len(rounds) > 15
    for each in rounds:
        assert each["killed"]["sha256"] in (None, whole)
        assert each["retry_ended"] == 0
        assert each["retried"] == {"names": ["clip.mp4", "clip.mp4.json"], "sha256": whole, "landed": True}
    # The kill between the video and its sidecar, and those that left a part, must have been among them. A file without
    # a name leaves one only where it has just got its name.
    assert any(each["killed"]["sha256"] == whole and "clip.mp4.json" not in each["killed"]["names"] for each in rounds)
    left = sum(name.endswith(".part") for each in rounds for name in each["killed"]["names"])
    assert left > 4 if named else 1 <= left <= 4


def test_killed_at_every_step_while_replacing(tmp_path: Path) -> None:
    old = tmp_path / "old"
    run(Serve(OTHER), local(old / "clip.mp4"), provenance("g0"))
    both = {hashlib.sha256(data).hexdigest() for data in (OTHER, VIDEO)}
    with MediaServer(Serve(VIDEO)) as media:
        rounds = killing(media.url(), tmp_path / "new" / "clip.mp4", old)
    assert {each["killed"]["sha256"] for each in rounds} == both
    for each in rounds:
        assert each["retried"] == {
            "names": ["clip.mp4", "clip.mp4.json"],
            "sha256": hashlib.sha256(VIDEO).hexdigest(),
            "landed": True,
        }


def killing(url: str, path: Path, old: Path, *, named: bool = False) -> list[dict[str, Any]]:
    command = [sys.executable, "-W", "error", "-m", "tests.generation.landing.killing", url, str(path), str(old)]
    root = Path(__file__).parents[3]
    env = {**os.environ, **({"NAMED_PARTS": "1"} if named else {})}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_s3_killed_between_video_and_sidecar_is_landed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    target = store.target("clip.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(claims.Claim, "_put_sidecar", die)
        with pytest.raises(Killed):
            run(Serve(VIDEO), target)
    assert store.names() == ["clip.mp4"] and already_landed(target, "g", 1) is None
    video = run(Serve(VIDEO), target)
    assert store.names() == ["clip.mp4", "clip.mp4.json"] and already_landed(target, "g", 1) == video


def test_only_one_reader_of_the_staged_file(tmp_path: Path) -> None:
    """What is checked is what is committed: the container is read from the very file that gets the name."""
    seen: list[bytes] = []
    original = landing.read_mp4

    def spy(file: io.BufferedRandom, size: int) -> Any:
        file.seek(0)
        seen.append(file.read())
        return original(file, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "read_mp4", spy)
        run(Serve(VIDEO), local(tmp_path / "clip.mp4"))
    assert seen == [(tmp_path / "clip.mp4").read_bytes()]
