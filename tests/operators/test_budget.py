"""``max_cost_usd``: what is really asked for is priced, before anything is paid and never after."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between polls."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def make(tmp_path: Path, **arguments: Any) -> VeoGenerateOperator:
    values = {"task_id": "make", "prompt": "a cat", "deferrable": False, "output_path": f"{tmp_path}/", **arguments}
    return VeoGenerateOperator(**values)


def paid(emulator: Emulator) -> int:
    return int(emulator.state()["paid"])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, r"costs about 0\.512 USD \(1 x 8 s x 0\.064 USD/s without audio; prices from APIMart's price list\)"),
        ({"extra_body": {"duration": 8, "generate_audio": True}}, r"0\.64 USD"),
        ({"duration": 4, "extra_body": {"sample_count": 4}}, r"1\.024 USD \(4 x 4 s"),
        ({"duration": 4, "extra_body": {"resolution": "4K"}}, r"0\.8 USD \(1 x 4 s x 0\.2 USD/s"),
        ({"extra_body": {"sample_count": "4"}}, "is not known for this request"),
        ({"duration": 4, "extra_body": {"official_fallback": True}}, "is not known for this request"),
    ],
)
def test_what_is_really_asked_for_is_priced_before_anything_is_sent(
    emulator: Emulator, tries: Tries, tmp_path: Path, values: dict[str, Any], text: str
) -> None:
    operator = make(tmp_path, max_cost_usd=0.5, **values)
    with pytest.raises(AirflowFailException, match=rf"max_cost_usd=0\.5: .*{text}.*Nothing was submitted"):
        operator.execute(tries.next(operator))
    assert paid(emulator) == 0
    assert {request["path"] for request in emulator.state()["requests"]} == {"/api/pricing/models/all"}
    assert tries.store.values == {}


def test_the_limit_itself_is_allowed_and_the_source_is_in_the_log(
    emulator: Emulator, tries: Tries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    operator = make(tmp_path, max_cost_usd="0.512")
    with caplog.at_level(logging.INFO):
        operator.execute(tries.next(operator))
    assert "prices from APIMart's price list); max_cost_usd is 0.512" in caplog.text


def test_without_apimarts_prices_the_own_list_decides_and_is_named(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    emulator.fault("pricing", "status", status=500, times=-1)
    operator = make(tmp_path, max_cost_usd=0.5)
    with pytest.raises(AirflowFailException, match=r"0\.512 USD .*the provider's own list of 2026-10, since APIMart's"):
        operator.execute(tries.next(operator))


def test_what_is_paid_for_is_not_refused_when_the_limit_falls(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("media", "status", status=404, times=-1)
    first = make(tmp_path, max_cost_usd=1)
    with pytest.raises(Exception, match="paid for"):
        first.execute(tries.next(first))
    emulator.clear_faults()
    again = make(tmp_path, max_cost_usd=0.01)
    assert again.execute(tries.next(again))["status"] == "completed"
    # Landed, too, it is nobody's business what it would cost today.
    kept = make(tmp_path, max_cost_usd=0.01)
    assert kept.execute(tries.next(kept))["status"] == "completed"
    assert paid(emulator) == 1


def test_a_new_generation_after_a_failed_one_is_asked_again(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("submit", "task_fails", times=1)
    first = make(tmp_path, max_cost_usd=1)
    with pytest.raises(Exception, match="failed"):
        first.execute(tries.next(first))
    again = make(tmp_path, max_cost_usd=0.01)
    with pytest.raises(AirflowFailException, match="costs about"):
        again.execute(tries.next(again))
    assert paid(emulator) == 0


def test_labels_travel_to_the_sidecar(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, labels={"sku": "K-1", "price": 9.9})
    result = operator.execute(tries.next(operator))
    sidecar = json.loads(Path(result["videos"][0]["path"] + ".json").read_text())
    assert sidecar["labels"] == {"sku": "K-1", "price": 9.9}
    assert "labels" not in sidecar["request"]


def test_labels_are_a_dict(tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"labels=.*a dict with text keys"):
        make(tmp_path, labels=["sku"])
