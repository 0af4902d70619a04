"""What says that a model is gone, and what only sounds like it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.errors import Charge
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.client.protocol import Reply

CALL = protocol.submit({"model": "veo3.1-fast", "prompt": "a cat"}, "key")


def refusal(status: int, body: Any) -> errors.ApimartError:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    with pytest.raises(errors.ApimartError) as caught:
        CALL.read(Reply(status, {"retry-after": "7"}, content))
    return caught.value


def told(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


GONE = [
    (404, told("The model veo3.1-fast is no longer available", code=404, type="invalid_request_error")),
    (404, told("veo3.1-fast is no longer available")),
    (404, told("The model `veo3.1-fast` does not exist or you do not have access to it.", code="model_not_found")),
    (404, told("models/veo-3.1-generate-preview is not found for API version v1beta")),
    (404, told("This model models/veo-3.1-generate-preview is no longer available.", code=404, status="NOT_FOUND")),
    (404, told("model not found: veo3.1-fast")),
    (410, told("This model was retired")),
    (404, told("The video model veo3.1-fast is no longer available")),
    (404, told("The model veo-3.1-image-to-video is no longer available")),
    (400, told("The model veo3.1-fast has been deprecated", type="invalid_request_error")),
    (400, told("Model 'veo3.1-fast' is no longer available")),
    (404, told("模型 veo3.1-fast 已下线")),
    (200, {"code": 404, "message": "model veo3.1-fast is no longer available"}),
]
NO_CHANNEL = [
    (503, told("No available channel for model veo3.1-fast under group default (distributor) (request id: 2026)")),
    (503, told("no channel", code="model_not_found", type="new_api_error")),
    (503, told("当前分组 default 下对于模型 veo3.1-fast 无可用渠道（distributor）")),  # noqa: RUF001
]
NEITHER = [
    (404, "<html><title>404</title>The model veo3.1-fast is no longer available</html>", errors.NotFoundError),
    (404, told("Not found"), errors.NotFoundError),
    (404, told("first_frame_image is no longer available"), errors.NotFoundError),
    (404, told("The frame for this model was not found"), errors.NotFoundError),
    (410, told("The asset is no longer available"), errors.BadRequestError),
    (404, {"message": "no Route matched with those values"}, errors.NotFoundError),
    (404, told("This endpoint is no longer available"), errors.NotFoundError),
    (404, told("Invalid URL (POST /v2/videos/generations)"), errors.NotFoundError),
    (503, told("Service temporarily unavailable"), errors.ServerError),
    (503, "<html>No available channel for model x</html>", errors.ServerError),
    (502, told("The model is no longer available"), errors.ServerError),
    (500, told("model veo3.1-fast is no longer available"), errors.ServerError),
    (400, told("invalid prompt: the model is no longer available"), errors.BadRequestError),
    (400, told('prompt "The model veo3 is no longer available" is too long'), errors.BadRequestError),
    (400, told("unsupported resolution, the old model was retired"), errors.BadRequestError),
    (401, told("model not found", code="model_not_found"), errors.AuthenticationError),
    (403, told("this key may not use the model veo3.1-fast"), errors.PermissionDeniedError),
    (409, told("in progress", code="idempotency_in_progress"), errors.IdempotencyInProgressError),
]


@pytest.mark.parametrize(("status", "body"), GONE)
def test_a_model_that_is_gone(status: int, body: Any) -> None:
    error = refusal(status, body)
    assert type(error) is errors.ModelGoneError
    assert error.terminal and error.charge is Charge.NO


@pytest.mark.parametrize(("status", "body"), NO_CHANNEL)
def test_a_relay_without_a_channel(status: int, body: Any) -> None:
    error = refusal(status, body)
    assert type(error) is errors.NoChannelError
    assert not error.terminal and error.charge is Charge.NO and error.retry_after_seconds == 7


@pytest.mark.parametrize(("status", "body", "kind"), NEITHER)
def test_what_is_no_verdict_on_the_model(status: int, body: Any, kind: type[errors.ApimartError]) -> None:
    assert type(refusal(status, body)) is kind


def test_only_a_submission_can_be_refused_for_its_model() -> None:
    body = json.dumps(told("The model veo3.1-fast is no longer available")).encode()
    with pytest.raises(errors.NotFoundError):
        protocol.generation("task_1").read(Reply(404, {}, body))


INNER = {"error": {"code": 404, "message": "This model models/veo-3.1 is no longer available.", "status": "NOT_FOUND"}}
LOST = [
    {"code": "fail_to_fetch_task", "message": json.dumps(INNER)},
    {"code": "fail_to_fetch_task", "message": f"fail_to_fetch_task: {json.dumps(INNER)}", "type": "task_failed"},
    {"code": "fail_to_fetch_task", "message": f"upstream said {INNER}"},
    {"code": "", "message": "fail_to_fetch_task: status 404: models/veo-3.1-generate-preview is no longer available"},
    {"type": "fail_to_fetch_task", "message": 'HTTP 404 "This model models/veo-3.1 is no longer available."'},
    {
        "code": "fail_to_fetch_task",
        "message": "404: Publisher Model `projects/p/models/veo-3.1` is no longer available",
    },
    {"code": "model_not_found", "message": "gone"},
]
NOT_LOST = [
    {"code": "fail_to_fetch_task", "message": "upstream timeout"},
    {"code": "fail_to_fetch_task", "message": "status 404: task not found"},
    {"code": "fail_to_fetch_task", "message": "status 500: the model is no longer available"},
    {"code": "fail_to_fetch_task", "message": "timeout for the prompt: a 404, this model is no longer available"},
    {"code": "fail_to_fetch_task", "message": 'timeout, "404, a fashion model who is no longer available"'},
    {"code": "task_failed", "message": "404: the model is no longer available"},
    {"code": "task_failed", "message": "fail: see fail_to_fetch_task, 404 is no longer available"},
]


@pytest.mark.parametrize("error", LOST)
def test_a_failed_task_whose_model_is_gone(error: dict[str, Any]) -> None:
    view = Generation.read({"status": "failed", "error": error}, "task_1")
    assert view.model_gone and not view.rejected


@pytest.mark.parametrize("error", NOT_LOST)
def test_a_failed_task_that_says_nothing_of_its_model(error: dict[str, Any]) -> None:
    assert not Generation.read({"status": "failed", "error": error}, "task_1").model_gone


@pytest.mark.parametrize("status", ["processing", "completed"])
def test_only_a_failure_counts(status: str) -> None:
    assert not Generation.read({"status": status, "error": LOST[0]}, "task_1").model_gone


def test_the_models_of_the_account_in_any_shape() -> None:
    body = {"data": [{"id": "a", "category": ["Video", 5]}, {"id": "b", "category": "image"}, "c", {"id": None}, 5]}
    call = protocol.models(expand=True)
    assert call.params == {"expand": "true"}
    found = call.read(Reply(200, {}, json.dumps(body).encode()))
    assert [(one.id, one.category) for one in found] == [("a", "video"), ("b", "image"), ("c", "")]


def test_neither_names_nor_schemas_show_the_key() -> None:
    body = json.dumps({"data": [{"id": "veo-sk-secret"}], "input_schema": {"enum": ["sk-secret"]}}).encode()
    reply = Reply(200, {}, body, "sk-secret")
    assert [one.id for one in protocol.models().read(reply)] == ["veo-***"]
    with pytest.raises(errors.ResponseError) as caught:
        protocol.model_schema("veo4").read(reply)
    assert "sk-secret" not in str(caught.value)


def test_a_schema_is_read_from_its_envelope_or_from_data() -> None:
    call = protocol.model_schema("a/b")
    assert call.path == "/v1/models/a%2Fb/schema" and not call.may_cost
    for body in ({"input_schema": {"type": "object"}}, {"data": {"input_schema": {"type": "object"}}}):
        assert call.read(Reply(200, {}, json.dumps(body).encode())) == {"type": "object"}
    for wrong in ({"input_schema": []}, {}, {"input_schema": {"x": "y" * 2_000_000}}):
        with pytest.raises(errors.ResponseError):
            call.read(Reply(200, {}, json.dumps(wrong).encode()))
