"""The models beside the official two, what goes around the checks (``extra_body``), and frames that are files."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.client.request import VeoRequest, is_remote_image
from tests.client.test_request import URL, body, refusal

EXT = ("veo3.1-fast", "veo3.1-fast-ext", "veo3.1-quality", "veo3.1-quality-ext")
LITE = ("veo3.1-lite", "veo3.1-lite-ext")


@pytest.mark.parametrize("model", EXT)
def test_frames_of_the_ext_family(model: str) -> None:
    assert body(model=model, first_frame_image=URL) == {
        "prompt": "a dog",
        "model": model,
        "generation_type": "frame",
        "image_urls": [URL],
    }
    both = body(model=model, first_frame_image=URL, last_frame_image="asset://b")
    assert both["image_urls"] == [URL, "asset://b"]


@pytest.mark.parametrize("model", [*EXT, *LITE])
def test_what_the_ext_family_takes(model: str) -> None:
    assert body(model=model, duration="8", aspect_ratio="9:16", resolution="4K") == {
        "prompt": "a dog",
        "model": model,
        "duration": 8,
        "aspect_ratio": "9:16",
        "resolution": "4k",
    }
    assert "allowed: 8 (whole seconds)" in refusal(model=model, duration=4)


@pytest.mark.parametrize("model", [*EXT, *LITE])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("negative_prompt", "x"),
        ("seed", 1),
        ("sample_count", 1),
        ("generate_audio", False),
        ("person_generation", "disallow"),
        ("enhance_prompt", True),
        ("resize_mode", "pad"),
    ],
)
def test_what_the_ext_family_would_ignore_is_refused(model: str, field: str, value: Any) -> None:
    assert f"not a parameter of {model}" in refusal(model=model, **{field: value})


@pytest.mark.parametrize("model", LITE)
@pytest.mark.parametrize("fields", [["first_frame_image"], ["first_frame_image", "last_frame_image"]])
def test_lite_takes_no_images(model: str, fields: list[str]) -> None:
    text = refusal(model=model, **dict.fromkeys(fields, URL))
    assert all(f"{field}='{URL}': not a parameter of {model}" in text for field in fields)


def test_ext_parameters_go_through_extra_body() -> None:
    extra = {"generation_type": "reference", "image_urls": [URL], "enable_gif": True, "official_fallback": False}
    assert body(model="veo3.1-fast", extra_body=extra) == {"prompt": "a dog", "model": "veo3.1-fast", **extra}


@pytest.mark.parametrize("name", ["image_urls", "generation_type"])
def test_a_frame_is_not_silently_replaced(name: str) -> None:
    text = refusal(model="veo3.1-fast", first_frame_image=URL, extra_body={name: "x"})
    assert f"extra_body.{name}='x'" in text


@pytest.mark.parametrize("model", ["veo4-fast", "veo3.1", "veo3.1-lite-official", "Veo3.1-Fast-Official", "x" * 500])
def test_unknown_models_are_passed_on_with_a_note(model: str) -> None:
    values = {
        "model": model,
        "duration": "12",
        "resolution": "8K",
        "aspect_ratio": "1:1",
        "person_generation": "dont_allow",
    }
    sent = body(**values)
    assert sent == {"prompt": "a dog", **values, "duration": 12}
    request = VeoRequest.checked({"prompt": "x", "model": model})
    assert any("not known to this version" in note for note in request.notes())
    assert request.rules is None


def test_a_misspelt_model_gets_a_hint() -> None:
    assert "Did you mean 'veo3.1-fast-official'?" in VeoRequest(prompt="x", model="veo3.1-fast-oficial").notes()[0]


@pytest.mark.parametrize("field", ["aspect_ratio", "resolution", "person_generation"])
def test_even_unknown_models_get_valid_text(field: str) -> None:
    assert "must be valid Unicode" in refusal(model="veo4", **{field: "\ud800"})
    assert "text is needed" in refusal(model="veo4", **{field: 5} if field == "resolution" else {"resolution": 5})


@pytest.mark.parametrize("model", MODELS)
def test_known_models_get_no_note(model: str) -> None:
    assert VeoRequest(prompt="x", model=model).notes() == []


@pytest.mark.parametrize("resolution", ["1080p", "4K"])
@pytest.mark.parametrize("duration", [4, 6])
def test_a_note_on_what_google_may_refuse(resolution: str, duration: int) -> None:
    notes = VeoRequest(prompt="x", resolution=resolution, duration=duration).notes()
    assert len(notes) == 1
    assert f"resolution='{resolution}' with duration={duration}" in notes[0]


def test_a_note_on_samples() -> None:
    assert "sample_count=2" in VeoRequest(prompt="x", sample_count=2).notes()[0]


# --- extra_body ---


def test_extra_body_is_sent_as_it_is() -> None:
    extra = {"new_field": {"deep": [1, 2.5, None, True, "한"]}, "webhook": "https://a.org"}
    assert body(extra_body=extra) == {**body(), **extra}


def test_extra_body_carries_new_values_of_old_fields() -> None:
    assert body(extra_body={"duration": 12, "resolution": "8K"})["duration"] == 12


@pytest.mark.parametrize("name", ["seed", "duration", "first_frame_image"])
def test_extra_body_does_not_override(name: str) -> None:
    value = {"seed": 1, "duration": 8, "first_frame_image": URL}[name]
    assert f"extra_body.{name}={value!r}: {name} is given as an argument already" in refusal(
        extra_body={name: value}, **{name: value}
    )


def test_extra_body_is_a_copy() -> None:
    extra = {"a": {"b": [1]}}
    request = VeoRequest.checked({"prompt": "x", "extra_body": extra})
    extra["a"]["b"].append(2)
    assert request.body()["a"] == {"b": [1]}


# --- local images ---


@pytest.mark.parametrize(
    "path", ["cat.png", "/data/cat.png", "C:\\cat.png", "s3://bucket/cat [1].png", "file:///c.png", "http"]
)
def test_paths_are_uploaded_first(path: str) -> None:
    request = VeoRequest.checked({"prompt": "x", "first_frame_image": path, "last_frame_image": URL})
    assert request.local_images == {"first_frame_image": path}
    assert (
        request.body({"first_frame_image": "https://up/1", "last_frame_image": URL})["first_frame_image"]
        == "https://up/1"
    )
    ext = VeoRequest.checked({"prompt": "x", "model": "veo3.1-fast", "first_frame_image": path})
    assert ext.body({"first_frame_image": "https://up/1"})["image_urls"] == ["https://up/1"]


@pytest.mark.parametrize("url", ["http://a", "HTTPS://a/b", "asset://x"])
def test_addresses_are_not_uploaded(url: str) -> None:
    assert is_remote_image(url)
    assert VeoRequest.checked({"prompt": "x", "first_frame_image": url}).local_images == {}


def test_seconds() -> None:
    assert VeoRequest(prompt="x").seconds == 8
    assert VeoRequest(prompt="x", duration=4).seconds == 4
