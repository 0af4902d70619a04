"""The connection of a YouTube channel: read, masked, tested."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart import get_provider_info
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.hooks import publishers, youtube
from airflow_provider_apimart.hooks.youtube import YouTubeHook
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.targets.youtube import oauth
from airflow_provider_apimart.publishing.targets.youtube.target import YouTubeTarget
from tests.publishing.targets.youtube.fake import FakeYouTube, refuse

SECRETS = ("client-secret", "refresh-secret")


def connect(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> None:
    whole = {
        "conn_type": "youtube",
        "login": "id1",
        "password": "client-secret",
        "extra": {"refresh_token": "refresh-secret"},
        **parts,
    }
    monkeypatch.setenv("AIRFLOW_CONN_YOUTUBE_DEFAULT", json.dumps(whole))


@pytest.fixture(autouse=True)
def masked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    found: list[str] = []
    monkeypatch.setattr(publishers, "mask", found.append)
    monkeypatch.setattr(youtube, "mask", found.append)
    oauth._tokens.clear()
    yield found


@pytest.fixture
def fake() -> Iterator[FakeYouTube]:
    with FakeYouTube() as fake:
        yield fake


def extra(fake: FakeYouTube, **more: Any) -> dict[str, Any]:
    return {"refresh_token": "refresh-secret", "api_base_url": fake.url, "token_url": f"{fake.url}/token", **more}


def test_the_hook_is_found_by_the_targets_name() -> None:
    assert isinstance(publishers.hook_for("youtube", "x"), YouTubeHook)
    (form,) = [each for each in get_provider_info()["connection-types"] if each["connection-type"] == "youtube"]
    assert form["hook-class-name"] == "airflow_provider_apimart.hooks.youtube.YouTubeHook"
    assert form["conn-fields"]["refresh_token"]["schema"]["format"] == "password"


def test_airflow_itself_hides_the_refresh_token() -> None:
    try:
        from airflow.sdk.log import redact
    except ImportError:  # Airflow 3.1
        from airflow.sdk._shared.secrets_masker import redact

    assert redact({"refresh_token": "refresh-secret"}) == {"refresh_token": "***"}


def test_every_secret_is_masked_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, masked: list[str], fake: FakeYouTube
) -> None:
    connect(monkeypatch, extra=extra(fake))
    publisher = YouTubeHook().publisher()
    assert set(masked) == set(SECRETS)
    target = publisher.target
    assert isinstance(target, YouTubeTarget)
    with Sender(publisher.credentials) as sender:
        assert sender.run(target.account()) == "UC1"
    assert "access-1" in masked


def test_the_triggers_publisher_is_the_same(monkeypatch: pytest.MonkeyPatch, masked: list[str]) -> None:
    connect(monkeypatch)
    publisher = asyncio.run(YouTubeHook().apublisher())
    assert publisher.target.name == "youtube"
    assert set(masked) == set(SECRETS)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"login": ""}, "the OAuth client's id into the login"),
        ({"password": ""}, "its secret into the password"),
        ({"extra": {}}, "the refresh token into extra's refresh_token"),
        ({"login": "", "password": "", "extra": {}}, "connect youtube"),
        ({"host": "www.googleapis.com"}, "host is not used"),
        ({"extra": {"refresh_token": "refresh-secret", "client_secret": "x"}}, "is the password"),
        ({"extra": {"refresh_tokens": "refresh-secret"}}, "write 'refresh_token'"),
        ({"extra": {"refresh_token": "refresh-secret", "api_base_url": "http://example.com"}}, "unencrypted"),
        ({"extra": {"refresh_token": "refresh-secret", "token_url": "ftp://x"}}, "token_url='ftp://x': allowed"),
        ({"extra": {"refresh_token": "refresh-secret", "api_base_url": 5}}, "api_base_url=5: not a URL"),
        ({"conn_type": "http"}, "conn_type='http'"),
    ],
)
def test_a_wrong_connection_names_the_field_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], text: str
) -> None:
    connect(monkeypatch, **parts)
    with pytest.raises(ConfigurationError) as caught:
        YouTubeHook().publisher()
    assert text in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_no_connection_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_YOUTUBE_DEFAULT", raising=False)
    with pytest.raises(ConfigurationError, match="connect youtube"):
        YouTubeHook().publisher()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://localhost:9/", "https://proxy.example/yt"])
def test_another_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    connect(monkeypatch, extra={"refresh_token": "refresh-secret", "api_base_url": address})
    YouTubeHook().publisher()


def test_http_elsewhere_has_to_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"refresh_token": "refresh-secret", "api_base_url": "http://emulator:8808", "allow_http": True}
    connect(monkeypatch, extra=more)
    YouTubeHook().publisher()


# --- a connection of Google's provider -------------------------------------------------------------------------------

GRANT = {
    "type": "authorized_user",
    "client_id": "id1",
    "client_secret": "client-secret",
    "refresh_token": "refresh-secret",
}


@pytest.mark.parametrize("form", ["object", "text", "file", "legacy"])
def test_googles_connection_may_hold_an_authorized_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, masked: list[str], form: str
) -> None:
    path = tmp_path / "grant.json"
    path.write_text(json.dumps(GRANT))
    value = {"object": GRANT, "text": json.dumps(GRANT), "file": str(path), "legacy": str(path)}[form]
    name = "extra__google_cloud_platform__credential_config_file" if form == "legacy" else "credential_config_file"
    connect(monkeypatch, conn_type="google_cloud_platform", login=None, password=None, extra={name: value})
    YouTubeHook().publisher()
    assert set(SECRETS) <= set(masked)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"keyfile_dict": {"type": "service_account"}},
        {"credential_config_file": {"type": "service_account"}},
        {"credential_config_file": "/does/not/exist.json"},
        {"credential_config_file": "{"},
        {"credential_config_file": {**GRANT, "refresh_token": ""}},
    ],
)
def test_googles_connection_without_one_is_refused(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    connect(monkeypatch, conn_type="google_cloud_platform", login=None, password=None, extra=more)
    with pytest.raises(ConfigurationError, match="authorized user") as caught:
        YouTubeHook().publisher()
    assert not any(secret in str(caught.value) for secret in SECRETS)


# --- the test of the connection --------------------------------------------------------------------------------------


def test_a_good_connection_names_the_channel(monkeypatch: pytest.MonkeyPatch, fake: FakeYouTube) -> None:
    connect(monkeypatch, extra=extra(fake))
    good, text = YouTubeHook().test_connection()
    assert good
    assert "'Seen' (UC1)" in text
    assert "still in Testing" in text


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"grant_error": "invalid_grant"}, "Testing, where every refresh token dies after 7 days"),
        ({"grant_error": "invalid_client"}, "do not belong together"),
        ({"before": {"channel": [refuse(403, "insufficientPermissions")]}}, "youtube.upload alone"),
        ({"before": {"channel": [refuse(403, "accessNotConfigured")]}}, "is not enabled"),
        ({"before": {"channel": [refuse(403, "quotaExceeded")]}}, "quota of the Google Cloud project is used up"),
        ({"before": {"channel": [lambda call, answer: (200, {"items": []})]}}, "has no YouTube channel"),
        ({"before": {"channel": [refuse(503, "backendError")]}}, "has trouble right now"),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, fake: FakeYouTube, fault: dict[str, Any], text: str
) -> None:
    for name, value in fault.items():
        setattr(fake, name, value)
    connect(monkeypatch, extra=extra(fake))
    good, told = YouTubeHook().test_connection()
    assert not good
    assert text in told
    assert not any(secret in told for secret in SECRETS)


def test_a_scope_that_only_reads_is_named(monkeypatch: pytest.MonkeyPatch, fake: FakeYouTube) -> None:
    def readonly(call: Any, answer: Any) -> Any:
        return 200, {**answer[1], "scope": "https://www.googleapis.com/auth/youtube.readonly"}

    fake.after["token"] = [readonly]
    connect(monkeypatch, extra=extra(fake))
    good, text = YouTubeHook().test_connection()
    assert not good
    assert "was granted youtube.readonly" in text


def test_a_test_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, extra={"refresh_token": "refresh-secret", "api_base_url": "http://127.0.0.1:1"})
    assert YouTubeHook().test_connection()[0] is False
    monkeypatch.setattr(YouTubeHook, "publisher", lambda self: 1 / 0)
    assert YouTubeHook().test_connection() == (False, "The connection could not be tested (ZeroDivisionError)")
