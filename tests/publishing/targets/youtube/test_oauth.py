"""Access tokens: renewed in time, once for a process, and shown nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from airflow_provider_apimart.publishing.errors import CredentialsError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Reply, Request, Sender
from airflow_provider_apimart.publishing.targets.youtube import oauth
from airflow_provider_apimart.publishing.targets.youtube.oauth import OAuthClient, OAuthCredentials
from tests.publishing.targets.youtube.driving import drive, reply

CLIENT = OAuthClient("id1", "client-secret", "refresh-secret")
GRANT = {"access_token": "access-secret", "expires_in": 3599, "scope": f"{oauth.SCOPE} {oauth.UPLOAD_SCOPE}"}


@pytest.fixture(autouse=True)
def no_tokens() -> Iterator[None]:
    oauth._tokens.clear()
    yield
    oauth._tokens.clear()


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_refresh_token_is_exchanged() -> None:
    masked: list[str] = []
    credentials = OAuthCredentials(CLIENT, masked.append)
    assert credentials.needs_renewal()
    assert credentials.headers() == {}
    renewed, (request,) = drive(credentials.renew(), reply(200, GRANT))
    assert renewed
    assert not request.authorized
    assert request.url == "https://oauth2.googleapis.com/token"
    assert isinstance(request.content, bytes)
    assert parse_qs(request.content.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["id1"],
        "client_secret": ["client-secret"],
        "refresh_token": ["refresh-secret"],
    }
    assert credentials.headers() == {"Authorization": "Bearer access-secret"}
    assert masked == ["access-secret"]
    assert credentials.token is not None and oauth.SCOPE in credentials.token.scopes


def test_a_process_shares_its_tokens_and_renews_them_before_they_expire() -> None:
    clock = Clock()
    one, two = OAuthCredentials(CLIENT, clock=clock), OAuthCredentials(CLIENT, clock=clock)
    other = OAuthCredentials(OAuthClient("id1", "client-secret", "another"), clock=clock)
    drive(one.renew(), reply(200, GRANT))
    assert not two.needs_renewal()
    assert other.needs_renewal()
    clock.seconds += 3599 - oauth.MARGIN_SECONDS - 1
    assert not two.needs_renewal()
    clock.seconds += 2
    assert two.needs_renewal()
    assert two.headers() == {}


def test_a_refused_token_is_renewed_once_for_all_who_hold_it() -> None:
    one, two = OAuthCredentials(CLIENT), OAuthCredentials(CLIENT)
    drive(one.renew(), reply(200, GRANT))
    one.headers(), two.headers()
    drive(one.renew(), reply(200, {**GRANT, "access_token": "second"}))
    assert drive(two.renew()) == (True, [])
    assert two.headers() == {"Authorization": "Bearer second"}


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        (reply(400, {"error": "invalid_grant"}), ("Testing", "7 days", "revoked", "6 months", "connect youtube")),
        (reply(401, {"error": "invalid_client"}), ("client secret (password)",)),
        (reply(400, {"error": "unauthorized_client", "error_description": "x"}), ("another OAuth client",)),
        (reply(400, {"error": "new"}), ("new", "correct the connection")),
        (reply(404, b"<html>"), ("HTTP 404",)),
        (reply(401, {"error": {"code": 401}}), ("(HTTP 401): correct",)),
    ],
)
def test_void_credentials_say_why(answer: Reply, texts: tuple[str, ...]) -> None:
    with pytest.raises(CredentialsError) as caught:
        drive(OAuthCredentials(CLIENT).renew(), answer)
    assert all(text in str(caught.value) for text in texts)
    assert caught.value.terminal


@pytest.mark.parametrize(
    "answer",
    [
        reply(500),
        reply(503, {"error": "temporarily_unavailable"}),
        reply(400, {"error": "internal_failure"}),
        reply(429, retry_after="9"),
        reply(302, location="https://evil.example"),
        reply(200, b"{"),
        reply(200, {"access_token": ""}),
        reply(200, {"access_token": "a\nb: c"}),
        TargetUnavailableError("no answer"),
    ],
)
def test_what_passes_is_no_verdict_on_the_credentials(answer: Any) -> None:
    credentials = OAuthCredentials(CLIENT)
    with pytest.raises(TargetUnavailableError) as caught:
        drive(credentials.renew(), answer)
    assert caught.value.nothing_done
    assert credentials.needs_renewal()


def test_no_text_holds_a_secret() -> None:
    credentials = OAuthCredentials(CLIENT)
    drive(credentials.renew(), reply(200, GRANT))
    text = credentials.scrub("client-secret refresh-secret access-secret id1")
    assert text == "*** *** *** id1"
    with pytest.raises(CredentialsError) as caught:
        answer = reply(400, {"error": "invalid_client", "error_description": "refresh-secret of client-secret"})
        credentials.headers()
        drive(credentials.renew(), answer)
    assert "secret of" not in str(caught.value)
    for each in (CLIENT, credentials.token):
        assert "secret" not in repr(each).replace("client_secret", "")
    assert "secret" not in CLIENT.key


def test_a_sender_renews_once_on_401_and_repeats() -> None:
    log: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.host == "oauth2.googleapis.com":
            log.append("renewal")
            assert "authorization" not in request.headers
            return httpx.Response(200, json={**GRANT, "access_token": f"token{len(log)}"})
        log.append(request.headers["authorization"])
        return httpx.Response(401 if request.headers["authorization"] == "Bearer token1" else 200)

    def question() -> Any:
        answer: Reply = yield Request("question", "GET", "https://www.googleapis.com/x")
        return answer.status

    with Sender(OAuthCredentials(CLIENT), transport=httpx.MockTransport(handle)) as sender:
        assert sender.run(question()) == 200
    assert log == ["renewal", "Bearer token1", "renewal", "Bearer token3"]
