"""Every route asks Airflow who may see it; videos come in parts, and only from where records say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_apimart.ui.routes import delivery
from airflow_provider_apimart.ui.sources import sidecars, storage
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import Rows
from tests.ui.conftest import Client

RUN = "manual__2026-11-26T14:00:00+00:00"
MINE = Place("mine", RUN, "make")
OTHERS = Place("others", RUN, "make", 3)
SIZE = 3 * 1024 * 1024 + 11
PROMPT = "<script>alert(1)</script> \u202egnp.exe " + "x" * 20_000


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip one.mp4"
    head = b"\x00\x00\x00\x18ftypmp42"
    path.write_bytes((head + bytes(range(256)) * (SIZE // 256 + 1))[:SIZE])
    assert path.stat().st_size == SIZE
    return path


def note(path: object, **more: Any) -> dict[str, Any]:
    landed = {"path": str(path), "bytes": SIZE, "sha256": "00", "duration_seconds": 4.0, "width": 2, "height": 2}
    return {
        "version": 1,
        "kind": "generation",
        "outcome": "completed",
        "generation_id": "task_1",
        "prompt": PROMPT,
        "model": "veo3.1-fast",
        "parameters": {"duration": 4},
        "labels": {"sku": "A1"},
        "cost_usd": 0.2,
        "submitted_at": "2026-11-26T13:58:00Z",
        "completed_at": "2026-11-26T13:59:15Z",
        "videos": [{**landed, "has_audio": True}],
        **more,
    }


@pytest.fixture
def two_dags(rows: Rows, video: Path) -> None:
    for place in (MINE, OTHERS):
        rows.task(place, apimart_note_2026112613=note(video))


def url(route: str, place: Place, *rest: object) -> str:
    ids = (place.dag_id, place.run_id, place.task_id, str(place.map_index), *map(str, rest))
    return f"/apimart/{route}/" + "/".join(quote(each, safe="") for each in ids)


OF_ONE_DAG = [("api/task", ()), ("api/rows", ()), ("video", (1,)), ("poster", (1,)), ("picture", ("poster",))]


@pytest.mark.parametrize(("route", "rest"), OF_ONE_DAG)
@pytest.mark.usefixtures("two_dags")
def test_every_route_of_a_dag_asks_who_is_there(client: Client, route: str, rest: tuple[int | str, ...]) -> None:
    theirs = {"api/task": 200, "api/rows": 404, "video": 200, "poster": 404, "picture": 404}[route]
    for user, place, wanted in [
        (None, MINE, 401),
        ("none", MINE, 403),
        ("one", MINE, theirs),
        ("one", OTHERS, 403),
        ("viewer", OTHERS, theirs),
        ("admin", OTHERS, theirs),
        ("none", Place("~", RUN, "make"), 403),
        ("one", Place("~", RUN, "make"), 404),
        ("admin", Place("~", RUN, "make"), 404),
        ("one", Place("no_such_dag", RUN, "make"), 403),
        ("admin", Place("no_such_dag", RUN, "make"), 404),
        ("admin", Place("mine", "no such run", "make"), 404),
        ("admin", Place("mine", RUN, "x" * 300), 404),
        ("admin", Place("mine", RUN, "nul\x00"), 404),
        ("admin", Place("mine", RUN, "' OR 1=1 --"), 404),
        ("admin", Place("mine", RUN, "../../etc/passwd"), 404),
        ("admin", Place("mine", RUN, "make", 2**40), 404),
        ("admin", Place("mine", RUN, "make", 7), 404),
    ]:
        answer = client(user).get(url(route, place, *rest))
        assert answer.status_code == wanted, (user, place, answer.text[:200])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        if answer.status_code != 200 or route.startswith("api"):
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("two_dags")
def test_a_forged_token_and_another_site_are_refused(client: Client) -> None:
    browser = client("admin")
    for headers, wanted in [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ]:
        assert browser.get(url("api/task", MINE), headers=headers).status_code == wanted, headers
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert browser.request(method, url("api/task", MINE)).status_code == 405
    forged = client(None)
    forged.cookies.set("_token", browser.cookies["_token"][:-4] + "AAAA")
    assert forged.get(url("api/task", MINE)).status_code in (401, 403)


def test_its_own_documentation_is_not_served(client: Client) -> None:
    for path in ("docs", "redoc", "openapi.json"):
        assert client("admin").get(f"/apimart/{path}").status_code == 404


@pytest.mark.parametrize("unmapped", ["{MAP_INDEX}", "undefined", "-2", "1.5", "\u0661", ""])
@pytest.mark.usefixtures("two_dags")
def test_what_is_no_map_index_is_not_there(client: Client, unmapped: str) -> None:
    path = f"/apimart/api/task/mine/{quote(RUN, safe='')}/make/{quote(unmapped, safe='')}"
    assert client("admin").get(path).status_code == 404


@pytest.mark.usefixtures("two_dags")
def test_task_tells_the_generation(client: Client, video: Path) -> None:
    found = client("one").get(url("api/task", MINE)).json()
    assert found["kind"] == "generation" and found["outcome"] == "completed" and found["state"] == "success"
    assert found["prompt"] == PROMPT
    assert found["cost_usd"] == 0.2 and found["label"] == "A1" and found["elapsed_seconds"] == 75.0
    (told,) = found["videos"]
    assert told["path"] == str(video)
    assert client("one").get(f"/apimart/{told['video_url']}").status_code == 200


def test_a_task_of_somebody_elses_is_none(client: Client, rows: Rows) -> None:
    place = rows.task(MINE, operator="BashOperator", return_value={"videos": [{"path": "/etc/hosts"}]})
    assert client("admin").get(url("api/task", place)).json() == {"kind": "none"}
    assert client("admin").get(url("video", place, 1)).status_code == 404


@pytest.mark.usefixtures("two_dags")
@pytest.mark.parametrize(
    ("header", "status", "start", "length"),
    [
        (None, 200, 0, SIZE),
        ("bytes=0-", 206, 0, storage.PIECE),
        ("bytes=5-9", 206, 5, 5),
        ("bytes=0-2097151", 206, 0, 2 * 1024 * 1024),
        ("bytes=3145728-", 206, 3145728, 11),
        ("bytes=-11", 206, SIZE - 11, 11),
        (f"bytes=-{10**17}", 206, 0, SIZE),
        (f"bytes={SIZE - 1}-{10**17}", 206, SIZE - 1, 1),
        (f"bytes={SIZE}-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-5", 200, 0, SIZE),
        ("bytes=0-1,2-3", 200, 0, SIZE),
        pytest.param("bytes=" + "0-," * 5000, 200, 0, SIZE, id="thousands of ranges"),
        ("pages=1-2", 200, 0, SIZE),
        ("bytes=a-b", 200, 0, SIZE),
    ],
)
def test_video_comes_in_parts(
    client: Client, video: Path, header: str | None, status: int, start: int, length: int
) -> None:
    browser = client("one")
    answer = browser.get(url("video", MINE, 1), headers={"Range": header} if header else {})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{SIZE}"
        return
    assert answer.content == video.read_bytes()[start : start + length]
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["cache-control"].startswith("private")
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{start + length - 1}/{SIZE}"
    head = browser.head(url("video", MINE, 1), headers={"Range": header} if header else {})
    assert (head.status_code, head.headers["content-length"], head.content) == (status, str(length), b"")
    assert delivery.streams.sending == 0


@pytest.mark.usefixtures("two_dags")
@pytest.mark.parametrize("n", ["0", "2", "-1", "x", "99999999999999999999", "1.0"])
def test_there_is_no_other_video(client: Client, n: str) -> None:
    assert client("admin").get(url("video", MINE, n)).status_code == 404


@pytest.mark.usefixtures("two_dags")
def test_too_many_streams_are_told_to_come_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery.streams, "sending", 32)
    answer = client("admin").get(url("video", MINE, 1))
    assert answer.status_code == 503 and answer.headers["retry-after"]


@pytest.mark.usefixtures("two_dags")
def test_a_file_that_has_gone_is_told(client: Client, video: Path) -> None:
    video.unlink()
    answer = client("admin").get(url("video", MINE, 1))
    assert answer.status_code == 404 and "not there any more" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "relative.mp4",
        "http://169.254.169.254/latest/clip.mp4",
        "zip://clip.mp4::http://127.0.0.1/x.zip",
        "/tmp/../etc/clip.mp4",
        "file://videos/clip.mp4",
        "x.mp4\x00",
        7,
        None,
        {"path": "/x.mp4"},
    ],
)
def test_a_record_cannot_name_any_file(client: Client, rows: Rows, path: Any) -> None:
    rows.task(MINE, apimart_note_2026112613={**note("x"), "videos": [{"path": path}]})
    assert client("admin").get(url("video", MINE, 1)).status_code == 404


def test_a_file_is_shown_only_if_it_is_a_video(client: Client, rows: Rows, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_text("password = hunter2, and more of it")
    rows.task(MINE, apimart_note_2026112613=note(secret))
    answer = client("admin").get(url("video", MINE, 1))
    assert answer.status_code == 404 and "hunter2" not in answer.text


@pytest.mark.usefixtures("two_dags")
def test_video_roots_bound_what_is_shown(
    client: Client, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = client("admin")
    for roots, wanted in [("/elsewhere/", 404), (f"/elsewhere, {tmp_path}", 200), (str(tmp_path)[:-1], 404)]:
        monkeypatch.setenv("AIRFLOW__APIMART__VIDEO_ROOTS", roots)
        assert browser.get(url("video", MINE, 1)).status_code == wanted, roots


@pytest.mark.usefixtures("two_dags")
def test_a_wrong_option_says_which(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__APIMART__VIDEO_DELIVERY", "carrier pigeon")
    answer = client("admin").get(url("video", MINE, 1))
    assert answer.status_code == 500 and "video_delivery = 'carrier pigeon'; allowed: proxy" in answer.text


@pytest.mark.usefixtures("two_dags")
def test_a_local_file_is_sent_even_where_links_are_wanted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__APIMART__VIDEO_DELIVERY", "auto")
    assert client("admin").get(url("video", MINE, 1)).status_code == 200
    monkeypatch.setenv("AIRFLOW__APIMART__VIDEO_DELIVERY", "redirect")
    assert client("admin").get(url("video", MINE, 1)).status_code == 501


@pytest.mark.usefixtures("two_dags")
def test_poster_comes_from_the_media_sidecar(client: Client, video: Path, tmp_path: Path) -> None:
    browser = client("admin")
    assert browser.get(url("poster", MINE, 1)).status_code == 404
    poster = tmp_path / "poster.jpg"
    poster.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    outputs = [{"kind": "preview", "path": "/etc/passwd"}, {"kind": "poster", "path": str(poster)}]
    Path(f"{video}.media.json").write_text(json.dumps({"version": 1, "outputs": outputs}))
    sidecars._known.clear()
    answer = browser.get(url("poster", MINE, 1))
    assert (answer.status_code, answer.content) == (200, poster.read_bytes())
    assert answer.headers["content-type"] == "image/jpeg"


def test_sidecars_tell_posts_decision_and_check(client: Client, rows: Rows, video: Path) -> None:
    rows.task(MINE, apimart_note_2026112613=note(video))
    posts = [{"target": "youtube", "url": "https://youtu.be/1", "studio_url": "javascript:alert(1)", "state": "public"}]
    Path(f"{video}.posts.json").write_text(json.dumps({"schema": 1, "posts": posts}))
    decision = {"decision": "approved", "by": {"id": "1", "name": "Kim"}, "at": "2026-11-26T14:00:00Z", "changes": {}}
    Path(f"{video}.decision.json").write_text(json.dumps({"version": 1, "decisions": [{}, decision]}))
    check = {"verdict": "ok", "rules": [{"rule": "black", "verdict": "ok", "measured": 0.0}]}
    Path(f"{video}.media.json").write_text(json.dumps({"check": check}))
    found = client("admin").get(url("api/task", MINE)).json()
    assert found["approval"] == {
        "decision": "approved",
        "by": "Kim",
        "at": "2026-11-26T14:00:00Z",
        "reason": None,
        "changes": {},
    }
    assert found["posts"][0]["url"] == "https://youtu.be/1" and found["posts"][0]["studio_url"] is None
    assert found["check"]["rules"][0]["rule"] == "black"


def test_broken_sidecars_are_as_if_they_were_not_there(client: Client, rows: Rows, video: Path) -> None:
    rows.task(MINE, apimart_note_2026112613=note(video))
    for suffix, text in [(".posts.json", "[" * 5000), (".decision.json", '{"decisions": 3}'), (".media.json", "\xff")]:
        Path(f"{video}{suffix}").write_text(text)
    found = client("admin").get(url("api/task", MINE)).json()
    assert (found["approval"], found["posts"], found["check"]) == (None, [], None)


def test_a_failed_try_says_what_happened(client: Client, rows: Rows) -> None:
    error = {"text": "It was not finished.", "money": "It is billed.", "next": "Clear it."}
    place = rows.task(MINE, state="failed", apimart_note_2026112613=note("", outcome="parked", videos=[], error=error))
    found = client("admin").get(url("api/task", place)).json()
    assert (found["outcome"], found["error"]) == ("parked", error)


def test_a_try_that_was_killed_is_not_running_for_ever(client: Client, rows: Rows) -> None:
    running = note("", outcome="running", videos=[], completed_at=None)
    rows.task(MINE, state="deferred", apimart_note_2026112613=running)
    assert client("admin").get(url("api/task", MINE)).json()["outcome"] == "running"
    rows.state(MINE, "failed")
    found = client("admin").get(url("api/task", MINE)).json()
    assert found["outcome"] == "parked" and "Clear the task" in found["error"]["next"]


def test_a_result_of_an_older_version_is_told(client: Client, rows: Rows, video: Path) -> None:
    result = {**note(video), "status": "completed"}
    for name in ("version", "kind", "outcome", "prompt", "labels", "parameters"):
        result.pop(name)
    rendered = {"prompt": "a cat", "duration": "8", "seed": "7"}
    place = rows.task(MINE, operator="VeoAsset", rendered=rendered, return_value=result, _link_VeoVideoLink="x")
    found = client("admin").get(url("api/task", place)).json()
    assert (found["kind"], found["prompt"], found["seed"]) == ("generation", "a cat", 7)
    assert found["parameters"] == {"duration": "8"}
    assert client("admin").get(url("video", place, 1)).status_code == 200


def test_rows_of_a_batch_come_from_its_manifest(client: Client, rows: Rows, video: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest-mine-all-run.jsonl"
    lines = []
    for number in range(1, 121):
        landed = number % 3 != 0
        line = {"row": number, "outcome": "landed" if landed else "rejected", "labels": {"sku": f"S{number}"}}
        line |= {"request": {"prompt": f"shot {number}"}, "videos": [{"path": str(video)}] if landed else []}
        lines.append(json.dumps({**line, "error": None if landed else "refused"}))
    manifest.write_text("\n".join(lines))
    result = {"manifest": str(manifest), "rows": 120, "landed": 80, "cost_usd": 16.0}
    place = rows.task(Place("mine", RUN, "all"), operator="VeoGenerateBatchOperator", return_value=result)
    browser = client("one")
    found = browser.get(url("api/rows", place), params={"outcome": "failed", "page": 2, "page_size": 30}).json()
    assert (found["total"], found["outcomes"]) == (40, {"completed": 80, "failed": 40})
    assert [row["row"] for row in found["rows"]] == [str(number) for number in range(93, 121, 3)]
    first = browser.get(url("api/rows", place)).json()["rows"][0]
    assert browser.get(f"/apimart/{first['videos'][0]['video_url']}").status_code == 200
    assert browser.get(url("video", place, 1), params={"row": "3"}).status_code == 404
    assert browser.get(url("video", place, 1), params={"row": "no such row"}).status_code == 404
    assert browser.get(url("api/rows", place), params={"outcome": "evil"}).status_code == 422
    assert browser.get(url("api/task", place)).json()["summary"]["landed"] == 80
    manifest.unlink()
    assert browser.get(url("api/rows", place)).status_code == 404
