"""A receiver of signed webhooks on loopback: verifies with the ``standardwebhooks`` package, counts effects by id."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_" + base64.b64encode(b"a-secret-of-a-test-that-opens-no-door").decode()
FORMER_SECRET = "whsec_" + base64.b64encode(b"a-former-secret-that-opens-no-door").decode()


@dataclass
class Attempt:
    """One request that the receiver has seen."""

    path: str
    headers: dict[str, str]
    body: bytes
    verified: bool


@dataclass
class Answer:
    """What to do with the next request: ``drop`` closes the connection, before or after the effect."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drop: bool = False
    effect: bool = True


class Receiver:
    """Takes each verified message once, by its id.

    :param path: a path as long as those that protect real receivers.
    """

    path = "/hooks/catch/1234567/a-long-secret-path"

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.attempts: list[Attempt] = []
        self.effects: dict[str, Any] = {}
        self.answers: list[Answer] = []
        self.on_request: Callable[[Attempt], None] = lambda _: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self.path}"

    def connection(self, **changes: Any) -> str:
        """The Airflow connection to this receiver, as JSON."""
        return json.dumps({"conn_type": "signed_webhook", "host": self.url, "password": self.secret, **changes})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, handler: BaseHTTPRequestHandler) -> Answer:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        try:
            Webhook(self.secret).verify(body, headers)
            verified = True
        except WebhookVerificationError:
            verified = False
        attempt = Attempt(handler.path, headers, body, verified)
        self.attempts.append(attempt)
        self.on_request(attempt)
        answer = self.answers.pop(0) if self.answers else Answer()
        if not verified:
            return Answer(401)
        if answer.effect and answer.status < 400:
            self.effects.setdefault(headers["webhook-id"], json.loads(body))
        return answer

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                answer = receiver._take(self)
                if answer.drop:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response_only(answer.status)
                for name, value in {"Date": self.date_time_string(), **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_HEAD(self) -> None:
                answer = receiver.answers.pop(0) if receiver.answers else Answer(405)
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
