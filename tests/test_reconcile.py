"""Generations that were paid for and left behind are listed with their cost, landed, and never paid for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from airflow_provider_apimart import cli
from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import GenerationParkedError
from airflow_provider_apimart.client.models import Generation, Video
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.landing import download
from airflow_provider_apimart.generation.landing import reconcile as reconciling
from airflow_provider_apimart.generation.landing.reconcile import (
    Asker,
    Fate,
    Finding,
    Kept,
    close,
    findings,
    note_uncharged,
)
from airflow_provider_apimart.generation.purchase.record import Record, read_record
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.stores import record_stores
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.conftest import Tries


@pytest.fixture
def emulator(apimart_emulator_conn: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    # The command says "server" for its own process; here that would outlive the test.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    monkeypatch.setattr(download, "_backoff", lambda failures: 0.0)
    return apimart_emulator_conn


def park(output: str, monkeypatch: pytest.MonkeyPatch, emulator: Emulator, **arguments: Any) -> None:
    """Leave a paid generation behind, with its record beside ``output``."""
    operator = VeoGenerateOperator(
        duration=4, deferrable=False, output_path=output, **{"task_id": "make", "prompt": "a cat", **arguments}
    )
    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_apimart.operators.tries.wait", lambda *_: (None, ""))
        patch.setattr(time, "sleep", lambda seconds: None)
        with pytest.raises(GenerationParkedError):
            operator.execute(Tries().next(operator, store=False))


def reconcile(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["reconcile", "--no-database", *arguments])
    return code, capsys.readouterr().out


def test_lists_then_lands_what_was_parked(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    (generation,) = emulator.state()["generations"]

    code, said = reconcile(capsys, "--folder", str(tmp_path))
    assert code == 1
    assert generation["generation_id"] in said
    assert "completed, 0.256 USD" in said
    assert "a_dag / a_run / make: not landed" in said

    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
    assert code == 0
    path = tmp_path / f"{generation['generation_id']}.mp4"
    assert f"landed {path}" in said
    assert path.is_file()
    sidecar = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert sidecar["airflow"] == {"dag_id": "a_dag", "run_id": "a_run", "task_id": "make", "map_index": -1}

    assert reconcile(capsys, "--folder", str(tmp_path)) == (
        0,
        "0 paid or doubtful generations are not in storage; 0 left.\n",
    )
    assert emulator.state()["posts"] == 1


def test_the_task_keeps_what_reconcile_has_landed(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    reconcile(capsys, "--folder", str(tmp_path), "--land")
    fetched = len(emulator.requests("media"))
    operator = VeoGenerateOperator(
        task_id="make", prompt="a cat", duration=4, deferrable=False, output_path=f"{tmp_path}/"
    )
    result = operator.execute(Tries().next(operator, store=False))
    assert Path(result["videos"][0]["path"]).is_file()
    assert emulator.state()["posts"] == 1
    assert len(emulator.requests("media")) == fetched


def test_superseded_generation_is_landed_beside_the_newer_one(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "clip.mp4")
    park(output, monkeypatch, emulator, prompt="the first")
    park(output, monkeypatch, emulator, prompt="the second")
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
    assert code == 0
    assert "superseded" in said
    first, second = (
        each["generation_id"] for each in sorted(emulator.state()["generations"], key=lambda g: g["created"])
    )
    assert json.loads((tmp_path / "clip.mp4.json").read_text())["generation_id"] == second
    assert (tmp_path / f"clip-{first}.mp4").is_file()


def test_unknown_outcome_is_told_with_its_key(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    (path,) = (tmp_path / ".apimart-records").glob("*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "state": "intent", "generation_id": None}))
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land", "--json")
    assert code == 1
    (finding,) = [json.loads(line) for line in said.splitlines()]
    assert finding["generation_id"] is None
    assert record["idempotency_key"] in finding["note"]
    assert emulator.api_key not in said


def test_damaged_record_is_told_not_skipped(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    (path,) = (tmp_path / ".apimart-records").glob("*.json")
    path.write_text("{")
    code, said = reconcile(capsys, "--folder", str(tmp_path))
    assert code == 1
    assert "cannot be read" in said


# --- what is in trouble keeps nothing else from being landed ---


def lines(said: str) -> dict[str | None, dict[str, Any]]:
    """Return what ``--json`` tells, by task."""
    told = [json.loads(line) for line in said.splitlines()]
    return {each["asked_by"].get("task_id"): each for each in told}


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the records in a folder, by task."""
    kept = [json.loads(path.read_text()) for path in (folder / ".apimart-records").glob("*.json")]
    return {each["asked_by"]["task_id"]: each for each in kept}


