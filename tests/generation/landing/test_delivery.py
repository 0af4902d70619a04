"""All videos of a generation land once, wherever the last try stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import LandingError, VideoExpiredError, VideoTooLargeError
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.generation.landing import download
from airflow_provider_apimart.generation.landing.delivery import deliver, files_whole
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState
from airflow_provider_apimart.storage.files import Target
from tests.generation.purchase.buying import ONCE, Store, purchase
from tests.generation.records import record

BODY = {"model": "veo3.1-fast-official", "prompt": "a dog", "duration": 4, "sample_count": 2}


@pytest.fixture
def client(emulator: Emulator) -> Iterator[ApimartClient]:
    with ApimartClient(Settings(emulator.api_key, emulator.base_url), ONCE) as client:
        yield client


@pytest.fixture
def done(client: ApimartClient) -> Generation:
    return client.generation(client.submit(BODY, "key").generation_id)


def target(path: Path, *, folder: bool = False) -> Target:
    text = f"{path}/" if folder else str(path)
    return Target(fsspec.filesystem("file"), text, text)


def bring(client: ApimartClient, done: Generation, output: Target) -> tuple[LandedVideo, ...]:
    kept = record(generation_id=done.generation_id)
    airflow = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    provenance = {"generation_id": done.generation_id, "airflow": airflow}
    return deliver(client=client, record=kept, videos=done.videos, output=output, provenance=provenance)


def landed_record(done: Generation, landed: tuple[LandedVideo, ...]) -> Record:
    return record(RecordState.LANDED, generation_id=done.generation_id, landed=landed)


def fetched(emulator: Emulator) -> int:
    return len(emulator.requests("media"))


def test_all_samples_land_and_a_second_time_nothing_is_fetched(
    emulator: Emulator, client: ApimartClient, done: Generation, tmp_path: Path
) -> None:
    output = target(tmp_path / "clip.mp4")
    landed = bring(client, done, output)
    assert [Path(one.path).name for one in landed] == ["clip-1.mp4", "clip-2.mp4"]
    assert [hashlib.sha256(Path(one.path).read_bytes()).hexdigest() for one in landed] == [o.sha256 for o in landed]
    assert fetched(emulator) == 2
    assert bring(client, done, output) == landed
    assert fetched(emulator) == 2


def test_a_sample_that_was_landed_stays_when_the_next_one_fails(
    emulator: Emulator, client: ApimartClient, done: Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_FAILURES", 1)
    emulator.fault("media", "status", status=500, after=1, times=1)
    output = target(tmp_path, folder=True)
    with pytest.raises(LandingError):
        bring(client, done, output)
    assert len(list(tmp_path.glob("*.mp4"))) == 1
    assert len(bring(client, done, output)) == 2
    assert fetched(emulator) == 3


def test_an_expired_url_is_asked_for_anew(
    emulator: Emulator, client: ApimartClient, done: Generation, tmp_path: Path
) -> None:
    emulator.expire()
    emulator.fault("task", "renew_url", times=1)
    assert len(bring(client, done, target(tmp_path / "clip.mp4"))) == 2


def test_an_expired_url_that_is_not_renewed_is_the_end(
    emulator: Emulator, client: ApimartClient, done: Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_backoff", lambda failures: 0.0)
    emulator.expire()
    expired = client.generation(done.generation_id)
    with pytest.raises(VideoExpiredError):
        bring(client, expired, target(tmp_path / "clip.mp4"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [402, 401, 403])
def test_an_empty_account_does_not_end_the_landing_of_an_expired_url(
    client: ApimartClient, done: Generation, emulator: Emulator, tmp_path: Path, status: int
) -> None:
    emulator.fault("media", "status", status=403, times=-1)
    emulator.fault("task", "status", status=status, times=-1)
    with pytest.raises(LandingError, match="does not tell another one now") as caught:
        bring(client, done, target(tmp_path / "clip.mp4"))
    assert not caught.value.terminal
    emulator.clear_faults()
    assert bring(client, done, target(tmp_path / "clip.mp4"))


def test_a_url_that_is_refused_before_its_expiry_is_not_the_end(
    emulator: Emulator, client: ApimartClient, done: Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_backoff", lambda failures: 0.0)
    emulator.fault("media", "status", status=403, times=-1)
    with pytest.raises(LandingError, match="although it is to be had until") as caught:
        bring(client, done, target(tmp_path / "clip.mp4"))
    assert not caught.value.terminal
    emulator.clear_faults()
    assert len(bring(client, done, target(tmp_path / "clip.mp4"))) == 2


def test_the_connection_s_cap_is_the_download_s(emulator: Emulator, done: Generation, tmp_path: Path) -> None:
    settings = replace(Settings(emulator.api_key, emulator.base_url), max_video_bytes=1000)
    with ApimartClient(settings, ONCE) as client, pytest.raises(VideoTooLargeError):
        bring(client, done, target(tmp_path / "clip.mp4"))


def test_whole_means_all_of_them_in_their_place(client: ApimartClient, done: Generation, tmp_path: Path) -> None:
    output = target(tmp_path / "clip.mp4")
    landed = bring(client, done, output)
    kept = landed_record(done, landed)
    assert files_whole(kept, output)
    assert not files_whole(kept, None)
    assert not files_whole(kept, target(tmp_path / "elsewhere.mp4"))
    assert not files_whole(kept.but(generation_id="task_other"), output)
    Path(landed[1].path).write_bytes(b"damaged")
    assert not files_whole(kept, output)
    Path(landed[1].path).unlink()
    assert not files_whole(kept, output)


def test_the_media_host_sees_no_key(
    emulator: Emulator, client: ApimartClient, done: Generation, tmp_path: Path
) -> None:
    bring(client, done, target(tmp_path / "clip.mp4"))
    for request in emulator.requests("media"):
        assert emulator.api_key not in json.dumps(request)
        assert "authorization" not in request["headers"]


def test_progress_is_told_at_a_human_pace(
    client: ApimartClient, done: Generation, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.generation.landing.delivery.SAY_EVERY_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        bring(client, done, target(tmp_path / "clip.mp4"))
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("airflow_provider_apimart")]
    told = [one for one in ours if one.startswith("Fetching the video")]
    assert told and all(" MB of " in one for one in told)
    assert not any(video.url in one for one in ours for video in done.videos)


def test_a_purchase_ends_in_a_delivery(emulator: Emulator, tmp_path: Path) -> None:
    store, output = Store(), target(tmp_path / "clip.mp4")
    with purchase(emulator, store) as one:
        kept = one.obtain().record
        final = one.client.generation(kept.generation_id or "")
        landed = bring(one.client, final, output)
        store.save(kept.but(state=RecordState.LANDED, landed=landed))
        assert one.obtain(lambda record: files_whole(record, output)).decision.action == "keep"
