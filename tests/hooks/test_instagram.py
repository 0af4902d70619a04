"""The connection of an Instagram account: what is refused, what its test tells, what is masked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apimart import get_provider_info
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.hooks import instagram
from airflow_provider_apimart.hooks.instagram import InstagramHook
from airflow_provider_apimart.publishing.targets.instagram.target import InstagramTarget
from tests.publishing.targets.instagram.meta import FB_TOKEN, IG_TOKEN, NEW_TOKEN, USER, Fault, Meta, Served

SECRET = "an-app-secret-of-a-test"


def hook(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> InstagramHook:
    connection = {"conn_type": "instagram", "password": IG_TOKEN, **parts}
    monkeypatch.setenv("AIRFLOW_CONN_INSTAGRAM_DEFAULT", json.dumps(connection))
    return InstagramHook()


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(Meta()) as served:
        yield served


def on(served: Served, monkeypatch: pytest.MonkeyPatch, **parts: Any) -> InstagramHook:
    return hook(monkeypatch, **json.loads(served.connection(**parts)))


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr("airflow_provider_apimart.hooks.publishers.mask", found.append)
    monkeypatch.setattr(instagram, "mask", found.append)
    return found


def test_the_parts_of_a_connection(monkeypatch: pytest.MonkeyPatch, masked: list[str]) -> None:
    extra = {"app_secret": SECRET, "api_version": "v26.0", "token_expires_at": "2031-01-20"}
    publisher = hook(monkeypatch, login=USER, extra=extra).publisher()
    assert isinstance(publisher.target, InstagramTarget)
    settings = publisher.target.settings
    assert (settings.token, settings.user_id, settings.app_secret) == (IG_TOKEN, USER, SECRET)
    assert settings.root == "https://graph.instagram.com" and settings.api_version == "v26.0"
    assert settings.token_expires_at == datetime(2031, 1, 20, tzinfo=UTC)
    assert {IG_TOKEN, SECRET, settings.proof["appsecret_proof"]} <= set(masked)
    # What the app's secret has sealed outlives the token.
    sealed = publisher.seal.close("https://rupload.facebook.com/x")
    again = hook(monkeypatch, password=FB_TOKEN, login=USER, extra=extra)
    assert again.publisher().seal.open(sealed) and asyncio.run(again.apublisher()).seal.open(sealed)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"password": ""}, "no access token"),
        ({"password": FB_TOKEN}, "login"),
        ({"login": "lake.house"}, "login"),
        ({"extra": {"access_token": IG_TOKEN}}, "the access token is the connection's password"),
        ({"extra": {"ig_user_id": USER}}, "the connection's login"),
        ({"extra": {"client_secret": SECRET}}, "write 'app_secret'"),
        ({"extra": {"token_expires_at": "soon"}}, "a date such as"),
        ({"host": "http://graph.example.com"}, "unencrypted"),
        ({"conn_type": "youtube"}, "for another service"),
    ],
)
def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], said: str) -> None:
    found = hook(monkeypatch, **parts)
    with pytest.raises(ConfigurationError, match=said) as caught:
        found.publisher()
    ok, text = found.test_connection()
    assert not ok and text == str(caught.value)
    for secret in (IG_TOKEN, FB_TOKEN, SECRET):
        assert secret not in text


def test_a_good_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.meta.used = 3
    ok, text = on(served, monkeypatch).test_connection()
    assert ok and f"{USER} (lake)" in text and "3 of 50 posts" in text and "note it in token_expires_at" in text
    ok, text = on(served, monkeypatch, password=FB_TOKEN).test_connection()
    assert ok and "does not expire" in text and "bytes" in text
    assert not served.meta.containers


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((400, 190, 463), "expired"),
        ((400, 190, 460), "password was changed"),
        ((403, 10, None), "lacks a permission"),
        ((400, 100, 33), "not its name, not the Page's id"),
        ((500, 2, None), "cannot be asked now"),
    ],
)
def test_the_test_names_the_cause(
    served: Served, monkeypatch: pytest.MonkeyPatch, fault: tuple[int, int, int | None], said: str
) -> None:
    served.meta.faults["account"] = [Fault(False, fault)]
    ok, text = on(served, monkeypatch).test_connection()
    assert not ok and said in text and IG_TOKEN not in text


def test_the_test_finds_a_permission_that_is_missing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.meta.faults["limit"] = [Fault(False, (403, 200, None))]
    ok, text = on(served, monkeypatch).test_connection()
    assert not ok and "instagram_business_content_publish" in text
    served.meta.scopes = ["instagram_basic"]
    ok, text = on(served, monkeypatch, password=FB_TOKEN).test_connection()
    assert not ok and "lacks instagram_content_publish, pages_read_engagement" in text


def test_the_test_finds_the_wrong_account(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    ok, text = on(served, monkeypatch, login="17841400000000009").test_connection()
    assert not ok and f"one of the account {USER}" in text
    served.meta.account_type = "PERSONAL"
    ok, text = on(served, monkeypatch).test_connection()
    assert not ok and "professional account" in text


def test_the_test_tells_a_used_up_limit_and_an_unreachable_host(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.meta.used = 50
    ok, text = on(served, monkeypatch).test_connection()
    assert ok and "but not now: 50 of 50" in text
    ok, text = hook(monkeypatch, host="http://127.0.0.1:9").test_connection()
    assert not ok and "no connection" in text
    assert InstagramHook("not_there").test_connection()[0] is False


@pytest.mark.parametrize(("days", "said"), [(-1, "has expired"), (5, "renew it"), (30, None)])
def test_the_log_warns_before_the_token_dies(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, days: int, said: str | None
) -> None:
    now = datetime(2031, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(instagram, "_now", lambda: now)
    expires = (now + timedelta(days=days)).isoformat()
    with caplog.at_level(logging.WARNING):
        hook(monkeypatch, extra={"token_expires_at": expires}).publisher()
    assert (said in caplog.text) if said else not caplog.text


def test_a_facebook_token_tells_its_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.meta.expires_at = int((datetime.now(UTC) + timedelta(days=3)).timestamp())
    ok, text = on(served, monkeypatch, password=FB_TOKEN).test_connection()
    assert ok and "in 2 days" in text and "refresh_token" in text


def test_a_token_is_renewed(served: Served, monkeypatch: pytest.MonkeyPatch, masked: list[str]) -> None:
    renewed = on(served, monkeypatch).refresh_token()
    assert renewed.value == NEW_TOKEN and NEW_TOKEN in masked and NEW_TOKEN not in repr(renewed)
    assert timedelta(days=59) < renewed.expires_at - datetime.now(UTC) <= timedelta(days=60)
    with pytest.raises(ConfigurationError, match="Facebook Login"):
        on(served, monkeypatch, password=FB_TOKEN).refresh_token()


def test_the_form_and_the_provider_info_know_it() -> None:
    (found,) = (each for each in get_provider_info()["connection-types"] if each["connection-type"] == "instagram")
    assert found["hook-class-name"] == "airflow_provider_apimart.hooks.instagram.InstagramHook"
    assert set(found["conn-fields"]) == {"token_expires_at", "app_secret", "api_version", "upload_url"}
    assert found["conn-fields"]["app_secret"]["schema"]["format"] == "password"
    assert InstagramHook.get_ui_field_behaviour()["relabeling"]["login"] == "Instagram account ID"
