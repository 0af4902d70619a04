"""APIMart's schema of a model: what it refuses, what it must not refuse, and how long it is kept."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.catalogue.schemas import (
    LIFE_SECONDS,
    MAX_KEPT,
    RETRY_SECONDS,
    Schemas,
    broken_rules,
    schema_problems,
)

BODY = {"prompt": "a cat", "model": "veo4", "duration": 4, "resolution": "4k", "image_urls": ["https://a.b/c.png"]}


def one(rule: dict[str, Any], **more: Any) -> list[str] | None:
    found = broken_rules({"type": "object", "properties": {"duration": rule}, **more}, BODY)
    return found and [f"{name}={value!r}: {allowed}" for name, value, allowed in found]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"enum": [5, 6]}, "duration=4: allowed: 5, 6"),
        ({"const": 8}, "duration=4: allowed: only 8"),
        ({"type": "string"}, "duration=4: allowed: of type string"),
        ({"type": ["string", "null"]}, "duration=4: allowed: of type string or null"),
        ({"minimum": 5}, "duration=4: allowed: 5 or more"),
        ({"maximum": 3}, "duration=4: allowed: 3 or less"),
        ({"exclusiveMinimum": 4}, "duration=4: allowed: more than 4"),
        ({"exclusiveMaximum": 4}, "duration=4: allowed: less than 4"),
        ({"multipleOf": 3}, "duration=4: allowed: a multiple of 3"),
        ({"anyOf": [{"enum": [5]}, {"type": "string"}]}, "duration=4: breaks the rule 'anyOf'"),
    ],
)
def test_what_a_schema_refuses(rule: dict[str, Any], text: str) -> None:
    (found,) = one(rule) or []
    assert found.startswith(text)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    schema = {
        "properties": {"duration": {"enum": [8]}, "image_urls": {"maxItems": 0, "items": {"maxLength": 3}}},
        "required": ["prompt", "seed", "fps"],
    }
    found = broken_rules(schema, BODY)
    assert found is not None
    assert sorted(name for name, _, _ in found) == ["duration", "fps", "image_urls", "image_urls.0", "seed"]


@pytest.mark.parametrize(
    "rule",
    [
        {"enum": [4]},
        {"type": "integer"},
        {"type": "number"},
        {"pattern": "^x$"},
        {"format": "uri"},
        {"x-own": True, "unheard": {"of": 1}},
        {"description": "5 or 6", "default": 6, "examples": [6]},
    ],
)
def test_what_it_must_not_refuse(rule: dict[str, Any]) -> None:
    assert one(rule, additionalProperties=False, unevaluatedProperties=False, patternProperties={".": False}) == []


def test_case_does_not_matter_and_a_pattern_is_not_run() -> None:
    schema = {"properties": {"resolution": {"enum": ["720p", "4K"]}, "prompt": {"pattern": "(a+)+$"}}}
    assert broken_rules(schema, {**BODY, "prompt": "a" * 60 + "!"}) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": []},
        {"properties": {"duration": {"minimum": 1, "exclusiveMinimum": True}}},
        {"properties": {"duration": {"$ref": "http://127.0.0.1:9/other.json"}}},
        {"properties": {"duration": {"$ref": "#/$defs/absent"}}},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
    ],
)
def test_a_schema_that_cannot_be_read_refuses_nothing(schema: dict[str, Any]) -> None:
    assert broken_rules(schema, BODY) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{"required": ["prompt"]}, {"properties": {"fps": {}}, "additionalProperties": False}]},
        {"properties": {"prompt": {"oneOf": [{"pattern": "^a"}, {"pattern": "^asset:"}]}}},
        {"properties": {"prompt": {"not": {"pattern": "<script"}}}},
        {"if": {"properties": {"model": {"pattern": "^grok"}}}, "then": {"required": ["seed"]}},
        {"properties": {"resolution": {"not": {"enum": ["4K"]}}}},
        {"properties": {"resolution": {"const": "4K"}}},
    ],
)
def test_a_rule_that_is_ignored_makes_no_other_rule_stricter(schema: dict[str, Any]) -> None:
    assert broken_rules(schema, BODY) == []


def test_at_least_one_of_several_has_to_hold() -> None:
    assert one({"oneOf": [{"enum": [5]}, {"type": "string"}]})


def test_its_own_definitions_are_followed() -> None:
    assert one({"$ref": "#/$defs/seconds"}, **{"$defs": {"seconds": {"enum": [8]}}}) == ["duration=4: allowed: 8"]


# --- keeping them -------------------------------------------------------------------------------------------------


class Server(httpx.BaseTransport):
    """Gives each model a schema, unless it is told to fail."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.asked: list[str] = []
        self.fails = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.fails:
            return httpx.Response(503, json={"error": {"message": "later"}})
        return httpx.Response(200, json={"input_schema": self.schema})


@pytest.fixture
def server() -> Server:
    return Server({"properties": {"duration": {"enum": [8]}}})


@pytest.fixture
def client(server: Server) -> Any:
    with ApimartClient(Settings("sk", "http://127.0.0.1:9"), transport=server) as client:
        yield client


def wrong(client: ApimartClient, schemas: Schemas, model: str = "veo4", **values: Any) -> list[str]:
    request = VeoRequest.checked({"prompt": "x", "model": model, "duration": 4, **values})
    return [str(problem) for problem in schema_problems(client, request, schemas)]


def test_a_schema_is_kept_for_its_life_and_no_longer(client: ApimartClient, server: Server) -> None:
    now = [0.0]
    schemas = Schemas(lambda: now[0])
    for _ in range(3):
        assert wrong(client, schemas) == ["duration=4: allowed: 8 (APIMart's schema of model 'veo4')"]
    assert len(server.asked) == 1
    now[0] += LIFE_SECONDS
    wrong(client, schemas)
    assert len(server.asked) == 2


def test_a_schema_that_cannot_be_had_is_asked_for_again_after_a_while(
    client: ApimartClient, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    schemas, server.fails = Schemas(lambda: now[0]), True
    assert wrong(client, schemas) == wrong(client, schemas) == []
    assert len(server.asked) == 1 and caplog.text.count("could not be had") == 1
    server.fails, now[0] = False, RETRY_SECONDS
    assert wrong(client, schemas)


def test_only_so_many_are_kept(client: ApimartClient, server: Server) -> None:
    schemas = Schemas()
    for number in range(MAX_KEPT + 5):
        wrong(client, schemas, f"model{number}")
    wrong(client, schemas, f"model{MAX_KEPT + 4}")
    assert len(server.asked) == MAX_KEPT + 5
    wrong(client, schemas, "model0")
    assert len(server.asked) == MAX_KEPT + 6


def test_one_that_cannot_be_read_is_told_once(
    client: ApimartClient, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    schemas, server.schema = Schemas(), {"type": "nonsense"}
    assert wrong(client, schemas) == wrong(client, schemas) == []
    assert len(server.asked) == 1 and caplog.text.count("cannot be read") == 1


def test_the_table_comes_first(client: ApimartClient, server: Server) -> None:
    assert wrong(client, Schemas(), "veo3.1-fast-official") == [] and server.asked == []


def test_a_frame_that_has_yet_to_be_uploaded_counts_as_a_url(client: ApimartClient, server: Server) -> None:
    server.schema = {"properties": {"first_frame_image": {"type": "string", "maxLength": 60}}}
    assert wrong(client, Schemas(), first_frame_image="/data/" + "x" * 80 + ".png") == []
