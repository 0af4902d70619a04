"""Every parameter of APIMart's page: its values and its wrong values one by one, and the rules across fields."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import Charge, InvalidParameterError
from airflow_provider_apimart.client.protocol import encode_body
from airflow_provider_apimart.client.request import VeoRequest

OFFICIAL = ("veo3.1-fast-official", "veo3.1-quality-official")
URL = "https://example.com/cat.png"


def body(**values: Any) -> dict[str, Any]:
    return VeoRequest.checked({"prompt": "a dog", **values}).body()


def refusal(**values: Any) -> str:
    with pytest.raises(InvalidParameterError) as caught:
        VeoRequest.checked({"prompt": "a dog", **values})
    assert caught.value.charge is Charge.NO
    assert caught.value.terminal
    return str(caught.value)


# --- the five scenarios of the page ---


SCENARIOS = [
    """{
      "model": "veo3.1-fast-official",
      "prompt": "a golden retriever running on the beach, sunset, cinematic"
    }""",
    """{
      "model": "veo3.1-quality-official",
      "prompt": "a cinematic close-up of a ragdoll cat slowly walking through a sunlit living room",
      "negative_prompt": "blurry, low quality, watermark, text",
      "duration": 8,
      "aspect_ratio": "16:9",
      "resolution": "1080p",
      "seed": 12345,
      "generate_audio": true,
      "person_generation": "disallow",
      "enhance_prompt": true
    }""",
    """{
      "model": "veo3.1-fast-official",
      "prompt": "the cat slowly walks forward and looks around",
      "first_frame_image": "https://example.com/cat.png",
      "duration": 8,
      "resolution": "720p"
    }""",
    """{
      "model": "veo3.1-quality-official",
      "prompt": "smooth cinematic transition from the first frame to the last frame",
      "first_frame_image": "https://example.com/frame-start.png",
      "last_frame_image": "https://example.com/frame-end.png",
      "duration": 8,
      "resolution": "1080p"
    }""",
    """{
      "model": "veo3.1-quality-official",
      "prompt": "a busy coffee shop with people chatting and barista making latte art",
      "duration": 8,
      "generate_audio": true,
      "aspect_ratio": "16:9"
    }""",
]


@pytest.mark.parametrize("text", SCENARIOS, ids=range(1, 6))
def test_scenarios(text: str) -> None:
    wanted = json.loads(text)
    request = VeoRequest.checked(wanted)
    assert request.body() == wanted
    # == takes 8.0 and True for 8 and 1; the wire does not.
    assert encode_body(request.body()) == encode_body(wanted)
    assert request.notes() == []


def test_what_is_not_set_is_not_sent() -> None:
    assert body() == {"prompt": "a dog", "model": "veo3.1-fast-official"}
    unset = dict.fromkeys(set(VeoRequest.FIELDS) - {"prompt", "model"})
    assert body(**unset) == body()


def test_fields_are_those_of_the_model() -> None:
    assert set(VeoRequest.FIELDS) == set(VeoRequest.model_fields)


# --- each allowed value ---


@pytest.mark.parametrize("model", OFFICIAL)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("negative_prompt", "blurry"),
        *(("duration", value) for value in (4, 6, 8)),
        *(("aspect_ratio", value) for value in ("16:9", "9:16")),
        *(("resolution", value) for value in ("720p", "1080p", "4K")),
        *(("seed", value) for value in (0, 1, 4294967295)),
        *(("sample_count", value) for value in (1, 2, 3, 4)),
        *(("generate_audio", value) for value in (True, False)),
        *(("person_generation", value) for value in ("allow_adult", "disallow")),
        ("enhance_prompt", True),
        ("first_frame_image", URL),
        ("first_frame_image", "asset://abc"),
    ],
)
def test_allowed_values_are_sent_as_they_are(model: str, field: str, value: Any) -> None:
    sent = body(model=model, **{field: value})
    assert sent == {"prompt": "a dog", "model": model, field: value}
    assert type(sent[field]) is type(value)


@pytest.mark.parametrize("value", ["pad", "crop"])
@pytest.mark.parametrize("frame", ["first_frame_image"])
def test_resize_mode_with_a_frame(value: str, frame: str) -> None:
    assert body(resize_mode=value, **{frame: URL})["resize_mode"] == value


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("duration", "8", 8),
        ("duration", " 4\n", 4),
        ("seed", "4294967295", 4294967295),
        ("seed", "007", 7),
        ("sample_count", "2", 2),
        ("generate_audio", "true", True),
        ("generate_audio", "False", False),
        ("enhance_prompt", "True", True),
        ("resolution", "4k", "4K"),
        ("resolution", "720P", "720p"),
    ],
)
def test_text_of_templates(field: str, text: str, value: Any) -> None:
    sent = body(**{field: text})[field]
    assert (sent, type(sent)) == (value, type(value))


@pytest.mark.parametrize("text", ["", " ", "\n"])
@pytest.mark.parametrize("field", sorted(set(VeoRequest.FIELDS) - {"prompt", "model"}))
def test_a_template_that_renders_to_blank_text_leaves_a_parameter_unset(field: str, text: str) -> None:
    assert body(**{field: text}) == body()
    assert VeoRequest.model_validate({"prompt": "a dog", field: text}).body() == body()
    assert field not in body(**{field: text}, model="veo3.1-fast")


@pytest.mark.parametrize("prompt", [{"style": "네온 {{ x }}", "shots": [1, {"b": True, "a": None}]}, ["a", {"b": 1.5}]])
def test_a_structured_prompt_is_sent_as_json_text_the_same_in_whatever_order_it_comes(prompt: Any) -> None:
    sent = body(prompt=prompt)["prompt"]
    assert json.loads(sent) == prompt
    assert "네온" in sent or isinstance(prompt, list)
    turned = {key: prompt[key] for key in reversed(list(prompt))} if isinstance(prompt, dict) else prompt
    assert body(prompt=turned)["prompt"] == sent


def test_extra_body_as_json_text() -> None:
    assert body(extra_body='{"x": [1, "{{ y }}"]}')["x"] == [1, "{{ y }}"]


@pytest.mark.parametrize(
    "prompt", ["x" * 20_000, "🐕‍🦺👨‍👩‍👧 골든 리트리버", 'a\nb\t"c" {d} {{e}} %s', "مرحبا", "a\x00b"]
)
def test_prompts(prompt: str) -> None:
    sent = body(prompt=prompt, negative_prompt=prompt)
    assert sent["prompt"] == sent["negative_prompt"] == prompt
    assert json.loads(encode_body(sent)) == sent


# --- each wrong value ---


class Odd(enum.IntEnum):
    BEYOND = 4294967296


ODD_TYPES: list[Any] = [[], {}, [8], {"a": 1}, b"8", Ellipsis, 1 + 2j, float("nan"), float("inf"), 8.0, 8.5]
TEXTS: list[Any] = [5, True, "\ud800", *ODD_TYPES]
WHOLE = [
    "eight",
    "8.0",
    "8 s",
    "-1",
    "+8",
    "٨",
    "0x8",
    "1e1",
    "1_0",
    "9" * 13,
    True,
    False,
    -1,
    10**5000,
    *ODD_TYPES,
]

WRONG: list[tuple[str, Any, str]] = [
    *(("prompt", value, "text is needed") for value in (None, *TEXTS) if not isinstance(value, (dict, list, str))),
    *(("prompt", value, "must not be empty") for value in ("", " \n", {}, [], {"a": [None, {"b": "None"}]})),
    *(("model", value, "found nothing") for value in ("None", "null", "n/a")),
    *(("prompt", value, "found nothing") for value in ("None", "null", " NaN ", "N/A", "#N/A", "nil")),
    *(("prompt", value, "found nothing") for value in ("#REF!", "\ufffd", "\u200b", "\x1a")),
    *(("negative_prompt", value, "found nothing") for value in ("None", "null", "nan")),
    *(("prompt", value, "allowed: text, or a dict or list") for value in ({1: "a"}, ["a", {2}], [float("nan")])),
    *(("prompt", value, "must be valid Unicode") for value in ({"a": "\ud800"}, ["\ud800"])),
    ("prompt", "\ud800", "must be valid Unicode"),
    *(("model", value, "text is needed") for value in (None, *TEXTS) if value != "\ud800"),
    *(("model", value, "must not be empty") for value in ("", " ")),
    *(("model", f"{before}veo3.1-fast{after}", "no spaces") for before, after in (("", "\n"), (" ", ""), ("", "\x00"))),
    *(("negative_prompt", value, "text is needed") for value in TEXTS if value != "\ud800"),
    ("negative_prompt", "\ud800", "must be valid Unicode"),
    *(("duration", value, "allowed: 4, 6 or 8 (whole seconds)") for value in (0, 2, 5, 7, 9, 10, 60, "10", *WHOLE)),
    *(("aspect_ratio", value, "allowed: 16:9 or 9:16") for value in ("1:1", "16x9", "16:9 ", *TEXTS)),
    *(("resolution", value, "allowed: 720p, 1080p or 4K") for value in ("720", "1080", "2160p", "8K", *TEXTS)),
    *(("seed", value, "from 0 to 4294967295") for value in (4294967296, Odd.BEYOND, *WHOLE)),
    *(("sample_count", value, "from 1 to 4") for value in (0, 5, "0", *WHOLE)),
    *(("generate_audio", value, "allowed: True or False") for value in (0, 1, "yes", "1", "None", *ODD_TYPES)),
    *(("person_generation", value, "allowed: allow_adult or disallow") for value in ("dont_allow", *TEXTS)),
    *(("resize_mode", value, "allowed: pad or crop") for value in ("stretch", "PAD", *TEXTS)),
    *(("enhance_prompt", value, "leave it out") for value in (False, "false", 0, 1, "yes", *ODD_TYPES)),
    *(
        (field, value, "allowed: an http(s) URL, asset://…, or the path of an image")
        for field in ("first_frame_image", "last_frame_image")
        for value in ("http://", "https:", "https:/a", "http://[", "https://a b/c", "a\nb", "data:image/png,A")
    ),
    *(("first_frame_image", value, "allowed: an http(s) URL") for value in TEXTS if value != "\ud800"),
    ("first_frame_image", "/data/\ud800.png", "must be valid Unicode"),
    *(
        ("extra_body", value, "allowed: a dict with text keys and JSON values")
        for value in (
            "x", [], 5, True, {1: 2}, {"a": {1: 2, "b": 3}}, {"a": [{None: 1}]}, {"a": {1}}, {"a": b"x"},
            {"a": float("nan")}, {"a": "\ud800"}, {"\ud800": 1}, {"model": "x"}, {"prompt": "x"}, {"a": 10**5000},
            {"duration": "8"}, {"duration": 8.0}, {"duration": True}, {"duration": None},
        )
    ),
]  # fmt: skip


def short(value: Any) -> str:
    try:
        return repr(value)[:30]
    except ValueError:
        return "huge"


@pytest.mark.parametrize(("field", "value", "allowed"), WRONG, ids=[f"{row[0]}={short(row[1])}" for row in WRONG])
def test_wrong_values_name_field_value_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    frame = {"first_frame_image": URL} if field in ("resize_mode", "last_frame_image") else {}
    text = refusal(**{**frame, field: value})
    assert text.startswith(f"{field}=")
    assert allowed in text
    if (shown := short(value)) not in ("huge", "deep"):
        assert shown in text
    assert "\n" not in text


@pytest.mark.parametrize("value", [{}, {"prompt": None}])
def test_no_prompt(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=r"prompt=None: (is|text is) needed"):
        VeoRequest.checked(value)


def test_deep_nesting_is_a_wrong_value() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert "extra_body=" in refusal(extra_body={"a": deep})
    assert "seed=" in refusal(seed=deep)


def test_circles_are_a_wrong_value() -> None:
    circle: dict[str, Any] = {}
    circle["a"] = circle
    assert "extra_body=" in refusal(extra_body=circle)


@pytest.mark.parametrize("name", ["image_urls", "Prompt", "durations", "webhook"])
def test_unknown_parameters(name: str) -> None:
    assert refusal(**{name: 1}).startswith(f"{name}=1: no such parameter; allowed: prompt, model, ")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = refusal(duration=5, seed=-1, resolution="8K", resize_mode="pad", prompt=" ", nonsense=1)
    for part in ("duration=5", "seed=-1", "resolution='8K'", "resize_mode='pad'", "prompt=' '", "nonsense=1"):
        assert part in text


# --- across fields ---


def test_a_last_frame_needs_a_first() -> None:
    assert "needs first_frame_image" in refusal(last_frame_image=URL)
    assert body(first_frame_image=URL, last_frame_image=URL)["last_frame_image"] == URL


@pytest.mark.parametrize("value", ["pad", "crop"])
def test_resize_mode_needs_a_frame(value: str) -> None:
    assert "resize_mode='" + value + "': only with first_frame_image" in refusal(resize_mode=value)


def test_direct_construction_keeps_the_same_rules() -> None:
    with pytest.raises(ValueError, match="only with first_frame_image"):
        VeoRequest(prompt="x", resize_mode="pad")


# --- templates: fields without a value yet ---


def test_unknown_fields_are_skipped() -> None:
    values = dict.fromkeys(VeoRequest.FIELDS, "{{ x }}")
    assert VeoRequest.problems(values, unknown=set(VeoRequest.FIELDS)) == []


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        ({"prompt": "x", "last_frame_image": URL, "first_frame_image": "{{ x }}"}, {"first_frame_image"}),
        ({"prompt": "x", "resize_mode": "pad", "first_frame_image": "{{ x }}"}, {"first_frame_image"}),
        ({"prompt": "x", "model": "{{ m }}", "resolution": "4k", "duration": 10}, {"model"}),
        ({"prompt": "x", "model": "{{ m }}", "negative_prompt": "y", "seed": 1}, {"model"}),
        ({"prompt": "{{ p }}", "duration": 8}, {"prompt"}),
    ],
)
def test_rules_wait_for_their_fields(values: dict[str, Any], unknown: set[str]) -> None:
    assert VeoRequest.problems(values, unknown) == []


@pytest.mark.parametrize(
    ("values", "unknown", "field"),
    [
        ({"prompt": "{{ p }}", "duration": 5}, {"prompt"}, "duration"),
        ({"prompt": "x", "model": "{{ m }}", "duration": 0}, {"model"}, "duration"),
        ({"prompt": "x", "model": "{{ m }}", "seed": -1}, {"model"}, "seed"),
        ({"prompt": "x", "seed": "{{ s }}", "resize_mode": "pad"}, {"seed"}, "resize_mode"),
        ({"prompt": "x", "nonsense": "{{ s }}"}, {"nonsense"}, "nonsense"),
    ],
)
def test_literals_beside_templates_are_checked(values: dict[str, Any], unknown: set[str], field: str) -> None:
    assert [problem.field for problem in VeoRequest.problems(values, unknown)] == [field]
