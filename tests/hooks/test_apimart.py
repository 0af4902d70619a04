"""The connection: every way to write it, every way to get it wrong, and the key in no error."""

from __future__ import annotations

import asyncio
import json
import traceback
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, Connection

from airflow_provider_apimart import get_provider_info
from airflow_provider_apimart.client.environment import load_tls
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.connection_form import CONN_FIELDS
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.apimart import ApimartHook

KEY = "sk-a-secret-key-1234"
OTHER_TYPES = ("aws", "slack", "http", "https", "generic", "openai", "postgres", "apimart2")


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
        ({"host": "gateway.example/apimart", "port": 8443}, "https://gateway.example:8443/apimart"),
        ({"host": "https://gateway.example/apimart/v1/", "port": 8443}, "https://gateway.example:8443/apimart"),
        ({"host": "https://gateway.example:8443", "port": 8443}, "https://gateway.example:8443"),
        ({"host": "gateway.example", "schema": "apimart"}, "https://gateway.example/apimart"),
        ({"host": "gateway.example", "schema": "/apimart/v1/", "port": 8443}, "https://gateway.example:8443/apimart"),
        ({"host": "https://gateway.example/a", "schema": "b"}, "https://gateway.example/a/b"),
        ({"host": "https://gateway.example", "schema": "HTTPS"}, "https://gateway.example"),
        ({"schema": "https"}, "https://api.apimart.ai"),
        ({"schema": "v1"}, "https://api.apimart.ai"),
        ({"host": "::1", "port": 8808}, "http://[::1]:8808"),
        ({"host": "[::1]", "port": 8808}, "http://[::1]:8808"),
        ({"host": "http://[::1]", "port": 8808}, "http://[::1]:8808"),
        ({"host": "2001:db8::1", "port": 8443, "schema": "apimart"}, "https://[2001:db8::1]:8443/apimart"),
        ({"conn_type": "APIMart"}, "https://api.apimart.ai"),
        ({"conn_type": None}, "https://api.apimart.ai"),
    ],
)
def test_host(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], base_url: str) -> None:
    hook = connect(monkeypatch, **fields)
    assert hook.settings().base_url == base_url
    assert asyncio.run(ApimartHook().asettings()) == hook.settings()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        *[({"conn_type": kind}, f"conn_type='{kind}'.*allowed: 'apimart'") for kind in OTHER_TYPES],
        ({"extra": {"base_url": "https://gateway.example"}}, "'base_url'.*the base URL is the connection's host"),
        ({"extra": {"request_per_minute": 5}}, "'request_per_minute'.*write 'requests_per_minute'"),
        ({"extra": {"requestsPerMinute": 5}}, "'requestsPerMinute'.*write 'requests_per_minute'"),
        ({"extra": {"Allow-HTTP": True}}, "'Allow-HTTP'.*write 'allow_http'"),
        ({"extra": {"timeout": 5}}, "'timeout'.*write 'read_timeout_seconds'"),
        ({"extra": {"api_key": KEY}}, "'api_key'.*the API key is the connection's password"),
        ({"extra": {"verify": False}}, "'verify'.*SSL_CERT_FILE"),
        ({"extra": {"proxies": {"https": "x"}}}, "'proxies'.*HTTPS_PROXY"),
        ({"extra": {"owner": "marketing"}}, "'owner'.*take it out.*connection's description.*'airflow connections'"),
        ({"extra": {"allow_http": "hunter2-hunter2"}}, r"allow_http=\(not shown: it may be a secret\)"),
        ({"extra": {"requests_per_minute": "hunter2-hunter2"}}, r"requests_per_minute=\(not shown"),
        ({"extra": {"response_version": "hunter2-hunter2"}}, r"response_version=\(not shown"),
        ({"schema": KEY, "host": "gateway.example"}, "schema holds the API key"),
        ({"extra": {"owner": 1, "base_url": 2}}, "'owner'.*'base_url'.*allowed in extra: allow_http"),
        ({"extra": {"extra__http__allow_http": True}}, "'extra__http__allow_http'"),
        ({"extra": {"extra__apimart__allow_http": True, "allow_http": False}}, "extra holds both 'allow_http'"),
        # Airflow 3.1 itself cannot read it.
        ({"extra": [1]}, "extra: must be a JSON object|Airflow cannot read the environment's"),
        ({"login": "me"}, "login: APIMart has none"),
        ({"login": KEY, "password": ""}, "put it into the password field, not into login.*apimart://:KEY@HOST"),
        ({"host": KEY, "password": ""}, "put it into the password field, not into host"),
        ({"host": KEY}, "looks like an API key"),
        ({"port": 8443}, "port=8443: there is no host"),
        ({"schema": "apimart"}, "schema='apimart': there is no host"),
        ({"schema": "http"}, "schema='http': there is no host"),
        ({"schema": "http", "host": "https://gateway.example"}, "schema='http': the host already says 'https'"),
        ({"schema": "a?b", "host": "gateway.example"}, r"schema='a\?b': allowed"),
        ({"schema": "../x", "host": "gateway.example"}, r"schema='\.\./x': allowed"),
        ({"port": 1, "host": "https://gateway.example:2/x"}, "port=1: the host already says 2"),
        ({"password": ""}, "no API key"),
        ({"password": "sk with space inside"}, "holds a character"),
        ({"host": "http://10.0.0.5"}, "allow_http"),
        ({"host": "ftp://api.apimart.ai"}, "allowed: an https:// URL"),
        ({"host": "https://user:pw@api.apimart.ai"}, "without user"),
        ({"extra": {"allow_http": "perhaps"}}, "allow_http='perhaps': allowed: true or false"),
        ({"extra": {"response_version": "latest"}}, "response_version='latest'"),
        ({"extra": {"read_timeout_seconds": "soon"}}, "read_timeout_seconds='soon'"),
        ({"extra": {"on_unknown_submit": "pray"}}, "on_unknown_submit='pray': allowed: 'resend' or 'fail'"),
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
    with pytest.raises(ConfigurationError, match=text):
        asyncio.run(ApimartHook().asettings())


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        (f"apimart://:{KEY}@", "https://api.apimart.ai"),
        (f"apimart://:{KEY}@gateway.corp/apimart", "https://gateway.corp/apimart"),
        (f"apimart://:{KEY}@gateway.corp:8443/apimart/v1", "https://gateway.corp:8443/apimart"),
        (f"apimart://:{KEY}@[::1]:8808", "http://[::1]:8808"),
        (f"apimart://:{KEY}@https%3A%2F%2Fgateway.corp%3A8443%2Fapimart", "https://gateway.corp:8443/apimart"),
        (f"apimart://http://:{KEY}@127.0.0.1:8808/apimart", "http://127.0.0.1:8808/apimart"),
        (f"apimart://:{KEY}@10.0.0.5/http?allow_http=true", "http://10.0.0.5"),
        (f"apimart://:{KEY}@10.0.0.5/http?extra__apimart__allow_http=true", "http://10.0.0.5"),
    ],
)
def test_every_part_of_a_uri_is_used(monkeypatch: pytest.MonkeyPatch, uri: str, base_url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", uri)
    settings = ApimartHook().settings()
    assert (settings.base_url, settings.api_key) == (base_url, KEY)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        (f"apimart://:{KEY}@http://127.0.0.1:8808", "AIRFLOW_CONN_APIMART_DEFAULT; write it as JSON"),
        (f"apimart://:{KEY}@gateway.corp:port", "AIRFLOW_CONN_APIMART_DEFAULT; write it as JSON"),
        (f"apimart://:a/{KEY}@gateway.corp", "AIRFLOW_CONN_APIMART_DEFAULT; write it as JSON"),
        (f'{{"password": "{KEY}", "hots": "x"}}', "AIRFLOW_CONN_APIMART_DEFAULT; write it as JSON"),
        (f'{{"password": "{KEY}"', "AIRFLOW_CONN_APIMART_DEFAULT; write it as JSON"),
        (f"apimart://{KEY}@", "not into login"),
        (f"apimart://{KEY}", "not into host"),
        (KEY, "no API key"),
        (f"https://:{KEY}@gateway.corp", "conn_type='https'.*the scheme is the type"),
        (f"aws://AKIA:{KEY}@", "conn_type='aws'"),
        (f"apimart://:{KEY}@gateway.corp?base_url=https%3A%2F%2Fx", "'base_url'"),
        (f"apimart://me:{KEY}@gateway.corp", "login: APIMart has none"),
    ],
)
def test_a_uri_that_cannot_be_used_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, uri: str, text: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", uri)
    with pytest.raises(ConfigurationError, match=text) as caught:
        ApimartHook().settings()
    ok, message = ApimartHook().test_connection()
    assert (ok, message) == (False, str(caught.value))
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + message + caplog.text
    # Airflow drops the first letter of what has no scheme.
    assert KEY[1:] not in told


