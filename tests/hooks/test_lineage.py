"""What is told of a generation, a batch and a post: its size, and what must not be in it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState
from airflow_provider_apimart.hooks.reports import lineage
from airflow_provider_apimart.hooks.reports.lineage import Lineage
from airflow_provider_apimart.storage.naming import DatasetName

SHA = "ab" * 32


def record(**values: Any) -> Record:
    fixed: dict[str, Any] = {"fingerprint": "f", "idempotency_key": "k", "epoch": 0, "number": 1}
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return Record(
        **{
            **fixed,
            "state": RecordState.LANDED,
            "model": "veo3.1-fast-official",
            "intent_at": when,
            "generation_id": "gen-1",
            "cost_usd": 0.256,
            **values,
        }
    )


def landed(path: str) -> LandedVideo:
    return LandedVideo(path=path, bytes=1234, sha256=SHA, duration_seconds=4, width=1280, height=720, has_audio=False)


def generation(*paths: str, **request: Any) -> Lineage:
    asked = VeoRequest.checked({"prompt": "a cat", **request})
    return lineage.of_generation(record(), asked, [landed(path) for path in paths], map_index=3)


def size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def test_a_generations_event() -> None:
    found = generation("s3://conn@vids/out/gen-1-1.mp4", "s3://conn@vids/out/gen-1-2.mp4")
    first, second = found.extra["videos"]
    assert first == {
        "path": "s3://conn@vids/out/gen-1-1.mp4",
        "uri": "s3://vids/out/gen-1-1.mp4",
        "bytes": 1234,
        "sha256": SHA,
    }
    assert {name: value for name, value in found.extra.items() if name != "videos"} == {
        "generation_id": "gen-1",
        "model": "veo3.1-fast-official",
        "cost_usd": 0.256,
        "prompt": "a cat",
        "map_index": 3,
    }
    assert [(name.uri, extra["videos"]) for name, extra in found.items] == [
        ("s3://vids/out/gen-1-1.mp4", [first]),
        ("s3://vids/out/gen-1-2.mp4", [second]),
    ]


@pytest.mark.parametrize("letter", ["x", "고", "\U0001f408", '"', "\\", "\n", "\x01", "<"])
@pytest.mark.parametrize("length", [1, 399, 400, 401, 20_000])
def test_an_event_has_fewer_than_2000_bytes_a_video(letter: str, length: int) -> None:
    found = generation(f"s3://a_connection_id@a-bucket/{'k' * 500}.mp4", prompt=letter * length + "!")
    assert size(found.extra) < 2000 and found.extra["videos"][0]["uri"].endswith("k.mp4")
    cut = found.extra["prompt"]
    assert size(cut) - 2 <= lineage.MAX_PROMPT_BYTES
    whole = letter * length + "!"
    assert cut == whole or (cut.endswith("...") and len(cut) > 30 and whole.startswith(cut[:-3]))


def test_a_path_is_never_cut() -> None:
    # The longest key that S3 takes, in the bucket with the longest name.
    path = f"s3://a_connection_id@{'b' * 63}/{'k' * 1024}"
    found = generation(path, prompt="x" * 20_000)
    assert size(found.extra) < 2000
    assert (found.extra["videos"][0]["path"], found.extra["videos"][0]["uri"]) == (path, None)
    assert found.outputs[0].name.name == "k" * 1024


def test_signed_frames_are_named_without_their_signature() -> None:
    found = generation(
        "/data/a.mp4",
        first_frame_image="https://cdn.example.com/f.png?Signature=secret",
        last_frame_image="s3://conn@frames/last.png",
    )
    assert [name.uri for name in found.inputs] == ["https://cdn.example.com/f.png", "s3://frames/last.png"]
    assert "secret" not in repr(found)


def test_nothing_landed_is_nothing_made() -> None:
    found = generation()
    assert (found.outputs, found.items, found.extra["videos"]) == ((), (), [])
    assert found.facts["generationIds"] == ["gen-1"]


def line(number: int, outcome: str = "landed", generation_id: str | None = "gen") -> dict[str, Any]:
    videos = [{"path": f"/out/{number}.mp4", "bytes": 10, "sha256": SHA}] if outcome in ("landed", "reused") else []
    request = {"prompt": "x", "model": "veo3.1-fast-official"}
    named = generation_id and f"{generation_id}-{number}"
    return {"outcome": outcome, "generation_id": named, "videos": videos, "request": request}


def test_a_batch_is_counted_and_not_listed() -> None:
    tally = lineage.Tally()
    lines = [*map(line, range(250)), line(250, "reused"), line(251, "failed"), line(252, "left", None)]
    assert list(tally.over(lines)) == lines
    result = {"manifest": "s3://conn@vids/out/manifest-a.jsonl", "rows": 253, "landed": 250, "cost_usd": 64.0}
    found = lineage.of_batch(result, tally, map_index=-1)
    assert [(one.name.uri, one.rows, one.bytes, one.files) for one in found.outputs] == [
        ("s3://vids/out/manifest-a.jsonl", 253, None, 1),
        ("s3://vids/out", None, 2500, 250),
    ]
    assert (found.facts["generations"], len(found.facts["generationIds"])) == (250, lineage.MAX_IDS)
    assert found.extra == {
        **result,
        "uri": "s3://vids/out/manifest-a.jsonl",
        "map_index": -1,
        "models": ["veo3.1-fast-official"],
    }
    ((name, extra),) = found.items
    assert (name.uri, extra) == ("s3://vids/out/manifest-a.jsonl", found.extra)
    assert size(found.extra) < 2000


def outlets(*assets: Any) -> tuple[Any, OutletEventAccessors]:
    return SimpleNamespace(outlets=list(assets)), OutletEventAccessors()


def test_an_asset_gets_one_event_and_an_alias_one_for_each_video() -> None:
    library, alias = Asset("library", extra={"owner": "us"}), AssetAlias("videos")
    task, events = outlets(library, alias)
    found = generation("s3://conn@vids/a.mp4", "s3://conn@vids/b.mp4")
    lineage.tell_assets(task, {"outlet_events": events}, found)
    assert events[library].extra == found.extra
    assert [(event.dest_asset_key.uri, event.extra) for event in events[alias].asset_alias_events] == [
        ("s3://vids/a.mp4", {**found.extra, "videos": found.extra["videos"][:1]}),
        ("s3://vids/b.mp4", {**found.extra, "videos": found.extra["videos"][1:]}),
    ]


def test_an_event_that_cannot_be_told_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    task, events = outlets(AssetAlias("videos"))
    too_long = Lineage(items=((DatasetName("s3://vids", "k" * 2000), {}),))
    with caplog.at_level(logging.WARNING, lineage.__name__):
        lineage.tell_assets(task, {"outlet_events": events}, too_long)
        lineage.tell_assets(SimpleNamespace(outlets=[]), {}, too_long)
        lineage.tell_assets(SimpleNamespace(outlets=None), {}, too_long)
    (warning,) = caplog.records
    assert warning.getMessage() == "The task's asset events do not say what was made."


def test_the_azure_account_is_the_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def path(text: str) -> Any:
        if "lost@" in text:
            raise RuntimeError("no such connection")
        return SimpleNamespace(fs=SimpleNamespace(account_name="acct"))

    monkeypatch.setattr(lineage, "storage_path", path)
    assert lineage.named("abfs://azure@vids/a.mp4") == DatasetName("abfss://vids@acct.dfs.core.windows.net", "a.mp4")
    assert lineage.named("abfs://lost@vids/a.mp4") == DatasetName("abfss://vids", "a.mp4")
