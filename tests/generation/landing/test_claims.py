"""Landing in a store with conditional writes: who gets a name, how many requests that takes, what a crash leaves."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_apimart.generation.landing import claims, landing
from airflow_provider_apimart.generation.landing.landing import already_landed
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.conditional import s3
from airflow_provider_apimart.storage.conditional import writes as conditional
from airflow_provider_apimart.storage.conditional.stores import conditional_writes
from airflow_provider_apimart.storage.files import commit_bytes
from tests.generation.landing.landings import OTHER, VIDEO, Killed, delivered, made, run
from tests.storage.fake_s3 import Bucket, bucket

__all__ = ["bucket"]


def warm(bucket: Bucket) -> None:
    """Let the trial of this process be made, and forget its requests."""
    writes = conditional_writes(bucket.fs)
    assert writes is not None and writes.trusted(bucket.target("clip.mp4").path)
    assert bucket.names == [] and len(bucket.store.asked) == 5
    bucket.store.asked.clear()


def test_three_requests_a_video(bucket: Bucket) -> None:
    warm(bucket)
    delivered(VIDEO, bucket.target("clip.mp4"), made("g"))
    assert bucket.store.asked == [("GET", "clip.mp4.json"), ("PUT", "clip.mp4"), ("PUT", "clip.mp4.json")]
    assert already_landed(bucket.target("clip.mp4"), "g", 1) is not None


def test_three_requests_in_a_folder_even_for_the_first_video_of_a_process(bucket: Bucket) -> None:
    delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=True)
    assert bucket.store.asked == [("GET", "g.mp4.json"), ("PUT", "g.mp4"), ("PUT", "g.mp4.json")]
    assert bucket.store.objects["g.mp4"].headers["content-type"] == "video/mp4"


def test_five_requests_to_replace_an_earlier_video(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    warm(bucket)
    delivered(OTHER, bucket.target("clip.mp4"), made("g1"))
    bucket.store.asked.clear()
    with caplog.at_level(logging.WARNING):
        video = delivered(VIDEO, bucket.target("clip.mp4"), made("g2", run_id="r2"))
    assert [method for method, _ in bucket.store.asked] == ["GET", "GET", "HEAD", "PUT", "PUT"]
    assert video.path == "s3://videos/clip.mp4" and bucket.data("clip.mp4") == VIDEO and len(bucket.names) == 2
    assert "held the video of generation g1 (run r1)" in caplog.text


class InMemory(s3.S3Writes):
    """The same store without HTTP between, which takes 1,000 pairs in two seconds."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket.fs)
        self.store = bucket.store

    def trusted(self, path: str) -> bool:
        return True

    def put(self, path: str, file: Any, size: int, *, note: str = "", when: str = conditional.ANY, **_: Any) -> str:
        file.seek(0)
        condition = {} if when == conditional.ANY else {"if-none-match": "*"}
        if when not in (conditional.ANY, conditional.ABSENT):
            condition = {"if-match": when}
        kept = {"x-amz-meta-apimart": note}
        status, said = self.store.write(path.removeprefix("videos/"), file.read(), condition, kept)
        if status != 200:
            raise conditional.ChangedError(path)
        return said

    def look(self, path: str) -> conditional.Stored | None:
        found = self.store.objects.get(path.removeprefix("videos/"))
        return found and conditional.Stored(found.etag, len(found.data), found.headers["x-amz-meta-apimart"])

    def read(self, path: str, limit: int) -> conditional.Read | None:
        stored = self.look(path)
        return stored and conditional.Read(self.store.objects[path.removeprefix("videos/")].data, stored)


