"""The connection: every way to write it, every way to get it wrong, and the key in no error."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_apimart import get_provider_info
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.connection_form import CONN_FIELDS
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.apimart import ApimartHook

KEY = "sk-a-secret-key-1234"


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> ApimartHook:
    """Set the connection and return a hook for it."""
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps({"conn_type": "apimart", "password": KEY, **fields}))
    return ApimartHook()


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://api.apimart.ai"),
        ({"host": ""}, "https://api.apimart.ai"),
        ({"host": "https://api.apib.ai/"}, "https://api.apib.ai"),
        ({"host": "https://api.apib.ai/v1"}, "https://api.apib.ai"),
        ({"host": "api.apib.ai"}, "https://api.apib.ai"),
        ({"host": "http://127.0.0.1:8808"}, "http://127.0.0.1:8808"),
        ({"host": "127.0.0.1", "port": 8808}, "http://127.0.0.1:8808"),
        ({"host": "localhost", "port": 8808, "schema": "http"}, "http://localhost:8808"),
        ({"host": "http://127.0.0.1:8808", "port": 0}, "http://127.0.0.1:8808"),
        ({"host": "http://10.0.0.5", "extra": {"allow_http": True}}, "http://10.0.0.5"),
        ({"host": "http://10.0.0.5", "extra": {"allow_http": "true"}}, "http://10.0.0.5"),
        ({"host": "https://gateway.example/apimart"}, "https://gateway.example/apimart"),
    ],
)
def test_host(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], base_url: str) -> None:
    hook = connect(monkeypatch, **fields)
    assert hook.settings().base_url == base_url
    assert asyncio.run(ApimartHook().asettings()) == hook.settings()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"password": ""}, "no API key"),
        ({"password": "sk with space inside"}, "holds a character"),
        ({"host": "http://10.0.0.5"}, "allow_http"),
        ({"host": "ftp://api.apimart.ai"}, "allowed: an https:// URL"),
        ({"host": "https://user:pw@api.apimart.ai"}, "without user"),
        ({"extra": {"allow_http": "perhaps"}}, "allow_http='perhaps': allowed: true or false"),
        ({"extra": {"response_version": "latest"}}, "response_version='latest'"),
        ({"extra": {"read_timeout_seconds": "soon"}}, "read_timeout_seconds='soon'"),
        ({"extra": {"max_video_megabytes": -1}}, "max_video_megabytes=-1"),
        ({"extra": {"requests_per_minute": "many"}}, "requests_per_minute='many'"),
        ({"extra": {"requests_per_minute": 0}}, "requests_per_minute=0"),
        ({"extra": {"requests_per_minute": 1e9}}, "requests_per_minute=1000000000.0: allowed: a number from 1"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], text: str
) -> None:
    hook = connect(monkeypatch, **fields)
    with pytest.raises(ConfigurationError, match=text) as caught:
        hook.settings()
    assert KEY not in str(caught.value)
    ok, message = hook.test_connection()
    assert not ok
    assert message == str(caught.value)


def test_extras_reach_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "response_version": "2026-07-27",
        "read_timeout_seconds": "90",
        "max_video_megabytes": 5,
        "requests_per_minute": "500",
    }
    settings = connect(monkeypatch, extra=extra).settings()
    assert settings.response_version == "2026-07-27"
    assert settings.read_timeout_seconds == 90
    assert settings.max_video_bytes == 5 * 1024 * 1024
    assert settings.requests_per_minute == 500


def test_key_is_taken_out_of_what_was_pasted_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect(monkeypatch, password=f"  Bearer {KEY}\n").settings().api_key == KEY
    assert KEY not in repr(ApimartHook().settings())


def test_both_clients_talk_to_the_api(apimart_emulator_conn: Emulator) -> None:
    with ApimartHook().get_conn() as client:
        assert client.account_balance().remaining_usd == 100

    async def ask() -> float | None:
        async with await ApimartHook().aget_conn() as client:
            return (await client.account_balance()).remaining_usd

    assert asyncio.run(ask()) == 100


class TestTestConnection:
    """One sentence that tells what is wrong."""

    def test_good(self, apimart_emulator_conn: Emulator) -> None:
        ok, message = ApimartHook().test_connection()
        assert ok, message
        assert "100.00 USD left on the account" in message

    def test_wrong_key(self, apimart_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        ok, message = connect(monkeypatch, host=apimart_emulator.base_url).test_connection()
        assert not ok
        assert message.startswith("The API key is wrong")
        assert KEY not in message

    @pytest.mark.parametrize("kind", ["html", "broken_json", "redirect"])
    def test_host_that_is_not_apimart(self, apimart_emulator_conn: Emulator, kind: str) -> None:
        options = {"status": 200} if kind == "html" else {}
        apimart_emulator_conn.fault("balance", kind, times=-1, **options)
        ok, message = ApimartHook().test_connection()
        assert not ok
        assert message.startswith("The host is wrong")

    def test_host_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ok, message = connect(monkeypatch, host="http://127.0.0.1:9").test_connection()
        assert not ok
        assert message.startswith("The host is wrong or cannot be reached")

    @pytest.mark.parametrize("status", [402, 403, 500])
    def test_other_trouble(self, apimart_emulator_conn: Emulator, status: int) -> None:
        apimart_emulator_conn.fault("balance", "status", status=status, times=-1)
        ok, message = ApimartHook().test_connection()
        assert not ok
        assert {402: "balance is empty", 403: "may not be used", 500: "trouble right now"}[status] in message


def test_empty_balance_is_told_from_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(balance_usd=0) as poor:
        ok, message = connect(monkeypatch, host=poor.base_url, password=poor.api_key).test_connection()
    assert not ok
    assert "is empty: top up" in message


def test_provider_info_is_what_airflow_takes() -> None:
    from importlib.resources import files

    import airflow
    import jsonschema

    schema = json.loads((files(airflow) / "provider_info.schema.json").read_text())
    info = get_provider_info()
    jsonschema.validate(info, schema)
    (connection,) = info["connection-types"]
    assert connection["conn-fields"] == CONN_FIELDS


def test_every_class_that_provider_info_names_is_there() -> None:
    from importlib import import_module

    info = get_provider_info()
    names = [*info["extra-links"], *(each["hook-class-name"] for each in info["connection-types"])]
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute)
    for kind in ("hooks", "operators", "triggers"):
        for each in info[kind]:
            for module in each["python-modules"]:
                import_module(module)


def test_form_of_3_1_has_the_same_labels() -> None:
    behaviour = ApimartHook.get_ui_field_behaviour()
    assert behaviour["relabeling"] == {"password": "API Key", "host": "Base URL"}


def test_connection_that_is_missing_is_told_with_what_to_do() -> None:
    hook = ApimartHook("not_there")
    ok, message = hook.test_connection()
    assert not ok
    assert "'not_there'" in message and "'apimart'" in message
    with pytest.raises(ConfigurationError, match="not_there"):
        asyncio.run(hook.asettings())
