"""One try after the other of a task: what is paid for, fetched and kept by those that come later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.emulator.server import Emulator
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.conftest import Tries
from tests.operators.single import make

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_retry_after_success_pays_and_fetches_nothing(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path)
    first = operator.execute(tries.next(operator))
    fetched = len(emulator.requests("media"))
    assert operator.execute(tries.next(operator)) == first
    assert emulator.state()["posts"] == 1
    assert len(emulator.requests("media")) == fetched


def test_a_damaged_file_is_fetched_again_not_paid(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path)
    first = operator.execute(tries.next(operator))
    path = Path(first["videos"][0]["path"])
    path.write_bytes(path.read_bytes()[:-10])
    assert operator.execute(tries.next(operator)) == first
    assert path.stat().st_size == first["videos"][0]["bytes"]
    assert emulator.state()["posts"] == 1


def test_gone_file_and_expired_url_are_refused_with_the_way_out(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    operator = make(tmp_path)
    first = operator.execute(tries.next(operator))
    Path(first["videos"][0]["path"]).unlink()
    emulator.expire()
    with pytest.raises(AirflowFailException, match="regenerate"):
        operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 1


def test_a_changed_prompt_is_a_new_generation(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    first = make(tmp_path)
    second = make(tmp_path, prompt="a dog")
    one = first.execute(tries.next(first))
    two = second.execute(tries.next(second))
    assert one["generation_id"] != two["generation_id"]
    assert emulator.state()["paid"] == 2


@pytest.mark.parametrize(("on_clear", "paid"), [("reuse", 1), ("regenerate", 2)])
def test_clear(emulator: Emulator, tries: Tries, tmp_path: Path, on_clear: str, paid: int) -> None:
    operator = make(tmp_path, on_clear=on_clear, retries=2)
    operator.execute(tries.next(operator))
    tries.clear()
    operator.execute(tries.next(operator))
    operator.execute(tries.next(operator))
    assert emulator.state()["paid"] == paid


@pytest.mark.skipif(not HAS_STATE_STORE, reason="the task state store came with Airflow 3.3")
def test_a_change_to_regenerate_needs_a_clear_of_its_own(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    reuse, regenerate = (make(tmp_path, on_clear=on_clear, retries=2) for on_clear in ("reuse", "regenerate"))
    reuse.execute(tries.next(reuse))
    tries.clear()
    reuse.execute(tries.next(reuse))
    regenerate.execute(tries.next(regenerate))
    assert emulator.state()["paid"] == 1
    tries.clear()
    regenerate.execute(tries.next(regenerate))
    assert emulator.state()["paid"] == 2


def test_an_edit_of_retries_is_no_clear(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    before, after = (make(tmp_path, on_clear="regenerate", retries=retries) for retries in (4, 0))
    before.execute(tries.next(before))
    context = tries.next(before)
    context["task"] = after
    after.execute(context)
    assert emulator.state()["paid"] == 1


def test_without_a_store_a_retry_finds_the_generation_by_its_key(
    emulator: Emulator, tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    operator = make()
    first = operator.execute(tries.next(operator, store=False))
    second = operator.execute(tries.next(operator, store=False))
    assert first["generation_id"] == second["generation_id"]
    assert emulator.state()["paid"] == 1
    assert "no record outlives this try" in caplog.text


def test_before_3_3_the_record_is_beside_the_output(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path)
    operator.execute(tries.next(operator, store=False))
    (record,) = (tmp_path / ".apimart-records").glob("*.json")
    assert json.loads(record.read_text())["state"] == "landed"
    operator.execute(tries.next(operator, store=False))
    assert emulator.state()["posts"] == 1


@pytest.mark.skipif(not HAS_STATE_STORE, reason="the task state store came with Airflow 3.3")
def test_record_is_kept_for_the_life_of_the_run(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    from airflow.sdk import NEVER_EXPIRE

    operator = make(tmp_path)
    operator.execute(tries.next(operator))
    assert tries.store.retentions and all(each is NEVER_EXPIRE for each in tries.store.retentions)
    text = json.dumps(tries.store.values)
    assert emulator.api_key not in text
    assert "/media/" not in text