def test_nothing_is_sent_with_another_service_s_secret(
    apimart_emulator_conn: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = connect(monkeypatch, conn_type="slack", host=apimart_emulator_conn.base_url)
    ok, message = hook.test_connection()
    assert not ok
    assert "conn_type='slack'" in message
    assert not apimart_emulator_conn.requests()


FIELDS = ("conn_type", "host", "login", "schema", "password", "port", "extra")
PLACES = (
    "{}",
    " {} x",
    "https://{}",
    "https://u:{}@gateway.corp",
    "http://gateway.corp/{}?key={}",
    "ftp://{}@x",
    "{}:{}",
    "Bearer {} x",
    "[{}",
)
EXTRAS = ("{}", '{{"{}": 1}}', '["{}"]', *(f'{{{{"{name}": "{{}}"}}}}' for name in (*CONN_FIELDS, "base_url", "other")))


@pytest.mark.parametrize("secret", ["sk-canary0123456789abcdef", "canary/with+odd=chars&4711&more", "canary-4711"])
@pytest.mark.parametrize(
    ("field", "template"),
    [*((field, place) for field in FIELDS[:-1] for place in PLACES), *(("extra", extra) for extra in EXTRAS)],
)
def test_no_secret_is_told_wherever_it_was_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, secret: str, field: str, template: str
) -> None:
    text = template.format(*[json.dumps(secret)[1:-1] if field == "extra" else secret] * 2)
    fields = {"conn_id": "apimart_default", "conn_type": "apimart", "password": secret, field: text}
    monkeypatch.setattr(ApimartHook, "get_connection", classmethod(lambda *_: Connection(**fields)))
    hook = ApimartHook()
    try:
        told = repr(hook.settings())
    except ConfigurationError as error:
        told = "".join(traceback.format_exception(error)) + repr(error) + hook.test_connection()[1]
    assert secret not in told + caplog.text


