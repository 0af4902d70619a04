"""The connection of a signed webhook: what is refused, what its test tells, what is masked."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_apimart import get_provider_info
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.hooks import publishers
from airflow_provider_apimart.hooks.webhook import SignedWebhookHook
from airflow_provider_apimart.publishing.targets.webhook.target import WebhookTarget
from tests.receiver import FORMER_SECRET, SECRET, Answer, Receiver

URL = "https://hooks.example.com/catch/1234567/long-and-secret"


def hook(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> SignedWebhookHook:
    connection = {"conn_type": "signed_webhook", "host": URL, "password": SECRET, **parts}
    monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", json.dumps(connection))
    return SignedWebhookHook()


def target(hook: SignedWebhookHook) -> WebhookTarget:
    found = hook.publisher().target
    assert isinstance(found, WebhookTarget)
    return found


def test_json_and_uri_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    said = target(hook(monkeypatch)).settings
    assert (said.url, said.secrets) == (URL, (SECRET,))
    escaped = SECRET.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    for uri in (
        f"signed-webhook://:{escaped}@hooks.example.com/catch%2F1234567%2Flong-and-secret",
        f"signed-webhook://:{escaped}@https%3A%2F%2Fhooks.example.com%2Fcatch%2F1234567%2Flong-and-secret",
    ):
        monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", uri)
        assert target(SignedWebhookHook()).settings == said
    assert target(hook(monkeypatch, host="hooks.example.com/a")).settings.url == "https://hooks.example.com/a"
    assert asyncio.run(hook(monkeypatch).apublisher()).target.name == "webhook"


def test_the_account_tells_receivers_apart_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = {target(hook(monkeypatch, host=url)).settings.account for url in (URL, f"{URL}2", f"{URL}?token=1")}
    assert len(accounts) == 3
    assert all(account.startswith("hooks.example.com/") and "secret" not in account for account in accounts)


def test_both_secrets_open_what_either_has_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = hook(monkeypatch, password=FORMER_SECRET).publisher().seal.close("message")
    assert hook(monkeypatch, password=f"{SECRET} {FORMER_SECRET}").publisher().seal.open(sealed) == "message"
    assert hook(monkeypatch, password=f"{SECRET},\n{FORMER_SECRET}").publisher().seal.open(sealed) == "message"
    assert hook(monkeypatch, password=SECRET).publisher().seal.open(sealed) is None


SHORT = "whsec_" + base64.b64encode(b"short").decode()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"password": ""}, "no signing secret"),
        ({"password": "hunter22hunter22"}, "signing secret 1 does not begin with 'whsec_'"),
        ({"password": f"{SECRET} hunter22hunter22"}, "signing secret 2 does not begin"),
        ({"password": "whsec_not base64!"}, "base64|does not begin"),
        ({"password": SHORT}, "has 5 bytes; Standard Webhooks allows 24 to 64"),
        ({"host": ""}, "put the receiver's whole URL into the host field"),
        ({"host": "http://hooks.example.com/x"}, "unencrypted; use https://, or set allow_http"),
        ({"host": "https://user:hunter22hunter22@hooks.example.com/x"}, "no user, password or fragment"),
        ({"host": "ftp://hooks.example.com/x"}, "allowed: an https:// URL"),
        ({"host": "https:///x"}, "allowed: an https:// URL"),
        ({"login": "me"}, "login: a signed webhook has none"),
        ({"extra": {"url": URL}}, "the URL is the connection's host"),
        ({"extra": {"secret": "hunter22hunter22"}}, "the signing secret is the connection's password"),
        ({"extra": {"allow_htp": True}}, "write 'allow_http'"),
        ({"conn_type": "http"}, "its secrets are for another service"),
    ],
)
def test_what_cannot_be_used_is_told_by_name(monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], said: str) -> None:
    found = hook(monkeypatch, **parts)
    with pytest.raises(ConfigurationError, match=said) as failure:
        found.publisher()
    ok, text = found.test_connection()
    assert not ok
    for shown in (str(failure.value), text):
        assert "hunter22" not in shown and SECRET not in shown and "long-and-secret" not in shown


def test_unencrypted_is_allowed_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = target(hook(monkeypatch, host="http://n8n.internal:5678/x", extra={"allow_http": "true"})).settings
    assert settings.url == "http://n8n.internal:5678/x"


def test_a_connection_that_is_missing_is_told_with_what_to_do() -> None:
    ok, message = SignedWebhookHook("not_there").test_connection()
    assert not ok and "webhook_conn_id='not_there'" in message and "'signed_webhook'" in message


# --- its test --------------------------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.mark.parametrize(
    ("answer", "ok", "said"),
    [
        (Answer(200), True, "its clock agrees, and the signing secret is well formed"),
        (Answer(405), True, "answers"),
        (Answer(410), False, "gone for good"),
        (Answer(301), False, "redirects"),
        (Answer(502), False, "trouble right now"),
        (Answer(200, {"Date": "Mon, 02 Nov 2026 10:00:00 GMT"}), False, "this machine's clock is"),
        (Answer(200, {"Date": "nonsense"}), True, "answers"),
    ],
)
def test_the_test_names_the_cause_and_sends_no_message(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, answer: Answer, ok: bool, said: str
) -> None:
    receiver.answers = [answer]
    found, text = hook(monkeypatch, host=receiver.url).test_connection()
    assert found is ok and said in text
    assert not receiver.attempts


def test_the_test_tells_what_does_not_answer(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ok, text = hook(monkeypatch, host=f"http://127.0.0.1:{port}/x").test_connection()
    assert not ok and "cannot be reached" in text
    ok, text = hook(monkeypatch, host=receiver.url.replace("http://", "https://")).test_connection()
    assert not ok and "TLS" in text


# --- around it -------------------------------------------------------------------------------------------------------


def test_every_secret_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr(publishers, "mask", masked.append)
    hook(monkeypatch, password=f"{SECRET} {FORMER_SECRET}").publisher()
    assert {URL, SECRET, FORMER_SECRET, SECRET.removeprefix("whsec_"), "/catch/1234567/long-and-secret"} <= set(masked)
    assert "" not in masked
    masked.clear()
    asyncio.run(hook(monkeypatch).apublisher())
    assert SECRET in masked
    masked.clear()
    with pytest.raises(ConfigurationError):
        hook(monkeypatch, password="hunter22hunter22").publisher()
    assert "hunter22hunter22" in masked


def test_the_form_of_3_1_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow 3.1 brings it; this one may not.
    fields = {f"{kind}Field": lambda label, **_: label for kind in ("Boolean", "Integer", "Password", "String")}
    monkeypatch.setitem(sys.modules, "wtforms", SimpleNamespace(**fields))
    monkeypatch.setitem(sys.modules, "wtforms.validators", SimpleNamespace(Optional=object))
    (info,) = (each for each in get_provider_info()["connection-types"] if each["connection-type"] == "signed_webhook")
    behaviour = SignedWebhookHook.get_ui_field_behaviour()
    assert behaviour["relabeling"] == info["ui-field-behaviour"]["relabeling"]
    assert SignedWebhookHook.get_connection_form_widgets() == {
        name: field["label"] for name, field in info["conn-fields"].items()
    }
