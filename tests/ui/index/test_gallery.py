"""The gallery: only readable Dags, pages that join without a gap, sums, files that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.ui.index import keeper, writing
from airflow_provider_apimart.ui.index.rows import row_of
from airflow_provider_apimart.ui.index.tables import IndexUnavailableError
from airflow_provider_apimart.ui.sources.entries import of_note
from airflow_provider_apimart.ui.sources.settings import Settings
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import Rows
from tests.ui.conftest import Client

FIRST = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OUTCOMES = ("completed", "completed", "failed", "parked")


@pytest.fixture(autouse=True)
def quiet(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A keeper without its thread: what is in the index is what the test puts there."""
    monkeypatch.setattr(keeper, "_keeper", keeper.Keeper(engine, Settings()))
    with engine.begin() as connection:
        writing_progress(connection)
    yield


def writing_progress(connection: Any) -> None:
    from airflow_provider_apimart.ui.index import feed

    feed.keep(connection, feed.PROGRESS, feed.Progress.beginning(datetime.now(UTC)).text())


def note(number: int, **more: Any) -> dict[str, Any]:
    outcome = OUTCOMES[number % 4]
    return {
        "outcome": outcome,
        "generation_id": f"task_{number}",
        "prompt": f"a cat number {number}",
        "labels": {"sku": f"S{number % 3}"},
        "model": "veo3.1-fast",
        "cost_usd": number / 100,
        "submitted_at": (FIRST + timedelta(hours=number)).isoformat(),
        "videos": [{"path": f"/v/{number}.mp4"}],
        **more,
    }


def fill(engine: Any, rows: Rows, count: int = 60, dags: tuple[str, ...] = ("mine", "others")) -> None:
    for dag in dags:
        rows.dag(dag)
    with writing.writing(engine) as connection:
        writing.put(
            connection,
            [
                row_of(Place(dags[n % len(dags)], f"run_{n // 20}", "make", n), of_note(note(n)), FIRST)
                for n in range(count)
            ],
        )


