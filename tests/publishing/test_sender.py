"""A sender's requests end, whatever the other side does, and nothing secret is in their errors."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.publishing import exchange
from airflow_provider_apimart.publishing.errors import TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Exchange, NoCredentials, Reply, Request, Sender
from tests.client.harness import WireServer, http, raw, trickle


def ask(url: str) -> Exchange[Reply]:
    reply = yield Request("question", "GET", f"{url}/session?upload_id=secret", timeout_seconds=0.1)
    return reply


@pytest.mark.parametrize(
    "answer",
    [trickle(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x"), trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")],
    ids=["headers that trickle", "a body that trickles"],
)
def test_what_trickles_is_given_up(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with WireServer([answer]) as server, Sender(NoCredentials()) as sender:  # type: ignore[list-item]
        with pytest.raises(TargetUnavailableError) as caught:
            sender.run(ask(server.base_url))
    assert not caught.value.nothing_done
    assert "secret" not in str(caught.value)


def test_an_answer_that_is_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_REPLY_BYTES", 1000)
    with WireServer([raw(http(b"x" * 2000))]) as server, Sender(NoCredentials()) as sender:
        with pytest.raises(TargetUnavailableError, match="larger than 1000 bytes"):
            sender.run(ask(server.base_url))


def test_a_redirect_is_data() -> None:
    with WireServer([raw(http(b"", "Location: http://127.0.0.1:9/"))]) as server, Sender(NoCredentials()) as sender:
        assert sender.run(ask(server.base_url)).headers["location"] == "http://127.0.0.1:9/"
    assert len(server.requests) == 1
