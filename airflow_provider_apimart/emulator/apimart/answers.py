"""Error bodies as recorded in section 7 of the contract. All routes take their error shapes from here."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse, Response

#: ``error.type`` and text for each status, as documented.
KINDS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "Invalid request parameters"),
    401: ("authentication_error", "Authentication failed, please check your API key"),
    402: ("payment_required", "Insufficient account balance, please top up and try again"),
    403: ("permission_error", "Access forbidden, you do not have permission to access this resource"),
    404: ("invalid_request_error", "Not found"),
    405: ("invalid_request_error", "Method not allowed"),
    408: ("timeout_error", "Request timed out"),
    413: ("invalid_request_error", "Request entity too large"),
    422: ("apimart_error", "bad response status code 422"),
    429: ("rate_limit_error", "Too many requests, please try again later"),
    500: ("server_error", "Internal server error, please try again later"),
    502: ("bad_gateway", "Bad gateway, the upstream server is temporarily unavailable"),
    503: ("service_unavailable", "Service temporarily unavailable"),
    504: ("gateway_timeout", "Gateway timeout"),
}

#: The five outcomes of a repeated idempotency key that are errors: status and text by code.
IDEMPOTENCY: dict[str, tuple[int, str]] = {
    "idempotency_in_progress": (409, "A request with this Idempotency-Key is still in progress"),
    "idempotency_key_reused": (409, "This Idempotency-Key was used with different parameters"),
    "idempotency_result_indeterminate": (
        409,
        "The result of the request with this Idempotency-Key cannot be determined",
    ),
    "idempotency_unavailable": (503, "The idempotency store is unavailable; the request was not executed"),
}


def request_id() -> str:
    """Return an id in the form that the service uses in ``X-Oneapi-Request-Id``."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime()) + secrets.token_hex(9)


class ApiError(Exception):
    """An answer that ends a route early."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the answer."""
        return JSONResponse(dict(self.body), status_code=self.status, headers=self.headers)


def documented(
    status: int, message: str | None = None, *, code: Any = None, kind: str | None = None, param: str | None = None
) -> ApiError:
    """Build the documented shape: ``{"error": {"code": <int>, "message", "type"}}``, with ``param`` if it is given."""
    known_kind, known_message = KINDS.get(status, ("server_error", f"HTTP {status}"))
    default_code: Any = "bad_response_status_code" if status == 422 else status
    error = {
        "code": default_code if code is None else code,
        "message": message or known_message,
        "type": kind or known_kind,
    }
    if param is not None:
        error["param"] = param
    return ApiError(status, {"error": error})


def model_retired(model: str, status: int = 404, message: str | None = None, **more: Any) -> ApiError:
    """Build the refusal of a model that has ended."""
    return documented(status, message or f"The model {model} is no longer available", **more)


def no_channel(model: str, message: str | None = None) -> ApiError:
    """Build the answer of a relay that has nowhere to send requests for a model, as APIMart's peers give it."""
    text = message or f"No available channel for model {model} under group default (distributor)"
    error = {"code": "model_not_found", "message": f"{text} (request id: {request_id()})", "type": "new_api_error"}
    return ApiError(503, {"error": error})


def ended_behind_the_relay(model: str) -> dict[str, Any]:
    """Build the error of a task whose model has ended at Google: the relay passes the inner 404 on as text."""
    text = (
        f"This model models/{model} is no longer available. Please update your code to use a newer model for the "
        "latest features and improvements."
    )
    inner = json.dumps({"error": {"code": 404, "message": text, "status": "NOT_FOUND"}})
    return {"code": "fail_to_fetch_task", "message": f"fail_to_fetch_task: {inner}", "type": "task_failed"}


def bare(status: int, message: str) -> ApiError:
    """Build the shape of the upload route, whose errors carry no code."""
    return ApiError(status, {"error": {"message": message, "type": KINDS[status][0]}})


def unauthorised(key: str) -> ApiError:
    """Build one of the two recorded 401 bodies: key missing or key wrong."""
    if not key:
        return ApiError(
            401, {"error": {"message": "API key is required. Use Authorization: Bearer <key>", "type": "apimart_error"}}
        )
    message = f"invalid API key (request id: {request_id()})"
    return ApiError(401, {"error": {"code": "", "message": message, "param": "", "type": "apimart_error"}})


def below_floor(left_micros: int, floor_micros: int) -> ApiError:
    """Build the recorded answer to every request of an account that holds less than the floor."""
    left, floor = max(0, left_micros) / 1_000_000, floor_micros / 1_000_000
    message = f"[token_id=90701] insufficient balance (current: {left:.6f} USD, required: {floor:.6f} USD)"
    return ApiError(402, {"error": {"message": message}})


def idempotency(code: str, *, message: str | None = None, retry_after: str | None = None) -> ApiError:
    """Build a conflict over an idempotency key, in the documented shape."""
    status, text = IDEMPOTENCY[code]
    error = {"message": message or text, "type": "invalid_request_error", "param": "Idempotency-Key", "code": code}
    body = {"request_id": f"req_{secrets.token_hex(8)}", "error": error}
    return ApiError(status, body, {"Retry-After": retry_after} if retry_after else {})
