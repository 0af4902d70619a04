"""The request to extend a video: what is refused before it is paid for, and what is sent where."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.errors import InvalidParameterError
from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.client.remix import RemixRequest

GOOD: dict[str, Any] = {"source": "task_1", "prompt": "it goes on", "model": "veo3.1-fast"}


def refused(**values: Any) -> str:
    with pytest.raises(InvalidParameterError) as error:
        RemixRequest.checked({**GOOD, **values})
    return str(error.value)


def test_the_source_is_in_the_path_and_in_the_identity_but_not_in_the_body() -> None:
    request = RemixRequest.checked({**GOOD, "raw": "true", "resolution": "4K", "aspect_ratio": "9:16"})
    body = {**GOOD, "raw": True, "resolution": "4k", "aspect_ratio": "9:16"}
    del body["source"]
    assert request.body() == body
    assert request.remix_of == "task_1"
    other = RemixRequest.checked({**request.model_dump(exclude_none=True), "source": "task_2"})
    assert other.body() == request.body() and other.identity() != request.identity()


def test_what_is_not_set_is_not_sent() -> None:
    values = {**GOOD, "raw": "", "resolution": " ", "aspect_ratio": None}
    assert RemixRequest.checked(values).body() == {"prompt": "it goes on", "model": "veo3.1-fast"}


@pytest.mark.parametrize("model", MODELS)
def test_only_models_whose_videos_are_extended(model: str) -> None:
    if MODELS[model].remix:
        # APIMart's page has two names, and no others.
        assert RemixRequest.checked({**GOOD, "model": model}).body()["model"] == model.removesuffix("-ext")
    else:
        assert "veo3.1-fast or veo3.1-quality" in refused(model=model)


def test_an_unknown_model_is_sent_with_a_warning() -> None:
    (note,) = RemixRequest.checked({**GOOD, "model": "veo3.9-fast"}).notes()
    assert "not known" in note


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"source": None}, "source"),
        ({"source": " "}, "source"),
        ({"source": "two words"}, "source"),
        ({"source": "x" * 256}, "source"),
        ({"source": {"generation_id": "x"}}, "source"),
        ({"prompt": ""}, "prompt"),
        ({"model": None}, "model"),
        ({"raw": "maybe"}, "raw"),
        ({"raw": 1}, "raw"),
        ({"resolution": "8k"}, "resolution"),
        ({"aspect_ratio": "4:3"}, "aspect_ratio"),
        ({"seed": 1}, "seed"),
        ({"duration": 8}, "duration"),
        ({"first_frame_image": "https://example.com/a.png"}, "first_frame_image"),
        ({"extra_body": {"raw": True}, "raw": True}, "extra_body.raw"),
        ({"extra_body": {"source": "task_2"}}, "extra_body.source"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_values(values: dict[str, Any], field: str) -> None:
    assert f"{field}=" in refused(**values)


def test_all_problems_at_once() -> None:
    text = refused(source="", model="veo3.1-lite", resolution="8k", seed=1)
    assert [name in text for name in ("source=", "model=", "resolution=", "seed=")] == [True] * 4


def test_what_is_not_known_yet_is_not_refused() -> None:
    values = {**GOOD, "source": object(), "model": object(), "resolution": "8k"}
    (problem,) = RemixRequest.problems(values, unknown={"source", "model"})
    assert problem.field == "resolution"


def test_the_paid_call_goes_to_the_source() -> None:
    request = RemixRequest.checked({**GOOD, "source": "../task 1".replace(" ", "_")})
    call = protocol.submit(request.body(), "key", remix_of=request.remix_of)
    assert (call.method, call.path) == ("POST", "/v1/videos/..%2Ftask_1/remix")
    assert call.may_cost and call.repeat is protocol.Repeat.WITH_SAME_KEY
    assert protocol.submit({}, "key").path == "/v1/videos/generations"
