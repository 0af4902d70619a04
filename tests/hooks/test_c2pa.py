"""The connection of a C2PA signer: what is refused, what its test tells, what is masked."""

from __future__ import annotations

import importlib.util
import json
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_apimart import get_provider_info
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.hooks import c2pa as hook_module
from airflow_provider_apimart.hooks.c2pa import C2paSignerHook
from airflow_provider_apimart.media import child
from airflow_provider_apimart.media.errors import MediaRefusedError
from airflow_provider_apimart.media.provenance import job
from tests.media.signers import TestSigner, make_signer


@pytest.fixture(scope="module")
def signer() -> TestSigner:
    return make_signer()


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "run_isolated", lambda name, arguments, **_: getattr(job, name)(**arguments))


def _hook(monkeypatch: pytest.MonkeyPatch, signer: TestSigner, extra: Any = None, **parts: Any) -> C2paSignerHook:
    connection = {
        "conn_type": "c2pa_signer",
        "password": signer.key,
        "extra": {"certificate_chain": signer.chain, **(extra or {})},
        **parts,
    }
    monkeypatch.setenv("AIRFLOW_CONN_C2PA_SIGNER_DEFAULT", json.dumps(connection))
    return C2paSignerHook()


def _refused(hook: C2paSignerHook, signer: TestSigner) -> str:
    with pytest.raises(ConfigurationError) as caught:
        hook.signer()
    lines = [line for line in signer.key.splitlines() if "-----" not in line]
    assert not any(line in str(caught.value) for line in lines)
    return str(caught.value)


def test_a_connection_as_the_form_s_fields_leave_it(monkeypatch: pytest.MonkeyPatch, signer: TestSigner) -> None:
    one_line = _hook(
        monkeypatch,
        signer,
        {"certificate_chain": signer.chain.replace("\n", " "), "private_key_passphrase": "", "timestamp_url": None},
        password=signer.key.replace("\n", " "),
    )
    assert one_line.signer() == signer.settings() == one_line.get_conn()
    stamped = _hook(monkeypatch, signer, {"timestamp_url": "http://tsa.example.com"}).signer()
    assert stamped.timestamp_url == "http://tsa.example.com"
    locked = make_signer(passphrase="open sesame")
    assert _hook(monkeypatch, locked, {"private_key_passphrase": "open sesame"}).signer().algorithm == "es256"


def test_what_cannot_be_used_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, signer: TestSigner) -> None:
    other = make_signer(name="Other", until=timedelta(hours=-1))
    for extra, parts, told in (
        ({"certificate_chain": other.chain}, {}, "does not belong to the first certificate"),
        ({"certificate_chain": other.chain}, {}, "has expired"),
        ({"certificate_chain": ""}, {"password": ""}, "has no private key (the password) and no certificate_chain"),
        ({"cert": signer.chain}, {}, "the certificates are 'certificate_chain' in extra"),
        ({"private_key": "x"}, {}, "the private key is the connection's password"),
        ({"algorithm": "es256"}, {}, "follows from the key"),
        ({}, {"conn_type": "http"}, "allowed: 'c2pa_signer'"),
        ({}, {"host": "tsa.example.com"}, "host"),
        ({"certificate_chain": signer.chain + signer.key}, {}, "its place is the password"),
    ):
        assert told in _refused(_hook(monkeypatch, signer, extra, **parts), signer)
    with pytest.raises(ConfigurationError, match="no such Airflow connection"):
        C2paSignerHook("missing").signer()


def test_its_test_signs_a_sample_and_tells_how_long_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, signer: TestSigner
) -> None:
    ok, text = _hook(monkeypatch, signer).test_connection()
    assert ok and "CN=Test signer,O=Test" in text and "es256" in text and "was signed, with no timestamp" in text
    assert "which is in" not in text
    soon = make_signer(until=timedelta(days=9, hours=1))
    ok, text = _hook(monkeypatch, soon).test_connection()
    assert ok and "which is in 9 days" in text


def test_its_test_tells_what_is_wrong(monkeypatch: pytest.MonkeyPatch, signer: TestSigner) -> None:
    gone = make_signer(until=timedelta(hours=-1))
    ok, text = _hook(monkeypatch, gone).test_connection()
    assert not ok and "has expired" in text
    ok, text = _hook(monkeypatch, signer, password=gone.key).test_connection()
    assert not ok and "does not belong" in text

    def refuse(*_: Any, **__: Any) -> Any:
        raise MediaRefusedError("nothing can be signed with this certificate: no")

    monkeypatch.setattr(child, "run_isolated", refuse)
    ok, text = _hook(monkeypatch, signer).test_connection()
    assert not ok and "could not be signed" in text

    monkeypatch.setattr(child, "run_isolated", lambda *_, **__: {"state": "Invalid", "codes": ["claimSignature.bad"]})
    ok, text = _hook(monkeypatch, signer).test_connection()
    assert not ok and "claimSignature.bad" in text

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(signer.key)

    monkeypatch.setattr(child, "run_isolated", fail)
    assert _hook(monkeypatch, signer).test_connection() == (
        False,
        "The connection could not be tested (RuntimeError)",
    )


def test_its_test_without_the_extra_says_what_it_did_not_do(
    monkeypatch: pytest.MonkeyPatch, signer: TestSigner
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        hook_module.importlib.util, "find_spec", lambda name, *more: None if name == "c2pa" else find(name, *more)
    )
    ok, text = _hook(monkeypatch, signer).test_connection()
    assert ok and "No sample was signed" in text


def test_every_secret_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr(hook_module, "mask", masked.append)
    locked = make_signer(passphrase="open sesame")
    settings = _hook(monkeypatch, locked, {"private_key_passphrase": "open sesame"}).signer()
    assert {locked.key, "open sesame", settings.private_key} <= set(masked)


def test_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    info = get_provider_info()
    (form,) = [each for each in info["connection-types"] if each["connection-type"] == "c2pa_signer"]
    assert form["hook-class-name"] == f"{C2paSignerHook.__module__}.{C2paSignerHook.__name__}"
    assert form["conn-fields"]["private_key_passphrase"]["schema"]["format"] == "password"
    assert set(form["conn-fields"]) == {"certificate_chain", "private_key_passphrase", "timestamp_url"}
    assert "password" in C2paSignerHook.get_ui_field_behaviour()["relabeling"]
