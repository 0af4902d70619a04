"""The connection's values: which login, which hosts, what is hidden."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.publishing.targets.instagram.settings import InstagramCredentials, InstagramSettings
from tests.publishing.targets.instagram.meta import FB_TOKEN, IG_TOKEN, USER


@pytest.mark.parametrize(
    ("values", "root", "uploads"),
    [
        ({"token": IG_TOKEN}, "https://graph.instagram.com", None),
        ({"token": FB_TOKEN, "user_id": USER}, "https://graph.facebook.com", "https://rupload.facebook.com"),
        (
            {"token": "other-token-of-20-chars", "user_id": USER, "base_url": "https://graph.facebook.com"},
            "https://graph.facebook.com",
            "https://rupload.facebook.com",
        ),
        (
            {"token": FB_TOKEN, "user_id": USER, "base_url": "http://127.0.0.1:8080/instagram/"},
            "http://127.0.0.1:8080/instagram",
            "http://127.0.0.1:8080/instagram",
        ),
        (
            {"token": FB_TOKEN, "user_id": USER, "base_url": "http://127.0.0.1:1", "upload_url": "http://127.0.0.1:2"},
            "http://127.0.0.1:1",
            "http://127.0.0.1:2",
        ),
    ],
)
def test_the_login_decides_the_hosts(values: dict[str, Any], root: str, uploads: str | None) -> None:
    settings = InstagramSettings(**values)
    assert settings.root == root
    assert settings.facebook is (uploads is not None)
    if uploads:
        assert settings.uploads == f"{uploads}/ig-api-upload/v25.0"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"token": ""}, "no access token"),
        ({"token": "short"}, "not a token"),
        ({"token": IG_TOKEN + " x"}, "not a token"),
        ({"token": "other-token-of-20-chars"}, "graph.instagram.com or"),
        ({"token": FB_TOKEN}, "login"),
        ({"token": IG_TOKEN, "user_id": "@lake"}, "login .* '@lake'"),
        ({"token": IG_TOKEN, "user_id": FB_TOKEN}, "login .*not shown"),
        ({"token": IG_TOKEN, "api_version": "25"}, "api_version"),
        ({"token": IG_TOKEN, "base_url": "http://graph.example.com"}, "unencrypted"),
        ({"token": IG_TOKEN, "base_url": "ftp://graph.example.com"}, "host"),
        ({"token": IG_TOKEN, "base_url": "https://u:p@graph.example.com"}, "host"),
        ({"token": IG_TOKEN, "upload_url": "http://graph.example.com"}, "upload_url"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        InstagramSettings(**values)
    for token in (FB_TOKEN, IG_TOKEN):
        assert token not in str(caught.value)


def test_secrets_are_hidden() -> None:
    settings = InstagramSettings(FB_TOKEN, USER, app_secret="an-app-secret")
    proof = hmac.new(b"an-app-secret", FB_TOKEN.encode(), hashlib.sha256).hexdigest()
    assert settings.proof == {"appsecret_proof": proof}
    text = f"{FB_TOKEN} an-app-secret {proof}"
    assert InstagramCredentials(settings).scrub(text) == "*** *** ***"
    assert FB_TOKEN not in repr(settings) and "an-app-secret" not in repr(settings)