def rewrite(folder: Path, task_id: str, **changes: Any) -> None:
    """Change a record behind everybody's back."""
    for path in (folder / ".apimart-records").glob("*.json"):
        record = json.loads(path.read_text())
        if record["asked_by"]["task_id"] == task_id:
            path.write_text(json.dumps({**record, **changes}))


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        (None, "there is no such Airflow connection"),
        ({"conn_type": "apimart"}, "no API key"),
        ({"conn_type": "aws", "password": "hunter2"}, "conn_type='aws'"),
        ({"conn_type": "apimart", "password": "refused-4711"}, "cannot be asked"),
        ({"conn_type": "apimart", "password": "sk-1", "host": "http://127.0.0.1:9"}, "no connection to 127.0.0.1:9"),
    ],
)
def test_a_connection_in_trouble_is_told_and_the_others_go_on(
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    connection: dict[str, str] | None,
    says: str,
) -> None:
    for task_id in ("first", "second", "third"):
        park(f"{tmp_path}/", monkeypatch, emulator, task_id=task_id)
    rewrite(tmp_path, "first", apimart_conn_id="troubled")
    rewrite(tmp_path, "second", apimart_conn_id="troubled")
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_TROUBLED", json.dumps({"host": emulator.base_url, **connection}))
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    monkeypatch.setattr("airflow_provider_apimart.client.client.time.sleep", lambda seconds: None)
    asked = len(emulator.requests("status"))
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land", "--json")
    told = lines(said)
    assert code == 1
    assert told["third"]["outcome"].startswith("landed ")
    for task_id in ("first", "second"):
        assert told[task_id]["note"].startswith("cannot be asked: ")
        assert says in told[task_id]["note"]
        assert told[task_id]["outcome"] == "not landed"
        assert records(tmp_path)[task_id]["state"] == "submitted"
    assert "hunter2" not in said and "refused-4711" not in said
    # A key that was refused is not tried again for each of its records.
    assert len(emulator.requests("status")) - asked <= 2

    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land", "--conn-id", "apimart_default")
    assert code == 0
    assert "2 landed now; 0 left" in said


def test_records_that_cannot_be_read_keep_no_other_from_being_landed(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator, task_id="good")
    folder = tmp_path / ".apimart-records"
    (folder / "a.json").write_text("[")
    (folder / "b.json").write_bytes(b"\xff\xfe")
    (folder / "c.json").write_text(json.dumps({"version": 2}))
    (folder / "d.json").mkdir()
    (folder / "notes.txt").write_text("not ours")
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land", "--json")
    assert code == 1
    told = [json.loads(line) for line in said.splitlines()]
    assert sorted(each["outcome"].split()[0] for each in told) == ["landed", "not", "not", "not"]
    assert all("cannot be read" in each["note"] for each in told if each["generation_id"] is None)


def test_a_record_of_an_output_that_is_gone_keeps_no_other_from_being_landed(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator, task_id="a_lost_bucket")
    park(f"{tmp_path}/", monkeypatch, emulator, task_id="good")
    rewrite(tmp_path, "a_lost_bucket", output_path="s3://nope@bucket/videos/")
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land", "--json")
    told = lines(said)
    assert code == 1
    assert "no Airflow connection 'nope'" in told["a_lost_bucket"]["outcome"]
    assert told["good"]["outcome"].startswith("landed ")


@pytest.mark.parametrize(
    "wrong", ["{}/vidoes/", "{}/vidoes", "{}/good.txt", "s3://nope@bucket/videos/", "nonsense://x/"]
)
def test_a_folder_that_is_wrong_is_told_and_the_others_are_looked_at(
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: str,
) -> None:
    (tmp_path / "good.txt").write_text("a file")
    park(f"{tmp_path}/[good]/", monkeypatch, emulator)
    wrong = wrong.format(tmp_path)
    capsys.readouterr()
    arguments = ["reconcile", "--no-database", "--land", "--folder", wrong, "--folder", f"{tmp_path}/[good]"]
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert f"--folder {wrong} cannot be looked at" in said.err
    assert "1 landed now; 0 left" in said.out


