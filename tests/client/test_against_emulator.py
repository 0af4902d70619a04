"""The client and the emulator, written by different hands from the same contract, end to end over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.client.models import GenerationStatus as Status
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.emulator.server import Emulator
from tests.client.harness import Both
from tests.client.test_request import SCENARIOS

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
BODY = {"model": "veo3.1-fast-official", "prompt": "a dog", "duration": 4}


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(job_seconds=0.0) as emulator:
        yield emulator


@pytest.fixture
def emulator(server: Emulator) -> Emulator:
    server.reset()
    return server


class Api:
    def __init__(self, both: Both, emulator: Emulator) -> None:
        self.both, self.emulator = both, emulator

    def __call__(self, method: str, *arguments: Any, version: str | None = None, key: str = "", **options: Any) -> Any:
        settings = Settings(key or self.emulator.api_key, self.emulator.base_url, response_version=version)
        return self.both.run(method, *arguments, settings=settings, **options)


@pytest.fixture
def api(both: Both, emulator: Emulator) -> Api:
    return Api(both, emulator)


@pytest.mark.parametrize("version", [None, "2026-07-27"])
def test_submit_ask_and_ask_again(api: Api, version: str | None) -> None:
    first = api("submit", BODY, "key-1", version=version)
    assert (first.status, first.replayed) == (Status.PENDING, False)
    again = api("submit", BODY, "key-1", version=version)
    assert (again.generation_id, again.replayed) == (first.generation_id, True)
    found = api("generation", first.generation_id)
    assert found.status is Status.COMPLETED
    assert found.cost_usd == pytest.approx(0.256)
    assert len(found.videos) == 1
    assert found.completed_at is not None
    assert found.videos[0].expires_at is not None
    assert api.emulator.state()["paid"] == 1


@pytest.mark.parametrize("text", SCENARIOS, ids=range(1, 6))
def test_scenarios(api: Api, text: str) -> None:
    request = VeoRequest.model_validate_json(text)
    found = api("generation", api("submit", request.body(), "key-1").generation_id)
    assert found.status is Status.COMPLETED
    assert api.emulator.state()["generations"][0]["body"] == request.body()


@pytest.mark.parametrize("model", MODELS)
def test_models_take_what_the_client_makes(api: Api, model: str) -> None:
    frame = {} if "lite" in model else {"first_frame_image": "https://example.com/a.png"}
    request = VeoRequest.checked({"prompt": "x", "model": model, "duration": 8, "resolution": "4K", **frame})
    assert api("generation", api("submit", request.body(), "key-1").generation_id).videos


def test_samples(api: Api) -> None:
    sent = api("submit", {**BODY, "sample_count": 3}, "key-1")
    assert len({video.url for video in api("generation", sent.generation_id).videos}) == 3


def test_upload(api: Api) -> None:
    found = api("upload_image", "cät.png", PNG, "image/png")
    assert found.url.startswith("http")
    assert (found.content_type, found.bytes) == ("image/png", len(PNG))
    with pytest.raises(errors.BadRequestError, match="unsupported image type"):
        api("upload_image", "a.txt", b"text", "text/plain")
    with pytest.raises(errors.UploadTooLargeError):
        api("upload_image", "a.png", PNG + bytes(20_971_520), "image/png")


def test_balances_models_and_prices(api: Api) -> None:
    key, account = api("key_balance"), api("account_balance")
    assert (key.remaining_usd, account.remaining_usd, account.used_usd) == (100, 100, 0)
    assert {"veo3.1-fast-official", "veo3.1-quality-official"} <= {model.id for model in api("models")}
    prices = {(price.model, price.unit) for price in api("prices")}
    assert ("veo3.1-fast-official", "usd_per_second") in prices
    (asked,) = api.emulator.requests("pricing")
    assert api.emulator.api_key not in str(asked)


def test_a_wrong_key(api: Api) -> None:
    for method, arguments in (("submit", (BODY, "k")), ("generation", ("task_1",)), ("key_balance", ())):
        with pytest.raises(errors.AuthenticationError) as caught:
            api(method, *arguments, key="bad-key-0123")
        assert "bad-key-0123" not in str(caught.value)
        assert caught.value.request_id


def test_an_unknown_task(api: Api) -> None:
    with pytest.raises(errors.BadRequestError, match="invalid task id"):
        api("generation", "task_nobody")


def test_reused_key(api: Api) -> None:
    api("submit", BODY, "key-1")
    with pytest.raises(errors.IdempotencyKeyReusedError) as caught:
        api("submit", {**BODY, "duration": 8}, "key-1")
    assert caught.value.terminal
    assert api.emulator.state()["posts"] == 1


OUTCOMES = {
    "task_fails": (Status.FAILED, False),
    "content_rejected": (Status.FAILED, True),
    "task_cancelled": (Status.FAILED, False),
    "completes_empty": (Status.COMPLETED, None),
}


@pytest.mark.parametrize("kind", OUTCOMES)
def test_ends_without_a_video(api: Api, kind: str) -> None:
    api.emulator.fault("submit", kind)
    found = api("generation", api("submit", BODY, "key-1").generation_id)
    status, rejected = OUTCOMES[kind]
    assert (found.status, found.videos) == (status, ())
    assert rejected is None or found.rejected is rejected


@pytest.mark.parametrize(
    "shape",
    [
        *("url_string", "result_url", "video_url", "cost_string", "data_list", "unwrapped", "no_expires_at"),
        *("result_text", "result_output", "file_url"),
    ],
)
def test_shapes_of_a_task(api: Api, shape: str) -> None:
    sent = api("submit", BODY, "key-1")
    usual = api("generation", sent.generation_id)
    api.emulator.fault("task", "shape", value=shape)
    found = api("generation", sent.generation_id)
    assert [video.url for video in found.videos] == [video.url for video in usual.videos]
    assert found.cost_usd == usual.cost_usd


@pytest.mark.parametrize("shape", ["data_object", "top_level"])
def test_shapes_of_a_submission(api: Api, shape: str) -> None:
    api.emulator.fault("submit", "shape", value=shape)
    sent = api("submit", BODY, "key-1")
    assert api("generation", sent.generation_id).status is Status.COMPLETED


def test_a_synchronous_result_is_known_by_its_key_and_a_replay_gives_it_again(api: Api) -> None:
    api.emulator.fault("submit", "shape", value="sync_result")
    first, again = api("submit", BODY, "key-1"), api("submit", BODY, "key-1")
    assert (first.generation_id, again.generation_id) == ("key-1", "key-1")
    assert (first.replayed, again.replayed) == (False, True)
    for answer in (first, again):
        assert answer.result is not None and len(answer.result.videos) == 1
        assert answer.result.cost_usd == api.emulator.state()["bill_usd"]
    assert api.emulator.state()["paid"] == 1


#: Faults after which the same call finds, or makes, the one generation.
PASSING: list[dict[str, Any]] = [
    {"kind": "status", "status": 500, "executed": True},
    {"kind": "status", "status": 502},
    {"kind": "status", "status": 429, "retry_after": "0"},
    {"kind": "status", "status": 503, "executed": True},
    {"kind": "status", "status": 400, "code": "get_channel_failed"},
    {"kind": "html", "executed": True},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "broken_json"},
    {"kind": "cut"},
    {"kind": "no_task_id"},
    {"kind": "idempotency_in_progress", "retry_after": "0"},
    {"kind": "idempotency_unavailable"},
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: "-".join(str(value) for value in fault.values()))
def test_paid_once_whatever_the_answer(api: Api, fault: dict[str, Any]) -> None:
    api.emulator.faults({"route": "submit", "times": 2, **fault})
    sent = api("submit", BODY, "key-1")
    state = api.emulator.state()
    assert [generation["generation_id"] for generation in state["generations"]] == [sent.generation_id]
    assert state["paid"] == 1


STOPPING: list[tuple[dict[str, Any], type[ApimartError], Charge]] = [
    ({"kind": "status", "status": 402}, errors.InsufficientBalanceError, Charge.NO),
    ({"kind": "envelope_error"}, errors.InsufficientBalanceError, Charge.NO),
    ({"kind": "build_request_failed"}, errors.BadRequestError, Charge.NO),
    ({"kind": "idempotency_indeterminate"}, errors.IdempotencyIndeterminateError, Charge.UNKNOWN),
    ({"kind": "idempotency_key_reused"}, errors.IdempotencyKeyReusedError, Charge.NO),
    ({"kind": "redirect", "location": "https://evil.example/", "executed": True}, errors.RedirectError, Charge.UNKNOWN),
]


@pytest.mark.parametrize(("fault", "kind", "charge"), STOPPING, ids=lambda value: str(value)[:40])
def test_what_stops_a_submission(api: Api, fault: dict[str, Any], kind: type[ApimartError], charge: Charge) -> None:
    api.emulator.faults({"route": "submit", **fault})
    with pytest.raises(ApimartError) as caught:
        api("submit", BODY, "key-1")
    assert type(caught.value) is kind
    assert caught.value.charge is charge
    assert len(api.emulator.requests("submit")) == 1


def test_success_false_with_200(api: Api) -> None:
    api.emulator.faults({"route": "balance", "kind": "success_false", "times": -1})
    with pytest.raises(ApimartError):
        api("key_balance")
