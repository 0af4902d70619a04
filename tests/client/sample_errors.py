"""The errors that the contract records (sections 5, 7 and 10): class, money, and whether they may pass."""

from __future__ import annotations

from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import Charge
from tests.client.samples import Refusal

#: 7.1 (envelopes) and 7.2 (table): status, body, class, money, terminal.
NO, UNKNOWN = Charge.NO, Charge.UNKNOWN


def _documented(status: int, kind: str, message: str = "text") -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "type": kind}}


REFUSALS = [
    Refusal("10.14-400", 400, _documented(400, "invalid_request_error"), errors.BadRequestError, NO, True, {
        "code": "400", "error_type": "invalid_request_error", "message": "text",
    }),
    Refusal("11-param", 400, {"error": {"message": "bad", "type": "invalid_request_error", "param": "du\nration"}},
            errors.BadRequestError, NO, True, {"param": "du ration"}),
    Refusal("11-param-long", 400, {"error": {"message": "bad", "param": "x" * 5000}}, errors.BadRequestError, NO, True,
            {"param": "x" * 100}),
    Refusal("11-param-no-text", 400, {"error": {"message": "bad", "param": {"a": [1]}}}, errors.BadRequestError, NO,
            True, {"message": "bad"}),
    Refusal("11-floor", 402, {"error": {"message": "[token_id=90701] insufficient balance (current: 0.013570 USD, "
            "required: 0.050000 USD)"}}, errors.InsufficientBalanceError, NO, True,
            {"current_usd": 0.01357, "required_usd": 0.05}),
    Refusal("10.14-401", 401, _documented(401, "authentication_error"), errors.AuthenticationError, NO, True),
    Refusal("10.14-402", 402, _documented(402, "payment_required"), errors.InsufficientBalanceError, NO, True),
    Refusal("10.14-403", 403, _documented(403, "permission_error"), errors.PermissionDeniedError, NO, True),
    Refusal("10.14-429", 429, _documented(429, "rate_limit_error"), errors.RateLimitError, NO, False),
    Refusal("10.14-500", 500, _documented(500, "server_error"), errors.ServerError, UNKNOWN, False),
    Refusal("10.14-502", 502, _documented(502, "bad_gateway"), errors.ServerError, UNKNOWN, False),
    Refusal("7.2-404", 404, {"error": {"message": "Not Found"}}, errors.NotFoundError, NO, True),
    Refusal("7.2-408", 408, {}, errors.ServerError, UNKNOWN, False),
    Refusal("7.2-413", 413, {"error": {"message": "file size 1 exceeds"}}, errors.UploadTooLargeError, NO, True),
    Refusal("7.2-422-upstream", 422, {"error": {
        "type": "apimart_error", "code": "bad_response_status_code", "message": "bad response status code 422",
    }}, errors.UpstreamError, UNKNOWN, False),
    Refusal("7.2-503", 503, _documented(503, "service_unavailable"), errors.ServerError, UNKNOWN, False),
    Refusal("7.2-504", 504, {}, errors.ServerError, UNKNOWN, False),
    Refusal("7.2-another-4xx", 418, {}, errors.BadRequestError, NO, True),
    Refusal("7.2-another-5xx", 599, {}, errors.ServerError, UNKNOWN, False),
    Refusal("7.2-get_channel_failed", 400, {"error": {
        "code": "get_channel_failed", "message": "no channel", "type": "apimart_error",
    }}, errors.ChannelUnavailableError, NO, False),
    Refusal("10.15-build_request_failed", 500, {"error": {
        "code": 500, "message": "build_request_failed: invalid size: 3:5, allowed: 16:9", "type": "server_error",
    }}, errors.BadRequestError, NO, True),
    Refusal("10.13-401-recorded", 401, {"error": {
        "code": "", "message": "invalid API key (request id: 2026abc)", "param": "", "type": "apimart_error",
    }}, errors.AuthenticationError, NO, True, {"request_id": "2026abc", "code": None}),
    Refusal("10.13-401-key-missing", 401, {"error": {
        "message": "API key is required ...", "type": "apimart_error",
    }}, errors.AuthenticationError, NO, True, {"code": None}),
    Refusal("7.1-3-grok-page", 400, {"request_id": "req_7", "error": {
        "message": "bad", "type": "invalid_request_error", "param": "size", "code": "invalid_size",
    }}, errors.BadRequestError, NO, True, {"request_id": "req_7", "code": "invalid_size"}),
    Refusal("7.1-5-code-and-error", 402, {"code": 402, "error": {"message": "m"}}, errors.InsufficientBalanceError,
            NO, True, {"message": "m"}),
    Refusal("7.1-5-code-and-message", 402, {"code": 402, "message": "m"}, errors.InsufficientBalanceError, NO, True,
            {"message": "m", "code": "402"}),
    Refusal("7.1-5-HTTP-200", 200, {"code": 402, "error": {"message": "m"}}, errors.InsufficientBalanceError, NO, True,
            {"status": 402}),
    Refusal("7.1-5-HTTP-200-message", 200, {"code": 429, "message": "m"}, errors.RateLimitError, NO, False),
    Refusal("7.1-5-HTTP-200-code-as-text", 200, {"code": "402", "message": "m"}, errors.InsufficientBalanceError,
            NO, True, {"status": 402}),
    Refusal("7.1-5-HTTP-200-inner-code", 200, {"error": {"code": 403, "message": "m"}}, errors.PermissionDeniedError,
            NO, True),
    Refusal("7.1-5-HTTP-200-inner-code-as-text", 200, {"error": {"code": "401", "message": "m"}},
            errors.AuthenticationError, NO, True),
    Refusal("7.1-5-HTTP-200-error-and-null-data", 200, {"data": None, "error": {"code": 402, "message": "m"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("7.1-5-HTTP-200-error-text", 200, {"error": "something"}, errors.ServerError, UNKNOWN, False,
            {"message": "something"}),
    Refusal("7.1-4-success-false", 200, {"success": False, "message": "user quota query failed"}, errors.ServerError,
            UNKNOWN, False, {"message": "user quota query failed"}),
    Refusal("7.1-4-token-not-found", 200, {"success": False, "message": "token not found"},
            errors.AuthenticationError, NO, True),
    Refusal("7.1-4-a-token-of-another-kind", 200, {"success": False, "message": "token quota query failed"},
            errors.ServerError, UNKNOWN, False),
    Refusal("7.1-6-html", 502, b"<html><body>502 Bad Gateway</body></html>", errors.ServerError, UNKNOWN, False),
    Refusal("7.1-6-html-403", 403, b"<html>denied by firewall</html>", errors.PermissionDeniedError, NO, True),
    Refusal("7.1-6-empty", 503, b"", errors.ServerError, UNKNOWN, False, {"message": "no message"}),
    Refusal("7.1-6-binary", 500, b"\xff\xfe\x00\xd8", errors.ServerError, UNKNOWN, False),
    Refusal("10.16-in-progress", 409, {"error": {"code": "idempotency_in_progress", "message": "wait"}},
            errors.IdempotencyInProgressError, NO, False, {"retry_after_seconds": 7.0}, {"Retry-After": "7"}),
    Refusal("10.16-indeterminate-in-the-message", 409, {"error": {
        "code": 409, "message": "idempotency_result_indeterminate",
    }}, errors.IdempotencyIndeterminateError, UNKNOWN, True),
    Refusal("1.3-indeterminate", 409, {"error": {"code": "idempotency_result_indeterminate", "message": "m"}},
            errors.IdempotencyIndeterminateError, UNKNOWN, True),
    Refusal("1.3-key-reused", 409, {"error": {"code": "idempotency_key_reused", "message": "m"}},
            errors.IdempotencyKeyReusedError, NO, True),
    Refusal("1.3-unavailable", 503, {"error": {"code": "idempotency_unavailable", "message": "m"}},
            errors.IdempotencyUnavailableError, NO, False),
    Refusal("1.3-identifier-on-the-envelope", 409, {"code": "idempotency_in_progress", "message": "m"},
            errors.IdempotencyInProgressError, NO, False),
    Refusal("1.3-identifier-as-the-type", 409, {"error": {"type": "idempotency_in_progress", "message": "m"}},
            errors.IdempotencyInProgressError, NO, False),
    Refusal("1.3-a-409-of-unknown-meaning", 409, {"error": {"message": "conflict"}},
            errors.IdempotencyIndeterminateError, UNKNOWN, True),
    Refusal("1.5-request-id-header", 429, {}, errors.RateLimitError, NO, False, {"request_id": "hdr"},
            {"X-Oneapi-Request-Id": "hdr"}),
    Refusal("quota-user-403", 403, {"error": {
        "code": "insufficient_user_quota", "message": "user quota is not enough", "type": "new_api_error",
    }}, errors.InsufficientBalanceError, NO, True),
    Refusal("quota-key-403", 403, {"error": {
        "code": "pre_consume_token_quota_failed", "message": "x", "type": "new_api_error",
    }}, errors.InsufficientBalanceError, NO, True),
    Refusal("quota-user-429", 429, {"error": {"code": "insufficient_user_quota", "message": "x"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-as-the-type", 403, {"error": {"type": "insufficient_quota", "message": "x"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-of-a-supplier", 429, {"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}},
            errors.RateLimitError, NO, False),
    Refusal("quota-in-a-5xx-may-be-anybody's", 500, {"error": {
        "code": "insufficient_user_quota", "message": "user quota is not enough",
    }}, errors.ServerError, UNKNOWN, False),
    Refusal("quota-text-401", 401, {"error": {"message": "token quota exhausted", "type": "apimart_error"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-text-401-cn", 401, {"error": {"message": "该令牌额度已用尽 (request id: 1)"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-text-403-cn", 403, {"error": {
        "message": "预扣费额度失败, 用户剩余额度: \uff041.833678, 需要预扣费额度: \uff042.381240",
    }}, errors.InsufficientBalanceError, NO, True, {"current_usd": 1.833678, "required_usd": 2.38124}),
    Refusal("quota-text-403", 403, {"error": {
        "message": "token quota is not enough, token remain quota: $0.1, need quota: $0.5",
    }}, errors.InsufficientBalanceError, NO, True, {"current_usd": 0.1, "required_usd": 0.5}),
    Refusal("quota-text-401-passive", 401, {"error": {"message": "The API key quota has been exhausted"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-text-403-identifier", 403, {"error": {"message": "insufficient_quota"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-text-403-credits", 403, {"error": {"message": "Not enough credits"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-text-403-low", 403, {"error": {"message": "Your credit balance is too low"}},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-text-that-is-quoted", 403, {"error": {"message": 'not for "user quota is not enough"'}},
            errors.PermissionDeniedError, NO, True),
    Refusal("quota-text-200", 200, {"success": False, "message": "user quota is not enough"},
            errors.InsufficientBalanceError, NO, True),
    Refusal("quota-that-is-a-limit-of-models", 403, {"error": {"message": "no quota for this model"}},
            errors.PermissionDeniedError, NO, True),
    Refusal("11-402-floor", 402, {"error": {
        "message": "[token_id=90701] insufficient balance (current: 0.013570 USD, required: 0.050000 USD)",
    }}, errors.InsufficientBalanceError, NO, True, {"current_usd": 0.01357, "required_usd": 0.05}),
    Refusal("402-without-numbers", 402, {"error": {"message": "pay"}}, errors.InsufficientBalanceError, NO, True,
            {"current_usd": None, "required_usd": None}),
    Refusal("content-400-code", 400, {"error": {"code": "content_policy_violation", "message": "no"}},
            errors.ContentRefusedError, NO, True),
    Refusal("content-400-text", 400, {"error": {
        "code": 400, "message": "The prompt could not be submitted", "type": "invalid_request_error",
    }}, errors.ContentRefusedError, NO, True),
    Refusal("content-403", 403, {"error": {"message": "The prompt violates our usage guidelines"}},
            errors.ContentRefusedError, NO, True),
    Refusal("content-500-is-unknown", 500, {"error": {"message": "The prompt violates our usage guidelines"}},
            errors.ServerError, UNKNOWN, False),
    Refusal("content-400-passes", 400, {"error": {"message": "Moderation service timed out, please try again later"}},
            errors.TemporaryRefusalError, NO, False),
    Refusal("content-403-passes-is-still-403", 403, {"error": {"message": "temporarily unavailable"}},
            errors.PermissionDeniedError, NO, True),
    Refusal("lie-message-is-an-object", 400, {"error": {"message": {"a": 1}}}, errors.BadRequestError, NO, True),
    Refusal("lie-error-is-a-list", 400, {"error": [1]}, errors.BadRequestError, NO, True),
    Refusal("lie-nested-200-deep", 400, b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            errors.BadRequestError, NO, True),
    Refusal("lie-code-of-5000-digits", 400, b'{"error":{"code":' + b"9" * 5000 + b"}}", errors.BadRequestError,
            NO, True),
    Refusal("redirect-301", 301, b"", errors.RedirectError, NO, True, {}, {"Location": "https://other.example/"}),
    Refusal("redirect-307", 307, b"", errors.RedirectError, NO, True, {}, {"Location": "https://other.example/"}),
    Refusal("redirect-308", 308, b"", errors.RedirectError, NO, True, {}, {"Location": "https://other.example/"}),
    # These may point to the result of what was done.
    Refusal("redirect-302", 302, b"", errors.RedirectError, UNKNOWN, True, {}, {"Location": "https://other.example/"}),
    Refusal("redirect-303", 303, b"", errors.RedirectError, UNKNOWN, True),
    Refusal("2xx-html", 200, b"<html>welcome</html>", errors.ResponseError, UNKNOWN, False),
    Refusal("2xx-empty", 200, b"", errors.ResponseError, UNKNOWN, False),
    Refusal("2xx-204", 204, b"", errors.ResponseError, UNKNOWN, False),
    Refusal("2xx-list", 200, [1, 2], errors.ResponseError, UNKNOWN, False),
    Refusal("2xx-null", 200, None, errors.ResponseError, UNKNOWN, False),
    Refusal("2xx-cut", 200, b'{"code":200,"data":[{"task_', errors.ResponseError, UNKNOWN, False),
    Refusal("2xx-deep", 200, b"[" * 100_000, errors.ResponseError, UNKNOWN, False),
]  # fmt: skip

UPLOAD_REFUSALS = [
    Refusal("5-no-file", 400, {"error": {"message": "missing or invalid file field: http: no such file"}},
            errors.BadRequestError, NO, True, {"code": None}),
    Refusal("5-type", 400, {"error": {"message": "unsupported image type: text/plain, allowed: jpeg"}},
            errors.BadRequestError, NO, True),
    Refusal("5-413", 413, {"error": {"message": "file size 20971521 exceeds maximum 20971520 bytes"}},
            errors.UploadTooLargeError, NO, True),
    Refusal("5-500", 500, {"error": {"message": "failed to upload image"}}, errors.ServerError, UNKNOWN, False),
    Refusal("5-no-url", 200, {"filename": "a.png"}, errors.ResponseError, UNKNOWN, False),
    Refusal("5-url-is-a-list", 200, {"url": ["https://a"]}, errors.ResponseError, UNKNOWN, False),
    Refusal("5-url-is-a-path", 200, {"url": "/f/image/a.png"}, errors.ResponseError, UNKNOWN, False),
]  # fmt: skip
