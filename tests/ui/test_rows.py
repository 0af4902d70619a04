"""The rows of a manifest: pages that read no more than their own rows, of files that nobody has to trust."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_apimart.generation.batch.manifest import write_manifest
from airflow_provider_apimart.storage.files import Target
from airflow_provider_apimart.ui.sources import manifest_file, row_map
from airflow_provider_apimart.ui.sources.entries import OUTCOMES
from airflow_provider_apimart.ui.sources.manifest_file import Manifest, manifest_at
from airflow_provider_apimart.ui.sources.row_map import ROW_BYTES, RowMaps, maps
from airflow_provider_apimart.ui.sources.rows import find_row, read_entries, read_page
from airflow_provider_apimart.ui.sources.storage import NoAnswer, NotShown
from tests.storage.object_store import BUCKET, Store, policy, store
from tests.storage.places import local

__all__ = ["policy", "store"]

WORDS = ("landed", "rejected", "left", "parked", "reused")
KINDS = ("jsonl", "parquet")


def lines(count: int, prompt: str = "shot") -> Iterator[dict[str, Any]]:
    names = ("generation_id", "path", "estimated_cost_usd", "submitted_at", "completed_at", "error", "idempotency_key")
    nothing = dict.fromkeys((*names, "fallback_from", "check"))
    for number in range(1, count + 1):
        line = {"row": number, "outcome": WORDS[(number * 7 + number // 3) % 5], "labels": {"sku": f"S{number}"}}
        line |= {"request": {"prompt": f"{prompt} {number}", "model": "veo3.1-fast"}, "videos": [], "mismatches": []}
        yield {**nothing, **line, "cost_usd": 0.2}


@pytest.fixture(params=["here", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A folder on this machine, and one in S3, as the API server names it."""
    if request.param == "here":
        return local(f"{tmp_path}/")
    opened: Store = request.getfixturevalue("store")
    extra = {"endpoint_url": opened.endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "top-secret-key", "extra": extra}
    name = f"aws_{opened.endpoint.rpartition(':')[2]}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    return Target(opened.fs, f"{BUCKET}/out/", f"s3://{name}@{BUCKET}/out/")


@pytest.fixture(autouse=True)
def no_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_maps", type(maps._maps)())


def written(folder: Target, count: int, kind: str, prompt: str = "shot") -> str:
    place = folder.child(f"manifest-a.{kind}")
    write_manifest(place, lines(count, prompt), kind)  # type: ignore[arg-type]
    return place.uri


