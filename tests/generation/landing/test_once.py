"""The storage is asked while the download begins: who waits for the answer, and what it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import LandingError, VideoExpiredError
from airflow_provider_apimart.generation.landing.once import land_once
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.conditional.s3 import S3Writes
from airflow_provider_apimart.storage.files import Target
from tests.generation.landing.landings import OTHER, VIDEO, Fetched, delivered, made
from tests.storage.fake_s3 import Bucket, bucket
from tests.storage.places import local

__all__ = ["bucket"]


class Held(Fetched):
    """A download that does what it is told on its way."""

    def __init__(self, on_the_way: Callable[..., None]) -> None:
        super().__init__(VIDEO)
        self.on_the_way = on_the_way

    def fetch(self, url: str, refresh: Any, sink: Any, **options: Any) -> tuple[int, str]:
        self.on_the_way(refresh, options["on_progress"])
        return super().fetch(url, refresh, sink)


def once(target: Target, on_the_way: Callable[..., None], refresh: Callable[[], Any] = lambda: None) -> LandedVideo:
    return land_once(
        "http://unused",
        target,
        refresh=refresh,
        downloader=Held(on_the_way),  # type: ignore[arg-type]
        max_bytes=10**9,
        provenance=made("g"),
        own_name=True,
    )


def test_the_download_begins_before_the_storage_has_answered(bucket: Bucket) -> None:
    begun, asked = threading.Event(), []

    def late(method: str, name: str) -> bool:
        if method == "GET":
            asked.append(begun.wait(30))
        return False

    bucket.store.lose = late
    video = once(bucket.target("g.mp4"), lambda *_: begun.set())
    assert asked == [True], "the storage was waited for"
    assert video.path == "s3://videos/g.mp4" and bucket.names == ["g.mp4", "g.mp4.json"]


def test_a_download_ends_when_the_storage_says_that_the_video_is_there(bucket: Bucket) -> None:
    first = delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=True)
    bucket.store.written.clear()

    def go_on(_: Any, on_progress: Callable[..., None]) -> None:
        for _ in range(10**6):
            on_progress(1, None)
            threading.Event().wait(0.001)
        raise AssertionError("it was never told")

    assert once(bucket.target("g.mp4"), go_on) == first
    assert bucket.store.written == []


def test_a_short_download_waits_for_the_answer_before_it_writes(bucket: Bucket) -> None:
    first = delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=True)
    bucket.store.written.clear()
    assert once(bucket.target("g.mp4"), lambda *_: None) == first
    assert bucket.store.written == []


def test_apimart_is_not_asked_for_another_url_of_a_video_that_is_there(bucket: Bucket) -> None:
    first = delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=True)
    renewed: list[int] = []

    def refused(refresh: Callable[[], Any], _: Any) -> None:
        refresh()

    assert once(bucket.target("g.mp4"), refused, lambda: renewed.append(1)) == first
    assert renewed == []
    once(bucket.target("h.mp4"), refused, lambda: renewed.append(1))
    assert renewed == [1]


def failing(*_: Any) -> None:
    raise VideoExpiredError("not served")


def test_a_failed_download_of_a_video_that_is_there_is_no_failure(bucket: Bucket) -> None:
    first = delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=True)
    assert once(bucket.target("g.mp4"), failing) == first
    with pytest.raises(VideoExpiredError):
        once(bucket.target("h.mp4"), failing)


def test_a_damaged_video_is_landed_again(bucket: Bucket) -> None:
    first = delivered(VIDEO, bucket.target("g.mp4"), made("g"), own_name=True)
    bucket.store.objects["g.mp4"].data = OTHER
    assert once(bucket.target("g.mp4"), lambda *_: None) == first and bucket.data("g.mp4") == VIDEO


def test_a_storage_that_does_not_answer_ends_the_download(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(S3Writes, "_read", broken)
    with pytest.raises(LandingError, match=r"g\.mp4\.json could not be read"):
        once(bucket.target("g.mp4"), lambda *_: None)
    assert bucket.names == []


def test_a_local_disk_is_asked_first(tmp_path: Any) -> None:
    target = local(tmp_path / "g.mp4")
    first = delivered(VIDEO, target, made("g"))

    def fetched(*_: Any) -> None:
        raise AssertionError("it was fetched")

    assert once(target, fetched) == first