def test_a_folder_without_records_has_nothing_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reconcile(capsys, "--folder", str(tmp_path))[0] == 0


def test_a_database_that_cannot_be_read_is_told_and_the_folders_are_looked_at(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(dag_id: str | None) -> Any:
        raise RuntimeError("no such table\n[SQL: SELECT everything]")

    monkeypatch.setattr(record_stores, "records_of_airflow", fails)
    park(f"{tmp_path}/", monkeypatch, emulator)
    capsys.readouterr()
    assert cli.main(["reconcile", "--land", "--folder", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "Airflow's database cannot be looked at: RuntimeError: no such table\n" in said.err
    assert "SQL" not in said.err
    assert "1 landed now" in said.out


def test_nothing_to_look_at_is_not_nothing_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], emulator: Emulator
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["reconcile", "--no-database"])
    assert caught.value.code == 2

    def none(dag_id: str | None) -> Any:
        raise ImportError("before 3.3")

    monkeypatch.setattr(record_stores, "records_of_airflow", none)
    assert cli.main(["reconcile"]) == 2
    assert "--folder" in capsys.readouterr().err


# --- it comes to rest ---


@pytest.mark.parametrize(("mark", "state"), [("[[fail]]", "failed"), ("[[reject]]", "rejected")])
def test_what_failed_and_was_not_charged_is_settled_and_not_counted(
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mark: str,
    state: str,
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator, prompt=f"a cat {mark}")
    code, said = reconcile(capsys, "--folder", str(tmp_path))
    assert code == 0
    assert "not charged" in said
    assert "0 paid or doubtful" in said
    assert records(tmp_path)["make"]["state"] == "submitted"

    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
    assert code == 0
    assert records(tmp_path)["make"]["state"] == state
    assert reconcile(capsys, "--folder", str(tmp_path), "--json") == (0, "")


def expired(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    park(f"{tmp_path}/", monkeypatch, emulator)
    (generation,) = emulator.state()["generations"]
    with ApimartHook().get_conn() as client:
        client.generation(generation["generation_id"])
    emulator.expire()
    return str(generation["generation_id"])


def test_what_has_expired_is_told_once_and_its_story_stays(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generation_id = expired(emulator, tmp_path, monkeypatch)
    # Listing writes nothing.
    for _ in range(2):
        code, said = reconcile(capsys, "--folder", str(tmp_path))
        assert code == 1
        assert "its URL has expired" in said

    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
    assert code == 1
    assert generation_id in said
    assert "(0.256 USD), 0 landed now; 1 left" in said
    assert "not told again" in said
    for land in ([], ["--land"]):
        assert reconcile(capsys, "--folder", str(tmp_path), "--json", *land) == (0, "")
    record = records(tmp_path)["make"]
    assert (record["state"], record["generation_id"], record["cost_usd"]) == ("submitted", generation_id, 0.256)
    assert "its URL has expired" in record["note"]
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--all")
    assert code == 0
    assert generation_id in said


def test_what_was_told_for_the_last_time_changes_nothing_for_its_task(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expired(emulator, tmp_path, monkeypatch)
    reconcile(capsys, "--folder", str(tmp_path), "--land")
    operator = VeoGenerateOperator(
        task_id="make", prompt="a cat", duration=4, deferrable=False, output_path=f"{tmp_path}/"
    )
    with pytest.raises(AirflowFailException, match="is not served"):
        operator.execute(Tries().next(operator, store=False))
    assert emulator.state()["posts"] == 1


def test_what_is_not_known_is_left_until_a_person_has_looked(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    rewrite(tmp_path, "make", state="intent", generation_id=None)
    key = records(tmp_path)["make"]["idempotency_key"]
    before = records(tmp_path)
    for _ in range(2):
        code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
        assert code == 1
        assert f"--forget {key}" in said
    assert records(tmp_path) == before
    assert reconcile(capsys, "--folder", str(tmp_path), "--forget", key)[0] == 0
    assert reconcile(capsys, "--folder", str(tmp_path), "--json") == (0, "")
    # The task goes by the intent as before.
    assert records(tmp_path)["make"] == {**before["make"], "closed_at": ANY, "note": ANY}
    assert reconcile(capsys, "--folder", str(tmp_path), "--forget", key)[0] == 2


def test_a_superseded_one_is_landed_once(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator, prompt="the first")
    park(f"{tmp_path}/", monkeypatch, emulator, prompt="the second")
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
    assert (code, said.count(": landed ")) == (0, 2)
    assert [old["state"] for old in records(tmp_path)["make"]["previous"]] == ["landed"]
    asked = len(emulator.requests())
    assert reconcile(capsys, "--folder", str(tmp_path), "--land", "--json") == (0, "")
    assert len(emulator.requests()) == asked


# --- beside a task that is at work ---


def test_what_a_task_writes_while_its_video_is_landed_is_not_lost(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    deliver = reconciling.deliver

    def meanwhile(**arguments: Any) -> Any:
        # A try with other inputs has paid for a generation of its own.
        park(f"{tmp_path}/", monkeypatch, emulator, prompt="another")
        return deliver(**arguments)

    monkeypatch.setattr(reconciling, "deliver", meanwhile)
    (first,) = (each["generation_id"] for each in emulator.state()["generations"])
    assert reconcile(capsys, "--folder", str(tmp_path), "--land")[0] == 0
    (second,) = {each["generation_id"] for each in emulator.state()["generations"]} - {first}
    record = records(tmp_path)["make"]
    assert (record["state"], record["generation_id"]) == ("submitted", second)
    assert [old["state"] for old in record["previous"]] == ["landed"]


def test_a_clear_that_a_task_has_noted_meanwhile_is_not_lost(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    deliver = reconciling.deliver

    def meanwhile(**arguments: Any) -> Any:
        rewrite(tmp_path, "make", clear_epoch=7)
        return deliver(**arguments)

    monkeypatch.setattr(reconciling, "deliver", meanwhile)
    assert reconcile(capsys, "--folder", str(tmp_path), "--land")[0] == 0
    record = records(tmp_path)["make"]
    assert (record["state"], record["clear_epoch"]) == ("landed", 7)


def test_output_must_be_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["reconcile", "--output", "/tmp/clip.mp4"])
    assert "must be a folder" in capsys.readouterr().err


# --- what becomes of each kind ---

NOW = datetime.now(UTC)


class Box:
    """A store of one record, to which somebody else may be writing."""

    durable, description = True, "a box"

    def __init__(self, record: Record, *meanwhile: Record | None) -> None:
        self.record: Record | None = record
        self.meanwhile = list(meanwhile)

    def load(self) -> Record | None:
        return self.record

    def save(self, record: Record) -> None:
        raise AssertionError("an unconditional write can lose another one")

    def replace(self, old: Record, new: Record) -> bool:
        if self.meanwhile:
            self.record = self.meanwhile.pop(0)
        if self.record != old:
            return False
        self.record = new
        return True


def record(**changes: Any) -> Record:
    known: dict[str, Any] = {
        "state": "submitted", "fingerprint": "f", "idempotency_key": "key-1", "epoch": 0, "number": 1, "model": "veo",
        "intent_at": NOW, "generation_id": "task_1", "submitted_at": NOW,
    }  # fmt: skip
    return Record(**{**known, **changes})


def view(**fields: Any) -> Generation:
    return Generation(**{"generation_id": "task_1", "status": "completed", "videos": (), **fields})


ALIVE = Video(url="https://x/v.mp4", expires_at=NOW + timedelta(hours=1))
DEAD = Video(url="https://x/v.mp4", expires_at=NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        (view(videos=(ALIVE,)), Fate.LANDABLE),
        (view(videos=(ALIVE, DEAD)), Fate.EXPIRED),
        (view(videos=(DEAD,)), Fate.EXPIRED),
        (view(status="processing"), Fate.PENDING),
        (view(status="failed"), Fate.UNCHARGED),
        (view(status="failed", cost_usd=0.0), Fate.UNCHARGED),
        (view(status="failed", rejected=True), Fate.UNCHARGED),
        (view(status="failed", cost_usd=0.256), Fate.LOST),
        (view(completed_at=NOW), Fate.PENDING),
        (view(), Fate.PENDING),
        (view(completed_at=NOW - timedelta(hours=25)), Fate.LOST),
        (RuntimeError("sk-secret"), Fate.UNKNOWN),
        (errors.NotFoundError("no such task"), Fate.UNKNOWN),
        (errors.ResponseError("HTML"), Fate.UNKNOWN),
    ],
)
def test_fates(said: Generation | Exception, fate: Fate) -> None:
    def ask(generation_id: str) -> Generation:
        if isinstance(said, Exception):
            raise said
        return said

    (finding,) = findings([Kept(Box(record()), record())], ask)
    assert finding.fate is fate
    assert "sk-secret" not in finding.note


def test_a_status_that_is_not_known_is_told_as_it_came() -> None:
    said = view(status="processing", raw_status="expired", progress=100, result_at_hand=True)
    (finding,) = findings([Kept(Box(record()), record())], lambda _: said)
    assert finding.fate is Fate.PENDING
    assert "'expired'" in finding.note and "a video is listed" in finding.note


def one(box: Box) -> Finding:
    (finding,) = findings([Kept(box, box.record)], lambda _: view(status="failed", error_message="no"))
    return finding


def test_a_write_is_made_on_what_others_have_written_meanwhile() -> None:
    box = Box(record(), record(clear_epoch=3))
    note_uncharged(one(box))
    assert box.record == record(clear_epoch=3, state="failed", note="no")


@pytest.mark.parametrize(
    "meanwhile",
    [
        None,
        record(state="landed"),
        record(state="failed"),
        record(state="intent", idempotency_key="key-2", generation_id=None),
    ],
)
def test_what_others_have_decided_meanwhile_stays(meanwhile: Record | None) -> None:
    box = Box(record(), meanwhile)
    close(one(box))
    assert box.record == meanwhile


def test_writing_against_others_ends() -> None:
    box = Box(record(), *(record(clear_epoch=number) for number in range(1, 100)))
    with pytest.raises(errors.LandingError, match="being written to"):
        close(one(box))


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (errors.AuthenticationError("no"), 1),
        (errors.PermissionDeniedError("no"), 3),
        (errors.ApimartConnectionError("no"), 3),
        (errors.ApimartTimeoutError("no"), 3),
        (errors.NotFoundError("no"), 10),
        (errors.ServerError("no"), 10),
    ],
)
def test_asking_stops_where_no_question_gets_through(error: errors.ApimartError, asked: int) -> None:
    class Client:
        asked = 0

        def generation(self, generation_id: str) -> Generation:
            self.asked += 1
            raise error

    client = Client()
    asker = Asker(client)  # type: ignore[arg-type]
    for _ in range(10):
        with pytest.raises(type(error)):
            asker("task_1")
    assert client.asked == asked


def test_records_of_older_versions_are_read_and_a_closed_one_is_remembered_when_superseded() -> None:
    old = record().model_dump(mode="json")
    del old["closed_at"]
    assert read_record(old, "here") == record()
    (previous,) = record(closed_at=NOW).as_previous()
    assert previous.closed_at == NOW
    (told,) = findings(
        [Kept(Box(record()), record(state="landed", previous=(previous,)))], lambda _: view(), closed=True
    )
    assert told.superseded
    assert not list(findings([Kept(Box(record()), record(previous=(previous,), state="landed"))], lambda _: view()))


@pytest.mark.skipif(not HAS_STATE_STORE, reason="before Airflow 3.3 there is no such table")
def test_a_row_of_the_database_is_replaced_only_where_nobody_else_has_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sqlalchemy
    from airflow.models import dagrun, taskinstance  # noqa: F401  # the tables that it points to
    from airflow.models.task_state_store import TaskStateStoreModel as Row
    from airflow.utils import session as sessions
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    Row.__table__.create(engine)

    @contextmanager
    def create_session() -> Iterator[Session]:
        with Session(engine) as session:
            yield session
            session.commit()

    monkeypatch.setattr(sessions, "create_session", create_session)
    with create_session() as session:
        values = {"dag_run_id": 1, "dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "key": "k"}
        session.add(Row(id=1, value=json.dumps(record().model_dump(mode="json")), **values))
    store = record_stores.RowRecordStore(1, "a row")
    assert store.replace(record(), record(note="first"))
    assert not store.replace(record(), record(note="second"))
    assert store.load() == record(note="first")
    assert not record_stores.RowRecordStore(2, "no row").replace(record(), record())
    engine.dispose()