def row(path: str, name: str) -> Any:
    instance: Any = SimpleNamespace(note={"manifest": path}, result={})
    return find_row(instance, name)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_those_of_the_whole_table(folder: Target, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several groups of Parquet, and ranges of several lines.
    monkeypatch.setattr("airflow_provider_apimart.generation.batch.manifest.GROUP", 70)
    monkeypatch.setattr(manifest_file, "MAX_LINE", 2000)
    monkeypatch.setattr(manifest_file, "GAP", 300)
    path = written(folder, 500, kind)
    every = list(read_entries(path))
    assert len(every) == 500 and len({entry.outcome for entry in every}) == 4
    for outcome in (None, "completed", "failed", "left", "parked", "running"):
        wanted = [entry for entry in every if outcome in (None, entry.outcome)]
        found, page = [], 1
        while rows := (answer := read_page(path, outcome, page, 24)).rows:
            found += rows
            page += 1
        assert found == wanted and answer.total == len(wanted)
        assert sum(answer.outcomes.values()) == 500
    assert row(path, "431").prompt == "shot 431"
    assert row(path, "501") is None and row(path, "x") is None


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_first_look_reads_all_of_it(folder: Target, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(folder, 300, kind)
    first = read_page(path, None, 1, 10)
    asked: list[int] = []
    at, rows = Manifest.at, Manifest.rows
    monkeypatch.setattr(Manifest, "spans", lambda self: pytest.fail("it was read again"))
    monkeypatch.setattr(Manifest, "at", lambda self, spans: (asked.append(len(spans)), at(self, spans))[1])
    monkeypatch.setattr(Manifest, "rows", lambda self, groups: (asked.append(len(groups)), rows(self, groups))[1])
    assert read_page(path, None, 1, 10) == first
    assert [entry.row for entry in read_page(path, None, 30, 10).rows] == [str(n) for n in range(291, 301)]
    assert row(path, "7").row == "7"
    assert asked == ([10, 10, 1] if kind == "jsonl" else [1, 1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_that_has_changed_is_read_anew(folder: Target, kind: str) -> None:
    path = written(folder, 50, kind)
    assert read_page(path, None, 1, 1).rows[0].prompt == "shot 1"
    # As long as the first one, byte by byte, and perhaps of the same second.
    assert written(folder, 50, kind, "tohs") == path
    assert read_page(path, None, 1, 1).rows[0].prompt == "tohs 1"
    written(folder, 60, kind)
    assert read_page(path, None, 1, 1).total == 60


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_others_now_are_not_shown(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(local(f"{tmp_path}/"), 50, kind)
    monkeypatch.setattr(Manifest, "version", lambda self: (1,))
    read_page(path, None, 1, 1)
    written(local(f"{tmp_path}/"), 3, kind)
    with pytest.raises(NoAnswer):
        read_page(path, None, 5, 10)


def test_what_is_held_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = RowMaps()

    def look(name: str, rows: int) -> Any:
        folder = local(f"{tmp_path / name}/")
        os.makedirs(folder.path, exist_ok=True)
        return found.of(manifest_at(written(folder, rows, "jsonl")))

    made = look("a", 100)
    assert made.bytes == 100 * ROW_BYTES == found.bytes
    monkeypatch.setattr(row_map, "MAX_BYTES", 250 * ROW_BYTES)
    for name in ("b", "c", "d"):
        look(name, 100)
    assert [Path(path).parent.name for path in found._maps] == ["c", "d"]
    assert found.bytes == 200 * ROW_BYTES
    monkeypatch.setattr(row_map, "MAX_MAPS", 3)
    for name in ("e", "f", "g", "h"):
        look(name, 1)
    assert [Path(path).parent.name for path in found._maps] == ["f", "g", "h"]
    assert found._reading == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_is_too_long_for_a_map_is_read_all_the_same(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(local(f"{tmp_path}/"), 100, kind)
    known = read_page(path, "completed", 2, 7)
    monkeypatch.setattr(maps, "_maps", type(maps._maps)())
    monkeypatch.setattr(row_map, "MAX_ROWS", 99)
    assert read_page(path, "completed", 2, 7) == known
    assert row(path, "100").row == "100"
    assert maps.bytes == 0


def test_a_storage_that_tells_no_version_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manifest, "version", lambda self: None)
    path = written(local(f"{tmp_path}/"), 20, "jsonl")
    assert [entry.row for entry in read_page(path, None, 2, 15).rows] == ["16", "17", "18", "19", "20"]
    assert maps.bytes == 0


def test_many_who_look_at_once_read_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(local(f"{tmp_path}/"), 200, "jsonl")
    reads, spans = [], Manifest.spans
    begun = threading.Barrier(8, timeout=60)

    def slow(self: Manifest) -> Any:
        reads.append(1)
        return spans(self)

    def look(number: int) -> Any:
        begun.wait()
        return read_page(path, None, 1 + number, 10).rows[0].row

    monkeypatch.setattr(Manifest, "spans", slow)
    with ThreadPoolExecutor(8) as pool:
        assert sorted(map(int, pool.map(look, range(8)))) == list(range(1, 80, 10))
    assert len(reads) == 1


def test_cells_and_groups_of_parquet_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(local(f"{tmp_path}/"), 20, "parquet", "x" * 5000)
    monkeypatch.setattr(manifest_file, "PARQUET_BYTES", 50_000)
    with pytest.raises(NotShown, match="some rows have more than 50,000 bytes"):
        read_page(path, None, 1, 10)
    monkeypatch.undo()
    monkeypatch.setattr(manifest_file, "PARQUET_GROUP", 1000)
    with pytest.raises(NotShown, match="one of its groups has more than 1,000 bytes"):
        read_page(path, None, 1, 10)


def test_lines_are_bounded(folder: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(folder, 2, "jsonl", "x" * 5000)
    monkeypatch.setattr(manifest_file, "MAX_LINE", 4000)
    with pytest.raises(NotShown, match="more than 4,000 bytes"):
        read_page(path, None, 1, 10)


def test_each_word_of_a_line_has_a_place_in_the_map() -> None:
    assert set(row_map._CODES) == set(OUTCOMES.values())


def test_lines_that_are_no_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "manifest-a.jsonl"
    path.write_text('3\n{"row": 1}\n[]\n{"row": 2, "outcome": "landed"}\nnull\n')
    page = read_page(str(path), None, 1, 10)
    assert ([entry.row for entry in page.rows], page.outcomes) == (["1", "2"], {"left": 1, "completed": 1})