def pages(client: Any, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    for _ in range(100):
        answer = client.get("/apimart/api/generations", params={**params, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next"]
        if cursor is None:
            return found
    raise AssertionError("the list has no end")


LISTS = ["/apimart/api/generations", "/apimart/api/generations.csv", "/apimart/api/spend", "/apimart/api/me"]


@pytest.mark.parametrize("path", LISTS)
def test_lists_ask_who_is_there(client: Client, engine: Any, rows: Rows, path: str) -> None:
    fill(engine, rows)
    for user, wanted in [(None, 401), ("none", 403), ("one", 200), ("viewer", 200), ("admin", 200)]:
        answer = client(user).get(path)
        assert answer.status_code == wanted, user
        assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
    assert "others" not in client("one").get(path).text
    for wanted in ("others", "~", "' OR 1=1 --", "nul\x00"):
        found = client("one").get(path, params={"dag_id": wanted})
        assert not re.search(r"task_\d", found.text) and "others" not in found.text.replace(wanted, "")


def test_a_user_without_dags_gets_nothing_of_the_index(client: Client, engine: Any, rows: Rows) -> None:
    """The index still has what belongs to Dags that Airflow has forgotten."""
    fill(engine, rows, dags=("others",))
    rows.dag("mine")
    for user in ("one", "admin"):
        if user == "admin":
            rows.remove()
        found = client(user).get("/apimart/api/generations").json()
        assert (found["items"], found["total"], found["cost_usd"], found["outcomes"]) == ([], 0, 0.0, {})
        assert client(user).get("/apimart/api/spend").json()["days"] == []
        assert len(client(user).get("/apimart/api/generations.csv").text.splitlines()) == 1


FILTERS: list[dict[str, Any]] = [
    {},
    {"dag_id": "mine"},
    {"dag_id": ["mine", "others"]},
    {"dag_id": "mine", "run_id": "run_1"},
    {"run_id": "run_1"},
    {"outcome": "failed"},
    {"dag_id": "mine", "outcome": "parked"},
    {"dag_id": "mine", "run_id": "run_1", "outcome": "failed"},
    {"q": "CAT number 7"},
    {"q": "number cat"},
    {"q": "100%"},
    {"q": "_"},
    {"label": "sku=S1"},
    {"label": "S1", "outcome": "completed"},
    {"from": "2026-11-21", "to": "2026-11-21"},
    {"from": "2026-11-22"},
    {"to": "2026-11-20", "dag_id": "others"},
    {"from": "2027-01-01"},
]


def expected(user: str, params: dict[str, Any], sort: str, direction: str) -> list[str]:
    found = []
    for n in range(60):
        dag, one = ("mine", "others")[n % 2], note(n)
        dags = params.get("dag_id", [])
        day = str(one["submitted_at"])[:10]
        words = f"sku={one['labels']['sku']} {dag} make task_{n} veo3.1-fast {one['prompt']}"
        keep = (
            (user == "admin" or dag == "mine")
            and (not dags or dag in ([dags] if isinstance(dags, str) else dags))
            and params.get("run_id", f"run_{n // 20}") == f"run_{n // 20}"
            and params.get("outcome", one["outcome"]) == one["outcome"]
            and all(word in words for word in params.get("q", "").lower().split())
            and params.get("label", "").lower() in words.lower()
            and params.get("from", day) <= day <= params.get("to", day)
        )
        if keep:
            found.append(f"task_{n}")
    if direction == "desc":
        found.reverse()
    return found


@pytest.mark.parametrize("user", ["admin", "one"])
@pytest.mark.parametrize("walk", [10_000, 8])
def test_pages_join_without_a_gap(
    client: Client, engine: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch, user: str, walk: int
) -> None:
    """Also where each walk is short: then pages may be short too, but nothing is missing."""
    monkeypatch.setattr("airflow_provider_apimart.ui.index.query.WALK", walk)
    fill(engine, rows)
    browser = client(user)
    for params, sort, direction in itertools.product(FILTERS, ("submitted_at", "cost_usd"), ("desc", "asc")):
        found = pages(browser, **params, sort=sort, direction=direction, limit=7)
        wanted = expected(user, params, sort, direction)
        assert [item["generation_id"] for item in found] == wanted, (params, sort, direction)


@pytest.mark.parametrize("params", FILTERS, ids=str)
def test_totals_are_those_of_all_pages(client: Client, engine: Any, rows: Rows, params: dict[str, Any]) -> None:
    fill(engine, rows)
    for user in ("admin", "one"):
        found = client(user).get("/apimart/api/generations", params={**params, "limit": 3}).json()
        wanted = [int(each[5:]) for each in expected(user, params, "submitted_at", "asc")]
        assert (found["total"], found["exact"]) == (len(wanted), True)
        assert found["cost_usd"] == pytest.approx(sum(n / 100 for n in wanted))
        assert sum(found["outcomes"].values()) == len(wanted)


def test_a_total_of_a_short_walk_says_at_least(
    client: Client, engine: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.ui.index.query.WALK", 20)
    fill(engine, rows)
    found = client("admin").get("/apimart/api/generations", params={"q": "cat"}).json()
    assert not found["exact"] and 0 < found["total"] < 60


@pytest.mark.parametrize("cursor", ["x", "AAAA", "W10", "WyJhIiwiYiIsMSwyXQ", "9" * 300, "%00"])
def test_a_cursor_of_somebody_elses_is_refused(client: Client, engine: Any, rows: Rows, cursor: str) -> None:
    fill(engine, rows)
    assert client("admin").get("/apimart/api/generations", params={"cursor": cursor}).status_code == 400


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 100_000},
        {"outcome": "evil"},
        {"sort": "1; DROP TABLE dag"},
        {"direction": "up"},
        {"from": "yesterday"},
        {"q": "x" * 5000},
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused(client: Client, engine: Any, params: dict[str, Any]) -> None:
    assert client("admin").get("/apimart/api/generations", params=params).status_code == 422


@pytest.mark.parametrize("q", ["'", '"', "\\", "%", "_", "/", "\x00", "\u202e", "🎬", "' OR '1'='1", "한국어"])
def test_a_search_is_text(client: Client, engine: Any, rows: Rows, q: str) -> None:
    rows.dag("mine")
    prompt = f"before {q} after 한국어"
    with writing.writing(engine) as connection:
        writing.put(connection, [row_of(Place("mine", "r", "t"), of_note(note(0, prompt=prompt)), FIRST)])
        writing.put(connection, [row_of(Place("mine", "r", "t", 1), of_note(note(1, prompt="plain")), FIRST)])
    found = pages(client("admin"), q=q)
    wanted = {"\x00": 2, "_": 2}.get(q, 1)  # (each has an id with a "_"; nothing is left of a NUL)
    assert len(found) == wanted


def test_spend_is_told_by_day_and_dag(client: Client, engine: Any, rows: Rows) -> None:
    fill(engine, rows, 30)
    days = client("admin").get("/apimart/api/spend", params={"from": "2026-11-21", "to": "2026-11-21"}).json()["days"]
    assert [(one["day"], one["dag_id"], one["videos"], one["failures"]) for one in days] == [
        ("2026-11-21", "mine", 9, 4),
        ("2026-11-21", "others", 9, 0),
    ]
    assert days[0]["cost_usd"] == pytest.approx(sum(n for n in range(12, 30, 2)) / 100)


def test_csv_holds_all_rows_and_no_formula(client: Client, engine: Any, rows: Rows) -> None:
    rows.dag("mine")
    prompts = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\uff1d1", 'a "quoted", line\nand more', "한국어"]
    with writing.writing(engine) as connection:
        for number, prompt in enumerate(prompts):
            entry = of_note(note(number, prompt=prompt))
            writing.put(connection, [row_of(Place("mine", "r", "t", number), entry, FIRST)])
    answer = client("one").get("/apimart/api/generations.csv", params={"direction": "asc"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.text[0] == "\ufeff"
    lines = list(csv.DictReader(io.StringIO(answer.text[1:], newline="")))
    told = [line["prompt"] for line in lines]
    assert told[6:] == prompts[6:]
    assert told[:6] == ["'=HYPERLINK(1)", "'+1", "'-1", "'@SUM(A1)", "'\t'=1", "'\uff1d1"]
    assert lines[1]["cost_usd"] == "0.01" and lines[0]["paths"] == "/v/0.mp4"


@pytest.mark.parametrize("start", [";", "\t", "\n", "\r\n", "; ", ";\u3000"], ids=ascii)
def test_csv_holds_no_formula_where_semicolons_part_the_cells(
    client: Client, engine: Any, rows: Rows, start: str
) -> None:
    """A spreadsheet of another country parts cells elsewhere, and reads quotes as text."""
    rows.dag("mine")
    entry = of_note(note(0, prompt=f"a cat{start}=cmd|' /C calc'!A0 = b;c"))
    with writing.writing(engine) as connection:
        writing.put(connection, [row_of(Place("mine", "r", "t"), entry, FIRST)])
    text = client("one").get("/apimart/api/generations.csv").text
    assert f"a cat{start}'=cmd|' /C calc'!A0 = b;c" in text


def test_csv_goes_over_many_pages(client: Client, engine: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_apimart.ui.index.gallery.CSV_PAGE", 7)
    fill(engine, rows)
    answer = client("admin").get("/apimart/api/generations.csv", params={"outcome": "completed"})
    assert len(answer.text.splitlines()) == 1 + 30


def test_each_generation_shows_its_own_video(client: Client, engine: Any, rows: Rows, tmp_path: Path) -> None:
    """A task that was cleared has made another one since; Airflow has forgotten the first one's XComs."""
    head = b"\x00\x00\x00\x18ftypmp42"
    for name in ("old", "new"):
        (tmp_path / f"{name}.mp4").write_bytes(head + name.encode())
    told = {
        name: note(0, generation_id=name, videos=[{"path": str(tmp_path / f"{name}.mp4")}]) for name in ("old", "new")
    }
    place = rows.task(Place("mine", "r", "t"), return_value=told["new"])
    with writing.writing(engine) as connection:
        writing.put(connection, [row_of(place, of_note(told[name]), FIRST) for name in ("old", "new")])
    browser = client("one")
    items = browser.get("/apimart/api/generations").json()["items"]
    urls = {item["generation_id"]: item["videos"][0]["video_url"] for item in items}
    assert {name: browser.get(f"/apimart/{url}").content for name, url in urls.items()} == {
        "old": head + b"old",
        "new": head + b"new",
    }
    assert browser.get("/apimart/video/mine/r/t/-1/1").content == head + b"new"
    for hostile in ("none", "", "x" * 251, "..%2f", "' OR 1=1"):
        assert browser.get("/apimart/video/mine/r/t/-1/1", params={"generation": hostile}).status_code in (404, 422)
    assert client("none").get(f"/apimart/{urls['old']}").status_code == 403
    assert browser.get(f"/apimart/{urls['old']}".replace("mine", "others")).status_code == 403


def test_me_tells_what_may_be_done(client: Client, engine: Any, rows: Rows) -> None:
    rows.dag("mine")
    rows.dag("others")
    assert client("admin").get("/apimart/api/me", params={"dag_id": "mine"}).json() == {"dags": 2, "can_clear": True}
    assert client("one").get("/apimart/api/me", params={"dag_id": "mine"}).json() == {"dags": 1, "can_clear": False}
    assert client("one").get("/apimart/api/me", params={"dag_id": "others"}).json() == {"dags": 1}


def test_a_gallery_that_is_off_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__APIMART__GALLERY", "False")
    found = client("admin").get("/apimart/api/generations").json()
    assert found["index"]["state"] == "off" and "gallery = False" in found["index"]["text"]


def test_without_its_tables_the_gallery_says_why(client: Client, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_apimart.ui.index import tables

    def denied(_: Any) -> None:
        raise IndexUnavailableError("the user of that database may not make its tables")

    tables.metadata.drop_all(engine)
    monkeypatch.setattr(keeper, "make_ready", denied)
    keeping = keeper.Keeper(engine, Settings())
    monkeypatch.setattr(keeper, "_keeper", keeping)
    with pytest.raises(IndexUnavailableError):
        keeping.step(FIRST, 0.0)
    keeping.trouble = "the user of that database may not make its tables"
    found = client("admin").get("/apimart/api/generations").json()
    assert found["index"] == {"state": "unavailable", "text": keeping.trouble} and found["items"] == []
    assert client("admin").get("/apimart/api/spend").json()["days"] == []
    assert client("admin").get("/apimart/api/generations.csv").status_code == 200
