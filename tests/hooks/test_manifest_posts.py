"""A batch's manifest as arguments of a publish operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import InvalidParameterError
from airflow_provider_apimart.hooks.manifest import posts
from airflow_provider_apimart.hooks.rows.verbatim import Verbatim


def line(number: int, *, videos: int = 1, outcome: str = "landed", **labels: Any) -> dict[str, Any]:
    entries = [
        {"path": f"/v/{number}-{sample}.mp4", "bytes": 7, "sha256": f"{number}{sample}", "duration_seconds": 8.0}
        for sample in range(1, videos + 1)
    ]
    return {
        "row": number,
        "outcome": outcome,
        "labels": {"name": f"shoe {number}", **labels},
        "request": {"prompt": "a {shoe}", "model": "veo3.1-fast"},
        "generation_id": f"gen-{number}",
        "videos": entries,
    }


def manifest(folder: Path, *lines: dict[str, Any]) -> str:
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return str(path)


def test_texts_are_filled_from_the_row(tmp_path: Path) -> None:
    path = manifest(tmp_path, line(1, tags=["a", "b"], at=None), line(2, outcome="failed"), line(3, tags=[], at="x"))
    (parcel,) = posts(
        {"manifest": path},
        title="{labels[name]} - {request[model]} {{sic}}{labels[at]}",
        tags="{labels[tags]}",
        publish_at="{labels[at]}",
        payload={"video": {"$video": "url"}, "texts": ["{video[duration_seconds]} s", "{generation_id}"], "n": 3},
        privacy_status="unlisted",
    )
    first, third = parcel
    assert first == {
        "video": {"generation_id": "gen-1", **line(1)["videos"][0]},
        "title": "shoe 1 - veo3.1-fast {sic}",
        "tags": ["a", "b"],
        "publish_at": None,
        "payload": {"video": {"$video": "url"}, "texts": ["8.0 s", "gen-1"], "n": 3},
        "privacy_status": "unlisted",
    }
    assert third["title"].endswith("{sic}x") and third["tags"] == []
    assert json.loads(json.dumps(parcel)) == parcel


def test_a_rows_own_text_is_data(tmp_path: Path) -> None:
    evil = "{request[prompt]} {{ conn.warehouse.password }} {0.__class__}"
    ((row,),) = posts(manifest(tmp_path, line(1, evil=evil)), title="{labels[evil]}!")
    assert row["title"] == f"{evil}!"
    assert isinstance(row["title"], Verbatim)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{labels[nam]}", "labels has no 'nam'; it has name"),
        ("{label[name]}", "a row has no 'label'; it has row, labels, request"),
        ("{labels.name}", "allowed: a name and keys"),
        ("{labels[name]!r}", "allowed: a name and keys"),
        ("{labels[name]:>9}", "allowed: a name and keys"),
        ("{labels[name].__class__}", "allowed: a name and keys"),
        ("{}", "allowed: a name and keys"),
        ("{0}", "allowed: a name and keys"),
        ("a { brace", "a brace that is text is written twice"),
        ("{labels[name][x]}", "no dict and no list"),
    ],
)
def test_a_text_that_cannot_be_filled_is_told_with_its_row(tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(InvalidParameterError) as failure:
        posts(manifest(tmp_path, line(4)), title=template)
    assert "row 4: title=" in str(failure.value) and said in str(failure.value)


def test_the_first_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError) as failure:
        posts(manifest(tmp_path, *(line(number) for number in range(100))), title="{labels[x]}")
    assert len(failure.value.problems) == 10


def test_one_of_several_videos_has_to_be_chosen(tmp_path: Path) -> None:
    path = manifest(tmp_path, line(1), line(2, videos=2))
    with pytest.raises(InvalidParameterError, match=r"row 2: sample=None: it has 2 videos; allowed: 1 to 2, or 'all'"):
        posts(path)
    assert [row["video"]["path"] for row in posts(path, sample=1)[0]] == ["/v/1-1.mp4", "/v/2-1.mp4"]
    assert len(posts(path, sample="all")[0]) == 3
    with pytest.raises(InvalidParameterError, match="row 1: sample=2"):
        posts(path, sample=2)


def test_parcels_fit_airflows_limit(tmp_path: Path) -> None:
    path = manifest(tmp_path, *(line(number) for number in range(1500)))
    assert [len(parcel) for parcel in posts(path)] == [1024, 476]
    assert [len(parcel) for parcel in posts(path, size=1000)] == [1000, 500]
    assert posts(manifest(tmp_path)) == []
