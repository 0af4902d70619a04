"""``rules="schema"``: checks a request for a model that the table does not know against APIMart's own schema of it.

Never stricter than APIMart. Only keywords of JSON Schema that say which values are allowed count; patterns, formats,
unlisted fields (``additionalProperties``) and unknown keywords are ignored, and text is compared without case. A schema
that cannot be fetched or read refuses nothing: the request is sent, with a warning.

The schema comes from outside, so it is data: no reference in it is fetched, and no pattern in it is run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, FieldProblem
from airflow_provider_apimart.client.request import VeoRequest

log = logging.getLogger(__name__)

#: How long a schema is used, and how many are kept.
LIFE_SECONDS = 3600.0
MAX_KEPT = 64
#: A schema that could not be had is asked for again after this time, not for each row of a table.
RETRY_SECONDS = 60.0
#: Stands for a frame that has yet to be uploaded.
UPLOADED = "https://upload.apimart.ai/f/image/frame.png"
#: The keywords that count. Structure, then values.
KEYWORDS = (
    *("$ref", "allOf", "anyOf", "oneOf", "properties", "items", "prefixItems"),
    *("required", "dependentRequired"),
    *("type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems"),
)


class Schemas:
    """The schemas that this process has fetched, by host and model."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, Mapping[str, Any] | None]] = OrderedDict()

    def get(self, client: ApimartClient, model: str) -> Mapping[str, Any] | None:
        """Return a model's schema, ``None`` if it cannot be had. Never raises."""
        key = (client.settings.base_url, model)
        with self._lock:
            until, schema = self._kept.get(key, (0.0, None))
            if key in self._kept and self._now() < until:
                self._kept.move_to_end(key)
                return schema
        schema = _fetched(client, model)
        with self._lock:
            self._kept[key] = (self._now() + (RETRY_SECONDS if schema is None else LIFE_SECONDS), schema)
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return schema

    def drop(self, client: ApimartClient, model: str) -> None:
        """Use a model's schema no more, until it is fetched again: it cannot be read."""
        with self._lock:
            self._kept[client.settings.base_url, model] = (self._now() + LIFE_SECONDS, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()


#: Of this process.
SCHEMAS = Schemas()


def schema_problems(client: ApimartClient, request: VeoRequest, schemas: Schemas = SCHEMAS) -> list[FieldProblem]:
    """Return where ``request`` breaks APIMart's schema of its model.

    Nothing is asked for a model that the table knows: its rules were checked already.
    """
    if request.rules is not None:
        return []
    schema = schemas.get(client, request.model)
    if schema is None:
        return []
    source = f"APIMart's schema of model {request.model!r}"
    body = request.body(dict.fromkeys(request.local_images, UPLOADED))
    found = broken_rules(schema, body)
    if found is None:
        log.warning("%s cannot be read: requests are sent without model-specific checks.", source)
        schemas.drop(client, request.model)
        return []
    extra = request.extra_body or {}
    return [
        FieldProblem(f"extra_body.{name}" if name.partition(".")[0] in extra else name, value, f"{allowed} ({source})")
        for name, value, allowed in found
    ]


def _fetched(client: ApimartClient, model: str) -> Mapping[str, Any] | None:
    try:
        # One try: the request can be sent without it.
        return client.send(protocol.model_schema(model), repeat=False)
    except ApimartError as error:
        log.warning(
            "APIMart's schema of model %r could not be had (%s): requests are sent without model-specific checks.",
            model,
            error,
        )
        return None


# --- the check ------------------------------------------------------------------------------------------------------


def broken_rules(schema: Mapping[str, Any], body: Mapping[str, Any]) -> list[tuple[str, Any, str]] | None:
    """Return (field, value, what is allowed) for each rule of ``schema`` that ``body`` breaks.

    ``None`` for a schema that cannot be read.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        return list(_broken(schema, body))
    except (SchemaError, Unresolvable, RecursionError, TypeError, ValueError, AttributeError):
        return None


def _broken(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    from referencing import Registry

    missing: set[str] = set()
    # A registry of its own: by default, references to other hosts would be fetched.
    for error in _validator()(schema, registry=Registry()).iter_errors(body):
        name = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "required" and not error.absolute_path:
            # One error for each field that is missing, but its own name is only in its text.
            fresh = [each for each in error.validator_value if each not in body and each not in missing]
            missing.update(fresh)
            yield from ((each, None, "is needed") for each in fresh)
            continue
        yield name or "request", error.instance if name else "...", _allowed(error)


def _allowed(error: Any) -> str:
    rule, value = error.validator, error.validator_value
    if rule == "enum":
        return f"allowed: {', '.join(str(each) for each in value)}"[:400]
    words = {
        "const": "only {}",
        "type": "of type {}",
        "minimum": "{} or more",
        "maximum": "{} or less",
        "exclusiveMinimum": "more than {}",
        "exclusiveMaximum": "less than {}",
        "minLength": "{} characters or more",
        "maxLength": "up to {} characters",
        "minItems": "{} items or more",
        "maxItems": "up to {} items",
        "multipleOf": "a multiple of {}",
    }
    if rule in words:
        shown = " or ".join(map(str, value)) if isinstance(value, list) else value
        return f"allowed: {words[rule].format(shown)}"
    return f"breaks the rule {rule!r}: {str(error.message)[:200]}"


@cache
def _validator() -> Any:
    """Return the class of a validator that knows :data:`KEYWORDS` and nothing else."""
    from jsonschema.validators import Draft202012Validator, create

    rules = {name: Draft202012Validator.VALIDATORS[name] for name in KEYWORDS}
    strict_enum = rules["enum"]

    def enum(validator: Any, enums: Any, instance: Any, schema: Any) -> Iterator[Any]:
        # No source says that APIMart minds the case of 4k.
        if isinstance(instance, str) and instance.casefold() in {
            each.casefold() for each in enums if isinstance(each, str)
        }:
            return
        yield from strict_enum(validator, enums, instance, schema) or ()

    rules["enum"] = enum

    def const(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not (isinstance(value, str) and isinstance(instance, str) and value.casefold() == instance.casefold()):
            yield from rules_const(validator, value, instance, schema) or ()

    rules_const, rules["const"] = rules["const"], const
    # A rule that is ignored counts as met, which "exactly one", "not" and "if" would turn against the request. So one
    # or more of "oneOf" may hold, and the other two do not count.
    rules["oneOf"] = rules["anyOf"]
    return create(
        meta_schema=Draft202012Validator.META_SCHEMA,
        validators=rules,
        type_checker=Draft202012Validator.TYPE_CHECKER,
        id_of=Draft202012Validator.ID_OF,
    )