#: LANDING_PAIRS=1000 sends as many pairs over HTTP as well, for half a minute.
@pytest.mark.parametrize("pairs", [int(os.environ.get("LANDING_PAIRS", "60")), 1000], ids=["HTTP", "in memory"])
def test_a_thousand_pairs_at_once_lose_no_video(
    bucket: Bucket,
    pairs: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Both tasks of each pair have seen the name free, and write at the same time."""
    caplog.set_level(logging.ERROR)
    over_http = "HTTP" in request.node.name
    if over_http:
        warm(bucket)
    else:
        monkeypatch.setattr(landing, "conditional_writes", lambda _: InMemory(bucket))
    start = threading.Barrier(2)

    def one(writer: int) -> list[LandedVideo]:
        landed = []
        for pair in range(pairs):
            start.wait()
            name, data = bucket.target(f"{pair}.mp4"), (VIDEO, OTHER)[writer]
            landed.append(run(data, name, made(f"g{writer}", map_index=writer), seen=claims.Seen))
        return landed

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    for pair, (a, b) in enumerate(zip(first, second, strict=True)):
        name = f"s3://videos/{pair}.mp4"
        assert (a.path, b.path) in ((name, f"s3://videos/{pair}-g1.mp4"), (f"s3://videos/{pair}-g0.mp4", name))
        assert bucket.data(a.path.removeprefix("s3://videos/")) == VIDEO
        assert bucket.data(b.path.removeprefix("s3://videos/")) == OTHER
    if over_http:
        refused = bucket.store.asked.count(("HEAD", "0.mp4"))
        assert refused == 1, "nobody was refused the first name, so nothing was at the same time"
    assert len(bucket.store.written) == len(set(bucket.store.written)), "something was written twice"
    assert len(bucket.names) == 4 * pairs


@pytest.mark.parametrize("when", ["before the video", "after the video", "after the sidecar"])
@pytest.mark.parametrize("own_name", [False, True], ids=["fixed", "folder"])
def test_killed_between_two_writes(bucket: Bucket, when: str, own_name: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(bucket)
    target, put = bucket.target("g.mp4"), conditional.ConditionalWrites.put
    written: list[str] = []

    def dying(self: Any, path: str, *args: Any, **options: Any) -> str:
        if len(written) == ["before the video", "after the video", "after the sidecar"].index(when):
            raise Killed
        version = put(self, path, *args, **options)
        written.append(path)
        if len(written) == 2:
            raise Killed
        return version

    with monkeypatch.context() as patch:
        patch.setattr(conditional.ConditionalWrites, "put", dying)
        with pytest.raises(Killed):
            delivered(VIDEO, target, made("g"), own_name=own_name)
    there = {"before the video": [], "after the video": ["g.mp4"], "after the sidecar": ["g.mp4", "g.mp4.json"]}[when]
    assert bucket.names == there
    assert (already_landed(target, "g", 1) is not None) == (when == "after the sidecar")
    video = delivered(VIDEO, target, made("g"), own_name=own_name)
    assert video.path == target.uri and bucket.names == ["g.mp4", "g.mp4.json"]
    assert already_landed(target, "g", 1) == video and bucket.data("g.mp4") == VIDEO
    if not own_name:
        assert bucket.store.written.count("g.mp4") == 1, "its own video was not recognized"


@pytest.mark.parametrize("lost", ["clip.mp4", "clip.mp4.json"])
def test_a_lost_answer_is_asked_for_again_and_found_to_be_ours(bucket: Bucket, lost: str) -> None:
    warm(bucket)
    left = [lost]

    def lose(method: str, name: str) -> bool:
        return method == "PUT" and name in left and not left.remove(name)  # type: ignore[func-returns-value]

    bucket.store.lose = lose
    video = delivered(VIDEO, bucket.target("clip.mp4"), made("g"))
    assert left == [] and bucket.names == ["clip.mp4", "clip.mp4.json"]
    assert bucket.store.written.count("clip.mp4") == 1
    assert already_landed(bucket.target("clip.mp4"), "g", 1) == video


def test_the_same_bytes_of_another_task_are_not_ours(bucket: Bucket) -> None:
    warm(bucket)
    run(VIDEO, bucket.target("clip.mp4"), made("g1"))
    second = run(VIDEO, bucket.target("clip.mp4"), made("g2", task_id="other"), seen=claims.Seen)
    assert second.path == "s3://videos/clip-g2.mp4"


def test_a_rival_that_has_not_written_its_sidecar_yet_is_seen(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(bucket)
    with monkeypatch.context() as patch:
        patch.setattr(claims.Claim, "_put_sidecar", lambda *_: None)
        run(OTHER, bucket.target("clip.mp4"), made("g1"))
    assert bucket.names == ["clip.mp4"]
    assert delivered(VIDEO, bucket.target("clip.mp4"), made("g2", map_index=3)).path == "s3://videos/clip-g2.mp4"
    assert bucket.data("clip.mp4") == OTHER


def test_a_late_sidecar_of_a_replaced_video_does_not_stay(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run 1 has written its video; run 2 replaces it and is done; then comes the sidecar of run 1."""
    warm(bucket)
    target, write, second = bucket.target("clip.mp4"), claims.Claim._write_sidecar, []

    def late(self: Any, version: str) -> bool:
        monkeypatch.setattr(claims.Claim, "_write_sidecar", write)
        second.append(run(VIDEO, target, made("g2", run_id="r2")))
        return write(self, version)

    monkeypatch.setattr(claims.Claim, "_write_sidecar", late)
    first = run(OTHER, target, made("g1"))
    assert first.path == "s3://videos/clip-g1.mp4" and bucket.data("clip-g1.mp4") == OTHER
    assert already_landed(target, "g2", 1) == second[0] and already_landed(target, "g1", 1) == first


def test_a_sidecar_that_came_first_is_replaced_by_the_owner_of_the_video(bucket: Bucket) -> None:
    warm(bucket)
    target = bucket.target("clip.mp4")
    commit_bytes(target.sibling("clip.mp4.json"), b'{"generation_id": "g0"}')
    video = run(VIDEO, target, made("g"), seen=claims.Seen)
    assert already_landed(target, "g", 1) == video


def test_a_store_that_ignores_conditions_is_not_believed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.store.conditional = False
    ways: list[str] = []
    original = landing._commit
    monkeypatch.setattr(
        landing, "_commit", lambda *args, **options: ways.append("checked") or original(*args, **options)
    )
    first = run(OTHER, bucket.target("clip.mp4"), made("g1"))
    second = run(VIDEO, bucket.target("clip.mp4"), made("g2", map_index=1))
    assert ways == ["checked"] * 2
    assert (first.path, second.path) == ("s3://videos/clip.mp4", "s3://videos/clip-g2.mp4")
    assert bucket.data("clip.mp4") == OTHER and not [name for name in bucket.names if "check" in name]


def test_a_video_of_an_older_version_has_no_mark_and_is_judged_by_its_sidecar_and_its_bytes(bucket: Bucket) -> None:
    warm(bucket)
    target = bucket.target("clip.mp4")
    commit_bytes(target, VIDEO)
    assert run(VIDEO, target, made("g")).path == target.uri and bucket.store.written.count("clip.mp4") == 1
    bucket.store.objects["clip.mp4"].headers.clear()
    assert run(OTHER, target, made("g2", map_index=5)).path == "s3://videos/clip-g2.mp4"
    assert run(OTHER, target, made("g3", run_id="r2")).path == target.uri and bucket.data("clip.mp4") == OTHER


@pytest.mark.parametrize("rival", [False, True])
def test_a_large_file_goes_in_parts_and_the_last_request_holds_the_condition(
    bucket: Bucket, rival: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(bucket)
    monkeypatch.setattr(s3, "PUT_BYTES", 0)
    monkeypatch.setattr(s3, "BLOCK_BYTES", len(VIDEO) // 2)
    if rival:
        run(OTHER, bucket.target("clip.mp4"), made("g1", map_index=1))
    video = run(VIDEO, bucket.target("clip.mp4"), made("g"), seen=claims.Seen)
    assert video.path == ("s3://videos/clip-g.mp4" if rival else "s3://videos/clip.mp4")
    assert bucket.data(video.path.removeprefix("s3://videos/")) == VIDEO and not bucket.store.parts
    assert bucket.data("clip.mp4") == (OTHER if rival else VIDEO)


def test_a_mark_reads_back_and_says_nothing_in_plain_text() -> None:
    mark = claims.Mark.of(made("ü/ 1", task_id="geheim"), 2, "ab" * 32)
    assert claims.Mark.read(mark.note) == mark and mark.note.isascii() and "geheim" not in mark.note
    assert claims.Mark.read("") is None and claims.Mark.read("2/a/b/c/d") is None and claims.Mark.read("1/a") is None
    assert not claims.Mark.of({"generation_id": "g"}, 1, "").is_rival_of(claims.Mark.of({"generation_id": "h"}, 1, ""))
