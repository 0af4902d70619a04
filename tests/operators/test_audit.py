"""``airflow-provider-apimart audit``: the emulator's bill beside the records and manifests of tasks that ran."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart import cli
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.emulator.state.settings import DEFAULT_KEY
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators import batches
from tests.operators.conftest import Tries
from tests.operators.single import make

OTHER_KEY = "sk-another-key"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def emulator(apimart_emulator_conn: Emulator, no_waiting: list[float], monkeypatch: pytest.MonkeyPatch) -> Emulator:
    # The command says "server" for its own process; here that would outlive the test.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    return apimart_emulator_conn


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command over yesterday to tomorrow (the tests may run around midnight)."""

    def run(*arguments: str, database: bool = False) -> tuple[int, str, str]:
        capsys.readouterr()
        today = datetime.now(UTC).date()
        days = ["--from", str(today - timedelta(days=1)), "--to", str(today + timedelta(days=1))]
        code = cli.main(["audit", *days, *([] if database else ["--no-database"]), *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def generate(folder: Path, **arguments: Any) -> dict[str, Any]:
    operator = make(folder, **arguments)
    found: dict[str, Any] = operator.execute(Tries().next(operator, store=False))
    return found


def pay_without_a_task() -> None:
    with ApimartHook().get_conn() as client:
        client.submit(VeoRequest(prompt="a dog", duration=4).body(), "by-hand")


def test_what_tasks_have_asked_for_is_what_is_billed(emulator: Emulator, tmp_path: Path, audit: Run) -> None:
    one = generate(tmp_path)
    code, said, _ = audit("--folder", str(tmp_path))
    assert code == 0
    assert f"{one['cost_usd']:.4f} USD (1)" in said and "no day(s) with a difference" in said
    found = json.loads(audit("--folder", f"{tmp_path}/", "--json")[1])
    assert found["agrees"] is True and found["billed_usd"] == found["recorded_usd"] == one["cost_usd"]
    (line,) = found["days"]
    assert line["generations"] == [
        {"generation_id": one["generation_id"], "cost_usd": one["cost_usd"], "asked_by": "a_dag / a_run / make"}
    ]


def test_what_no_task_has_asked_for_is_told(emulator: Emulator, tmp_path: Path, audit: Run) -> None:
    generate(tmp_path)
    pay_without_a_task()
    code, said, _ = audit("--folder", str(tmp_path))
    assert code == 1
    assert "1 billed that no record tells of" in said and "1 day(s) with a difference" in said


def test_a_batch_is_known_by_its_manifest(emulator: Emulator, tmp_path: Path, audit: Run) -> None:
    result = batches.run(batches.batch(tmp_path, batches.prompts(3)), Tries())
    assert audit()[0] == 1
    code, said, _ = audit("--manifest", result["manifest"])
    assert code == 0 and "(3)" in said


def test_other_keys_are_left_out_or_asked_for_with_the_account(
    tmp_path: Path, audit: Run, no_waiting: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    with Emulator(api_keys=(DEFAULT_KEY, OTHER_KEY)) as emulator:
        for name, key in (("DEFAULT", DEFAULT_KEY), ("OTHER", OTHER_KEY)):
            connection = {"conn_type": "apimart", "host": emulator.base_url, "password": key}
            monkeypatch.setenv(f"AIRFLOW_CONN_APIMART_{name}", json.dumps(connection))
        generate(tmp_path)
        code, said, err = audit("--folder", str(tmp_path), "--conn-id", "apimart_other")
        assert code == 0 and "0.0000 USD billed" in said
        assert "1 generations were paid with other keys" in err
        code, said, err = audit("--folder", str(tmp_path), "--conn-id", "apimart_other", "--scope", "account")
        assert code == 0 and "(1)" in said and "other keys" not in err


def test_no_bill_is_not_a_bill_of_nothing(emulator: Emulator, tmp_path: Path, audit: Run) -> None:
    emulator.fault("usage", "status", status=503, times=100)
    code, said, err = audit("--folder", str(tmp_path))
    assert code == 2 and said == "" and "The bill cannot be read" in err


def test_what_cannot_be_read_is_told_and_makes_the_audit_blind(emulator: Emulator, tmp_path: Path, audit: Run) -> None:
    one = generate(tmp_path)
    code, said, err = audit("--folder", str(tmp_path), "--folder", str(tmp_path / "gone"), "--manifest", "/no/m.jsonl")
    assert code == 2
    assert "does not exist" in err and "The manifest /no/m.jsonl cannot be read" in err
    assert f"{one['cost_usd']:.4f} USD (1)" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--from", "yesterday"], "'yesterday' is no day; allowed: YYYY-MM-DD"),
        (["--from", "2026-11-02", "--to", "2026-11-01"], "--to 2026-11-01 is before --from 2026-11-02"),
        (["--from", "2999-01-01"], "is in the future"),
        (["--from", "2026-11-02", "--tolerance", "-1"], "'-1' is no amount of USD"),
        (["--from", "2026-11-02", "--tolerance", "nan"], "'nan' is no amount of USD"),
        ([], "--from"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["audit", *arguments])
    assert caught.value.code == 2 and why in capsys.readouterr().err


def test_a_long_time_is_asked_for_in_parts(emulator: Emulator, tmp_path: Path, audit: Run) -> None:
    generate(tmp_path)
    begin = datetime.now(UTC).date() - timedelta(days=90)
    code, _, _ = audit("--folder", str(tmp_path), "--from", str(begin))
    assert code == 0
    asked = [one for one in emulator.state()["requests"] if one["path"] == "/v1/usage"]
    assert len(asked) == 3


def test_it_pays_nothing(emulator: Emulator, tmp_path: Path, audit: Run) -> None:
    generate(tmp_path)
    audit("--folder", str(tmp_path))
    assert emulator.state()["paid"] == 1
    assert isinstance(make(tmp_path), VeoGenerateOperator)
