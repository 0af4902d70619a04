"""Where a key may go, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import Charge, ConfigurationError
from airflow_provider_apimart.client.settings import Settings, is_loopback

KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("", "https://api.apimart.ai"),
        ("  ", "https://api.apimart.ai"),
        (None, "https://api.apimart.ai"),
        ("https://api.apimart.ai", "https://api.apimart.ai"),
        ("https://api.apimart.ai/", "https://api.apimart.ai"),
        ("https://api.apimart.ai/v1", "https://api.apimart.ai"),
        ("https://api.apimart.ai/v1/", "https://api.apimart.ai"),
        ("api.apib.ai", "https://api.apib.ai"),
        ("api.apib.ai/v1", "https://api.apib.ai"),
        ("HTTPS://API.Apimart.AI", "https://api.apimart.ai"),
        ("https://gateway.corp/apimart/v1", "https://gateway.corp/apimart"),
        ("https://gateway.corp:8443/apimart/", "https://gateway.corp:8443/apimart"),
        ("https://my_service.internal.", "https://my_service.internal."),
        ("https://bücher.example", "https://bücher.example"),
        ("localhost", "http://localhost"),
        ("localhost:8000/v1", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("127.8.9.1", "http://127.8.9.1"),
        ("apimart.localhost:80", "http://apimart.localhost:80"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("http://localhost:8000", "http://localhost:8000"),
    ],
)
def test_hosts(given: Any, meant: str) -> None:
    settings = Settings(KEY, given)
    assert settings.base_url == meant
    ApimartClient(settings).close()


@pytest.mark.parametrize(
    "given",
    [
        "ftp://api.apimart.ai",
        "file:///etc/passwd",
        "https://",
        "https:",
        "https:/api.apimart.ai",
        "/",
        "://x",
        "https://h:0",
        "https://h:99999",
        "https://h:port",
        "https://[::1",
        "[::1",
        "https://a..b",
        "https://a b",
        "a b",
        "https://.a",
        "https://-a.example",
        f"https://{'a' * 64}.example",
        f"https://{'a.' * 130}example",
        "https://a\u200bb",
        "https://a\nb",
        "https://a\tb",
        "https://a%41",
        "https:\\\\a",
        "https://a?x=1",
        "https://a#x",
    ],
)
def test_hosts_that_cannot_be_used(given: str) -> None:
    with pytest.raises(ConfigurationError, match="host") as caught:
        Settings(KEY, given)
    assert caught.value.charge is Charge.NO
    assert caught.value.terminal


@pytest.mark.parametrize("given", [f"https://{KEY}@a", f"https://u:{KEY}@a", f"ftp://u:{KEY}@a", f"https://u:{KEY}@[a"])
def test_a_password_in_the_host_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings("another-key", given)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["http://api.apimart.ai", "http://10.0.0.1", "http://localhost.example", "http://0.0.0.0"]
)
def test_plain_http_only_where_it_is_meant(host: str) -> None:
    with pytest.raises(ConfigurationError, match="unencrypted"):
        Settings(KEY, host)
    assert Settings(KEY, host, allow_http=True).base_url == host


@pytest.mark.parametrize(
    "given", [KEY, f"  {KEY}  ", f"{KEY}\n", f"Bearer {KEY}", f"bearer  {KEY} ", f"\tBEARER\t{KEY}\r\n"]
)
def test_keys_as_they_are_pasted(given: str) -> None:
    assert Settings(given).api_key == KEY


@pytest.mark.parametrize("given", ["", " ", "\n", "Bearer", "Bearer ", "bearer\n", None])
def test_no_key(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="no API key"):
        Settings(given)


@pytest.mark.parametrize(
    "given", ["sk-one sk-two", "sk-one\nsk-two", "sk-\x00", "sk-é", "sk-\u200b1", "Bearer Bearer sk-1"]
)
def test_keys_that_are_none(given: str) -> None:
    with pytest.raises(ConfigurationError, match="holds a character") as caught:
        Settings(given)
    assert "sk-" not in str(caught.value)


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(Settings(KEY))
    with pytest.raises(ConfigurationError) as caught:
        Settings(KEY, "ftp://x", response_version="y")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("given", "meant"), [("2026-07-27", "2026-07-27"), (" 2026-07-27 ", "2026-07-27"), ("", None)])
def test_response_version(given: str, meant: str | None) -> None:
    assert Settings(KEY, response_version=given).response_version == meant


@pytest.mark.parametrize("given", ["latest", "2026-7-27", "2026-07-27\r\nX: 1"])
def test_wrong_response_versions(given: str) -> None:
    with pytest.raises(ConfigurationError, match="response_version"):
        Settings(KEY, response_version=given)


@pytest.mark.parametrize("given", [0, -1, float("nan"), float("inf"), 1e300])
def test_wrong_timeouts(given: float) -> None:
    with pytest.raises(ConfigurationError, match="read_timeout_seconds="):
        Settings(KEY, read_timeout_seconds=given)


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("x", False)],
)
def test_loopback(host: str, here: bool) -> None:
    assert is_loopback(host) is here