@pytest.mark.parametrize(
    "error", [RuntimeError(KEY), ValueError(KEY), AirflowException(f"Invalid connection string: apimart://:{KEY}@x")]
)
def test_the_form_s_test_never_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: Any) -> Connection:
        raise error

    monkeypatch.setattr(ApimartHook, "get_connection", classmethod(fails))
    ok, message = ApimartHook().test_connection()
    assert not ok
    assert KEY not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere.pem"),
        ("SSL_CERT_DIR", "/nowhere"),
        ("REQUESTS_CA_BUNDLE", "/nowhere.pem"),
        ("CURL_CA_BUNDLE", "/nowhere.pem"),
        ("HTTPS_PROXY", "ftp://user:canary-4711@proxy"),
        ("ALL_PROXY", "http://user:canary-4711@proxy:port"),
    ],
)
def test_an_environment_that_is_out_of_order_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for each in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(each, raising=False)
    load_tls.cache_clear()
    monkeypatch.setenv(name, value)
    hook = connect(monkeypatch)
    ok, message = hook.test_connection()
    assert not ok
    assert message.startswith(name)
    assert "canary-4711" not in message
    with pytest.raises(ConfigurationError, match=f"^{name}"):
        hook.get_conn()
    with pytest.raises(ConfigurationError, match=f"^{name}"):
        asyncio.run(hook.aget_conn())


def test_extras_reach_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "response_version": "2026-07-27",
        "read_timeout_seconds": "90",
        "max_video_megabytes": 5,
        "requests_per_minute": "500",
        "on_unknown_submit": "fail",
    }
    settings = connect(monkeypatch, extra=extra).settings()
    assert settings.response_version == "2026-07-27"
    assert settings.read_timeout_seconds == 90
    assert settings.max_video_bytes == 5 * 1024 * 1024
    assert settings.requests_per_minute == 500
    assert settings.on_unknown_submit == "fail"
    assert connect(monkeypatch, extra={"on_unknown_submit": ""}).settings().on_unknown_submit == "resend"


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
    assert "the account holds 0 USD, and below 0.05 USD APIMart refuses every request: top up" in message


def test_provider_info_is_what_airflow_takes() -> None:
    from importlib.resources import files

    import airflow
    import jsonschema

    schema = json.loads((files(airflow) / "provider_info.schema.json").read_text())
    info = get_provider_info()
    jsonschema.validate(info, schema)
    fields = {each["connection-type"]: each["conn-fields"] for each in info["connection-types"]}
    assert fields["apimart"] == CONN_FIELDS
    assert "signed_webhook" in fields


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
