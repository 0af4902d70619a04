"""Landing in GCS and Azure with conditional writes: who gets a name, how many requests that takes, what a crash leaves.

They run through gcsfs and adlfs against small stores of our own, which judge conditions as the stores document it.
``tests/storage/test_emulators.py`` does the same with the emulators that others have made.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.generation.landing import claims, landing
from airflow_provider_apimart.generation.landing.landing import already_landed
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.conditional import azure as azure_writes
from airflow_provider_apimart.storage.conditional import gcs as gcs_writes
from airflow_provider_apimart.storage.conditional import writes
from airflow_provider_apimart.storage.conditional.stores import conditional_writes
from tests.generation.landing.landings import OTHER, VIDEO, Killed, delivered, made, run
from tests.storage import fake_stores
from tests.storage.fake_stores import Bucket

# Azure's own library sends what is larger than 1 MiB as bytes.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")


@pytest.fixture(params=["gcs", "azure"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    pytest.importorskip("gcsfs" if request.param == "gcs" else "adlfs", reason="pip install gcsfs adlfs")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(writes, "_verdicts", {})
    with getattr(fake_stores, request.param)() as opened:
        yield opened


def warm(bucket: Bucket) -> None:
    """Let the trial of this process be made, and forget its requests."""
    found = conditional_writes(bucket.fs)
    assert found is not None and found.trusted(bucket.target("clip.mp4").path)
    assert bucket.names == [] and len(bucket.store.asked) == 5
    bucket.store.asked.clear()


def names(bucket: Bucket) -> list[str]:
    return [name for _, name in bucket.store.asked]


@pytest.mark.parametrize("own_name", [False, True], ids=["fixed", "folder"])
def test_three_requests_a_video(bucket: Bucket, own_name: bool) -> None:
    if not own_name:
        warm(bucket)
    video = delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=own_name)
    assert names(bucket) == ["g.mp4.json", "g.mp4", "g.mp4.json"]
    assert bucket.data(video.path) == VIDEO and already_landed(bucket.target("g.mp4"), "g", 1) == video
    kinds = {name: kept.content_type for name, kept in bucket.store.objects.items()}
    assert kinds == {"g.mp4": "video/mp4", "g.mp4.json": "application/json"}


def test_five_requests_to_replace_an_earlier_video(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    warm(bucket)
    delivered(OTHER, bucket.target("clip.mp4"), made("g1"))
    bucket.store.asked.clear()
    with caplog.at_level(logging.WARNING):
        video = delivered(VIDEO, bucket.target("clip.mp4"), made("g2", run_id="r2"))
    assert names(bucket) == ["clip.mp4.json", "clip-g2.mp4.json", "clip.mp4", "clip.mp4", "clip.mp4.json"]
    assert bucket.data(video.path) == VIDEO and bucket.names == ["clip.mp4", "clip.mp4.json"]
    assert "held the video of generation g1 (run r1)" in caplog.text


#: LANDING_PAIRS=1000 sends as many pairs, for a minute each.
PAIRS = int(os.environ.get("LANDING_PAIRS", "40"))


def test_pairs_at_once_lose_no_video(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """Both tasks of each pair have seen the name free, and write at the same time."""
    caplog.set_level(logging.ERROR)
    warm(bucket)
    start = threading.Barrier(2)

    def one(writer: int) -> list[LandedVideo]:
        landed = []
        for pair in range(PAIRS):
            start.wait()
            name, data = bucket.target(f"{pair}.mp4"), (VIDEO, OTHER)[writer]
            landed.append(run(data, name, made(f"g{writer}", map_index=writer), seen=claims.Seen))
        return landed

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    for pair, (a, b) in enumerate(zip(first, second, strict=True)):
        name = bucket.uri(f"{pair}.mp4")
        beside = [bucket.uri(f"{pair}-g{writer}.mp4") for writer in range(2)]
        assert (a.path, b.path) in ((name, beside[1]), (beside[0], name))
        assert (bucket.data(a.path), bucket.data(b.path)) == (VIDEO, OTHER)
    assert len(bucket.store.written) == len(set(bucket.store.written)), "something was written twice"
    assert len(bucket.names) == 4 * PAIRS


@pytest.mark.parametrize("when", ["before the video", "after the video", "after the sidecar"])
def test_killed_between_two_writes(bucket: Bucket, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(bucket)
    target, put = bucket.target("g.mp4"), writes.ConditionalWrites.put
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
        patch.setattr(writes.ConditionalWrites, "put", dying)
        with pytest.raises(Killed):
            delivered(VIDEO, target, made("g"))
    there = {"before the video": [], "after the video": ["g.mp4"], "after the sidecar": ["g.mp4", "g.mp4.json"]}[when]
    assert bucket.names == there
    video = delivered(VIDEO, target, made("g"))
    assert video.path == target.uri and bucket.names == ["g.mp4", "g.mp4.json"]
    assert already_landed(target, "g", 1) == video and bucket.data(target.uri) == VIDEO
    assert bucket.store.written.count("g.mp4") == 1, "its own video was not recognized"


@pytest.mark.parametrize("lost", ["clip.mp4", "clip.mp4.json"])
def test_a_lost_answer_is_asked_for_again_and_found_to_be_ours(bucket: Bucket, lost: str) -> None:
    warm(bucket)
    left = [lost]

    def lose(method: str, name: str) -> bool:
        return method != "GET" and name in left and not left.remove(name)  # type: ignore[func-returns-value]

    bucket.store.lose = lose
    video = delivered(VIDEO, bucket.target("clip.mp4"), made("g"))
    assert left == [] and bucket.names == ["clip.mp4", "clip.mp4.json"]
    assert bucket.store.written.count("clip.mp4") == 1
    assert already_landed(bucket.target("clip.mp4"), "g", 1) == video


def test_a_store_that_ignores_conditions_is_not_believed(bucket: Bucket) -> None:
    bucket.store.conditional = False
    found = conditional_writes(bucket.fs)
    assert found is not None and not found.trusted(bucket.target("clip.mp4").path)
    assert bucket.names == []


@pytest.mark.parametrize("rival", [False, True])
def test_a_large_file_goes_in_pieces_and_the_condition_is_kept(
    bucket: Bucket, rival: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(bucket)
    monkeypatch.setattr(gcs_writes, "WHOLE_BYTES", 1)
    for module, name in ((gcs_writes, "PIECE_BYTES"), (azure_writes, "BLOCK_BYTES")):
        monkeypatch.setattr(module, name, len(VIDEO) // 2)
    if rival:
        run(OTHER, bucket.target("clip.mp4"), made("g1", map_index=1))
    video = run(VIDEO, bucket.target("clip.mp4"), made("g"), seen=claims.Seen)
    assert video.path == bucket.uri("clip-g.mp4" if rival else "clip.mp4")
    assert bucket.data(video.path) == VIDEO and bucket.data(bucket.uri("clip.mp4")) == (OTHER if rival else VIDEO)


def test_a_video_of_an_older_version_has_no_mark_and_is_judged_by_its_sidecar_and_its_bytes(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(bucket)
    target = bucket.target("clip.mp4")
    found = conditional_writes(bucket.fs)
    assert found is not None
    with io.BytesIO(VIDEO) as file:
        found.put(target.path, file, len(VIDEO), sha256=hashlib.sha256(VIDEO).hexdigest(), content_type="video/mp4")
    assert run(VIDEO, target, made("g")).path == target.uri and bucket.store.written.count("clip.mp4") == 1
    bucket.store.objects["clip.mp4"].note = ""
    assert run(OTHER, target, made("g2", map_index=5)).path == bucket.uri("clip-g2.mp4")
    assert run(OTHER, target, made("g3", run_id="r2")).path == target.uri and bucket.data(target.uri) == OTHER


@pytest.mark.parametrize("own_name", [False, True], ids=["fixed", "folder"])
def test_a_bucket_of_a_zone_takes_no_such_write_and_is_landed_in_as_before(
    bucket: Bucket, own_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(conditional_writes(bucket.fs), gcs_writes.GcsWrites):
        pytest.skip("only GCS has them")
    warm(bucket)

    async def refused(*_: Any) -> str:
        raise OSError("This bucket takes uploads over gRPC only")

    monkeypatch.setattr(gcs_writes.GcsWrites, "_whole", refused)
    target, ways = bucket.target("g.mp4"), []
    monkeypatch.setattr(landing, "_commit", lambda staged, place, *_, **__: ways.append(place) or place)
    with pytest.raises(LandingError, match="over gRPC only"):
        delivered(VIDEO, target, made("g"), own_name=own_name)
    monkeypatch.setattr(gcs_writes.GcsWrites, "_is_zonal", lambda *_: True)
    assert delivered(VIDEO, target, made("g"), own_name=own_name).path == target.uri and ways == [target]


@pytest.mark.parametrize("size", [0, 10])
def test_a_store_that_does_not_say_which_version_it_sends_is_asked(size: int) -> None:
    pytest.importorskip("gcsfs", reason="pip install gcsfs")
    with fake_stores.gcs(fake_stores.SilentGcsHandler) as bucket:
        found = conditional_writes(bucket.fs)
        assert found is not None
        digest = hashlib.sha256(bytes(size)).hexdigest()
        with io.BytesIO(bytes(size)) as file:
            version = found.put("videos/a", file, size, sha256=digest, content_type="text/plain", note="n")
        assert found.read("videos/a", 10) == writes.Read(bytes(size), writes.Stored(version, size, "n"))
        assert found.read("videos/a", 9) is None or size == 0
        assert found.read("videos/none", 9) is None


def test_a_wrong_checksum_is_refused_before_the_object_appears(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stores compare what arrives with the MD5 that comes with it."""
    if isinstance(conditional_writes(bucket.fs), gcs_writes.GcsWrites):
        monkeypatch.setattr(gcs_writes, "_md5", lambda _: "AAAA")
    else:
        read = fake_stores.AzureHandler._put
        monkeypatch.setattr(
            fake_stores.AzureHandler, "_put", lambda self: setattr(self, "body", self.body[:-1]) or read(self)
        )
    with pytest.raises(LandingError):
        delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=True)
    assert bucket.names == []
