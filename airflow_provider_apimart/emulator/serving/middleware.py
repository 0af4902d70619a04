"""The layer around the routes: the request log, and the faults that a route cannot produce itself.

This is an ASGI layer outside FastAPI, because a web framework cannot close a connection without an answer, send a body
shorter than announced, or lose an answer after the work was done. Every request to the API, the media and the CMS
passes here and is logged, the API key only as "absent", "valid" or "wrong".
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_apimart.emulator.apimart import answers
from airflow_provider_apimart.emulator.apimart.tasks import UrlSigner, wall_clock
from airflow_provider_apimart.emulator.media import host
from airflow_provider_apimart.emulator.serving import cors
from airflow_provider_apimart.emulator.state.faults import FAULT, IDEMPOTENCY_CODES, NOTES, Fault, FaultScript
from airflow_provider_apimart.emulator.state.settings import EmulatorSettings
from airflow_provider_apimart.emulator.state.store import Store

HTML_PAGE = (
    "<html>\r\n<head><title>{status} Bad Gateway</title></head>\r\n"
    "<body><center><h1>{status}</h1></center></body>\r\n</html>\r\n"
)
DEFAULT_OVERSIZE = 40 * 1024 * 1024
#: A submission's body is kept in the log up to this size.
LOGGED_BODY = 100_000

_ROUTES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("submit", re.compile(r"/v1/videos/generations")),
    ("remix", re.compile(r"/v1/videos/(?P<id>[^/]+)/remix")),
    ("task", re.compile(r"/v1/tasks/(?P<id>[^/]+)")),
    ("upload", re.compile(r"/v1/uploads/images")),
    ("media", re.compile(r"/(media|f/image)/(?P<file>[^/]+)")),
    ("balance", re.compile(r"(/v1)?(/user)?/balance")),
    ("models", re.compile(r"/v1/(models(/.*)?|model-schema|model-docs)")),
    ("usage", re.compile(r"/v1/usage")),
    ("pricing", re.compile(r"/api/(pricing|marketplace)/.*")),
    ("cms", re.compile(r"/cms/videos")),
)


class AbortableProtocol(H11Protocol):
    """uvicorn's HTTP protocol that can be told to drop a connection."""

    #: Open connections by the client's address, the only thing that an ASGI scope says about its connection.
    open_transports: ClassVar[dict[tuple[str, int], asyncio.Transport]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the connection."""
        super().connection_made(transport)
        if self.client is not None:
            self.open_transports[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.client is not None:
            self.open_transports.pop(self.client, None)
        super().connection_lost(exc)


async def drop_connection(scope: Scope, receive: Receive) -> None:
    """Reset the connection of this request, so that its client sees no answer."""
    client = scope.get("client")
    transport = AbortableProtocol.open_transports.get(tuple(client)) if client else None
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # Lingering for zero seconds turns the close into a reset.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


@dataclass
class Captured:
    """An answer of the application, captured before it is sent."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def __call__(self, message: Message) -> None:
        """Take one message, in the role of the application's ``send``."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def with_length(self, length: int) -> list[tuple[bytes, bytes]]:
        """Return the headers with another ``Content-Length``."""
        others = [(name, value) for name, value in self.headers if name.lower() != b"content-length"]
        return [*others, (b"content-length", str(length).encode())]


def _route(path: str) -> tuple[str, str | None, str | None] | None:
    for name, pattern in _ROUTES:
        match = pattern.fullmatch(path)
        if match:
            groups = match.groupdict()
            return name, groups.get("id"), groups.get("file")
    return ("other", None, None) if path.startswith(("/v1", "/api")) else None


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def fault_answer(fault: Fault) -> answers.ApiError | None:
    """Return the error with which a fault replaces the answer, if it is a fault of that kind."""
    retry_after = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    if fault.kind in IDEMPOTENCY_CODES:
        after = fault.retry_after or ("1" if fault.kind == "idempotency_in_progress" else None)
        return answers.idempotency(IDEMPOTENCY_CODES[fault.kind], message=fault.message, retry_after=after)
    if fault.kind == "status":
        error = answers.documented(fault.status or 500, fault.message, code=fault.code, kind=fault.type)
    elif fault.kind == "build_request_failed":
        text = fault.message or "invalid size: 3:5, allowed: 16:9, 9:16"
        error = answers.documented(500, f"build_request_failed: {text}", code=fault.code, kind=fault.type)
    elif fault.kind == "envelope_error":
        code = 402 if fault.code is None else fault.code
        error = answers.ApiError(200, {"code": code, "message": fault.message or "insufficient balance"})
    elif fault.kind == "success_false":
        error = answers.ApiError(200, {"success": False, "message": fault.message or "user quota query failed"})
    else:
        return None
    error.headers.update(retry_after)
    return error


class FaultMiddleware:
    """Logs each request and produces its fault; everything else passes to the application inside.

    :param app: the FastAPI application.
    """

    def __init__(
        self, app: ASGIApp, store: Store, faults: FaultScript, settings: EmulatorSettings, signer: UrlSigner
    ) -> None:
        self._app = app
        self._store = store
        self._faults = faults
        self._settings = settings
        self._signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        known = _route(scope["path"]) if scope["type"] == "http" else None
        if known is None:
            await self._app(scope, receive, send)
            return
        route, generation_id, file = known
        generation_id = unquote(generation_id) if generation_id else None
        if file and (read := self._signer.read(file)):
            generation_id = read[0]
        body = await self._read_body(scope, receive)
        prompt, model, logged = self._asked(route, body, generation_id)
        fault = self._faults.take(route, prompt, generation_id, model)
        started = wall_clock()
        number = self._log(scope, route, started, fault, logged)
        scope[FAULT], scope[NOTES] = fault, {"generation_id": generation_id}
        status: list[int] = []

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
                message = cors.opened(message, scope, route)
                if route not in ("media", "cms"):
                    named = (b"x-oneapi-request-id", answers.request_id().encode())
                    message = {**message, "headers": [*message.get("headers", []), named]}
            await send(message)

        try:
            if self._settings.latency_ms:
                await asyncio.sleep(self._settings.latency_ms / 1000)
            if fault is None and cors.is_preflight(scope, route):
                await cors.answer_preflight(watched)
            else:
                await self._serve(scope, _replay(body, receive), receive, watched, fault, route)
        finally:
            self._store.log_answer(
                number,
                status=status[0] if status else None,
                seconds=wall_clock() - started,
                generation_id=scope[NOTES].get("generation_id"),
            )

    @staticmethod
    async def _read_body(scope: Scope, receive: Receive) -> bytes:
        body = bytearray()
        more = scope["method"] in ("POST", "PUT", "PATCH")
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
        return bytes(body)

    def _asked(self, route: str, body: bytes, generation_id: str | None) -> tuple[str | None, str | None, str | None]:
        """Return the prompt and the model of a request, and what of its body is logged."""
        if route in ("submit", "remix", "cms"):
            try:
                text = body[:LOGGED_BODY].decode()
                posted = json.loads(text)
            except ValueError:
                return None, None, None
            given = posted if isinstance(posted, dict) else {}
            prompt, model = (value if isinstance(value, str) else None for value in map(given.get, ("prompt", "model")))
            return prompt, model, text
        generation = self._store.generation(generation_id) if generation_id else None
        return (generation.prompt, generation.model, None) if generation else (None, None, None)

    def _log(self, scope: Scope, route: str, started: float, fault: Fault | None, body: str | None) -> int:
        headers = _headers(scope)
        token = headers.pop("authorization", None)
        known = "absent" if token is None else "wrong"
        if token is not None and token.lower().startswith("bearer ") and self._settings.accepts(token[7:].strip()):
            known = "valid"
        return self._store.log_request(
            at=started,
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            route=route,
            headers=json.dumps(headers),
            authorization=known,
            body=body,
            fault=fault.kind if fault else None,
        )

    async def _serve(
        self, scope: Scope, replay: Receive, receive: Receive, send: Send, fault: Fault | None, route: str
    ) -> None:
        if fault is None:
            await self._app(scope, replay, send)
        elif fault.kind in ("drop_before", "drop_after"):
            if fault.kind == "drop_after":
                await self._app(scope, replay, Captured())
            await drop_connection(scope, receive)
        elif fault.kind == "stall":
            await self._stall(scope, replay, send, fault, route)
        elif fault.kind in ("slow", "broken_json", "cut", "wrong_length"):
            caught = Captured()
            await self._app(scope, replay, caught)
            await _spoil(fault, caught, scope, receive, send)
        elif fault.kind == "idempotency_indeterminate" and route in ("submit", "remix"):
            # The route itself stores this outcome for the key.
            await self._app(scope, replay, send)
        else:
            answer = _plain_answer(fault, route)
            if answer is None:
                await self._app(scope, replay, send)
                return
            if fault.executed:
                await self._app(scope, replay, Captured())
            headers = answer.with_length(len(answer.body))
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": bytes(answer.body)})

    async def _stall(self, scope: Scope, replay: Receive, send: Send, fault: Fault, route: str) -> None:
        seconds = 30.0 if fault.seconds is None else fault.seconds
        if fault.executed:
            caught = Captured()
            await self._app(scope, replay, caught)
            await asyncio.sleep(seconds)
            await send({"type": "http.response.start", "status": caught.status, "headers": caught.headers})
            await send({"type": "http.response.body", "body": bytes(caught.body)})
            return
        if route not in ("submit", "remix"):
            # A submission waits inside its route, where its idempotency key already counts as in progress.
            await asyncio.sleep(seconds)
        await self._app(scope, replay, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _plain_answer(fault: Fault, route: str) -> Captured | None:
    """Return the complete answer with which a fault replaces the real one."""
    if fault.kind == "status" and route == "media":
        refused = host.refused(fault.status or 500)
        extra = [(b"retry-after", fault.retry_after.encode())] if fault.retry_after else []
        return Captured(refused.status_code, [*refused.raw_headers, *extra], bytearray(refused.body))
    error = fault_answer(fault)
    if error is not None:
        response = error.response()
        return Captured(error.status, list(response.raw_headers), bytearray(response.body))
    if fault.kind == "html":
        status = fault.status or 502
        headers = [(b"content-type", b"text/html")]
        headers += [(b"retry-after", fault.retry_after.encode())] if fault.retry_after else []
        return Captured(status, headers, bytearray(HTML_PAGE.format(status=status).encode()))
    if fault.kind == "redirect":
        location = fault.location or "http://127.0.0.1:9/elsewhere"
        return Captured(fault.status or 302, [(b"location", location.encode())])
    if fault.kind == "not_a_video":
        return Captured(200, [(b"content-type", b"video/mp4")], bytearray(HTML_PAGE.format(status=200).encode()))
    if fault.kind == "oversize":
        size = DEFAULT_OVERSIZE if fault.bytes is None else fault.bytes
        filler = b'{"pad":"' + b"x" * max(0, size - 10) + b'"}'
        return Captured(200, [(b"content-type", b"application/json")], bytearray(filler))
    return None


async def _spoil(fault: Fault, caught: Captured, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a captured answer in the way that the fault requires."""
    body = bytes(caught.body)
    kept = len(body) // 2 if fault.bytes is None else min(fault.bytes, len(body))
    start: dict[str, Any] = {"type": "http.response.start", "status": caught.status}
    if fault.kind == "slow":
        await send({**start, "headers": caught.headers})
        pieces = 10
        step = max(1, -(-len(body) // pieces))
        for at in range(0, max(len(body), 1), step):
            await asyncio.sleep((5.0 if fault.seconds is None else fault.seconds) / pieces)
            await send({"type": "http.response.body", "body": body[at : at + step], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif fault.kind == "cut":
        await send({**start, "headers": caught.with_length(len(body))})
        await send({"type": "http.response.body", "body": body[:kept], "more_body": True})
        # Aborting at once could discard data that is still being sent.
        await asyncio.sleep(0.05)
        await drop_connection(scope, receive)
    else:
        if fault.kind == "wrong_length" and fault.bytes is not None:
            kept = len(body) - kept
        await send({**start, "headers": caught.with_length(kept)})
        await send({"type": "http.response.body", "body": body[:kept]})
