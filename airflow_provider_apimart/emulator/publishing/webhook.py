"""A receiver of signed webhooks (Standard Webhooks), and its routes.

It verifies each delivery, does its work once per ``webhook-id``, and counts both. The spec:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.publishing.faults import PublishFault, PublishFaults
from airflow_provider_apimart.emulator.publishing.serving import Refused, serve

SECRET = "whsec_" + base64.b64encode(b"emulated webhook secret, 32 bytes").decode()
TOLERANCE_SECONDS = 300
MAX_BODY = 20_000
KEPT = 10_000


@dataclass
class Message:
    """What was received under one id."""

    id: str
    receiver: str
    body: bytes
    received: float
    deliveries: int = 1
    #: Deliveries whose body was another one.
    different: int = 0


@dataclass
class Receiver:
    """All receivers of one emulator, by name.

    :param now: unix seconds.
    """

    faults: PublishFaults
    now: Callable[[], float]
    messages: dict[tuple[str, str], Message] = field(default_factory=dict)
    refused: int = 0

    def take(self, name: str, headers: dict[str, str], body: bytes) -> Message:
        """Take a delivery: the first of an id has an effect, every other is only counted.

        :raises Refused: 401 for a wrong signature or time, 413, 410.
        """
        if self.faults.condition("webhook", "gone"):
            raise Refused(410, {"error": "this receiver is gone"})
        if len(body) > MAX_BODY:
            raise Refused(413, {"error": f"more than {MAX_BODY} bytes"})
        reason = self._wrong(headers, body)
        if reason:
            self.refused += 1
            raise Refused(401, {"error": reason})
        key = (name, headers["webhook-id"])
        known = self.messages.get(key)
        if known is None:
            if len(self.messages) >= KEPT:
                raise Refused(507, {"error": "the emulator keeps no more messages"})
            known = self.messages[key] = Message(headers["webhook-id"], name, body, self.now())
        else:
            known.deliveries += 1
            known.different += known.body != body
        return known

    def _wrong(self, headers: dict[str, str], body: bytes) -> str | None:
        name, stamp, signatures = (headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
        if not (name and stamp.isdigit() and signatures):
            return "webhook-id, webhook-timestamp and webhook-signature are required"
        ahead = self.faults.condition("webhook", "clock_ahead")
        here = self.now() + ((ahead.seconds if ahead.seconds > 1 else 600) if ahead else 0)
        if abs(here - int(stamp)) > TOLERANCE_SECONDS:
            return "the timestamp is more than 5 minutes off"
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        digest = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(digest).decode()}"
        if not any(hmac.compare_digest(wanted, each) for each in signatures.split(" ")):
            return "no signature is valid"
        return None


def _of_fault(fault: PublishFault) -> Refused:
    return Refused(fault.status, {"error": fault.reason})


def routes(receiver: Receiver) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    @router.post("/webhook-receiver/{name}")
    async def deliver(name: str, request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            body = await request.body()
            message = receiver.take(name, {key.lower(): value for key, value in request.headers.items()}, body)
            return JSONResponse({"received": message.id, "deliveries": message.deliveries})

        return await serve(receiver.faults, "webhook", "delivery", work, _of_fault)

    return router


def shown(message: Message) -> dict[str, Any]:
    """Return a message as plain JSON."""
    try:
        content = json.loads(message.body)
    except ValueError:
        content = None
    return {
        "id": message.id,
        "receiver": message.receiver,
        "content": content,
        "received": message.received,
        "deliveries": message.deliveries,
        "different_bodies": message.different,
    }
