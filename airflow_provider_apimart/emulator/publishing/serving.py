"""Serves one request of a publishing service, with the fault that it meets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.publishing.faults import PublishFault, PublishFaults


class Dropped(Exception):
    """The connection is to be reset, so that the client sees no answer."""


class Refused(Exception):
    """The service answers with an error."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.body, self.headers = status, body, dict(headers or {})

    def response(self) -> Response:
        """Return the answer."""
        return JSONResponse(self.body, self.status, self.headers)


def whole_number(text: str) -> int | None:
    """Read a number from a header or a query; ``None`` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


#: Builds a service's own form of error from a fault.
ErrorOf = Callable[[PublishFault], Refused]


async def serve(
    faults: PublishFaults, service: str, step: str, work: Callable[[PublishFault | None], Awaitable[Response]],
    error_of: ErrorOf,
) -> Response:  # fmt: skip
    """Do ``work``, or what the fault says.

    :param work: is given the fault if it concerns how the request's body is read and kept.
    :raises Dropped: where the client must see no answer.
    """
    fault = faults.take(service, step)
    if fault is None:
        return await _answered(work, None)
    match fault.kind:
        case "drop_before":
            raise Dropped
        case "drop_after":
            await _answered(work, None)
            raise Dropped
        case "cut":
            await _answered(work, fault)
            raise Dropped
        case "short" | "lose":
            return await _answered(work, fault)
        case "stall":
            await asyncio.sleep(fault.seconds)
            return await _answered(work, None)
        case "stall_after":
            answer = await _answered(work, None)
            await asyncio.sleep(fault.seconds)
            return answer
        case "broken":
            answer = await _answered(work, None)
            kept = bytes(answer.body)[: max(1, len(answer.body) // 2)]
            return Response(kept, answer.status_code, media_type="application/json")
    if fault.executed:
        await _answered(work, None)
    refused = error_of(fault)
    if fault.retry_after is not None:
        refused.headers["Retry-After"] = fault.retry_after
    return refused.response()


async def _answered(work: Callable[[PublishFault | None], Awaitable[Response]], fault: PublishFault | None) -> Response:
    try:
        return await work(fault)
    except Refused as refused:
        return refused.response()
