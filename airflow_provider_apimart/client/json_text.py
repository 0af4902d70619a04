"""Values as JSON text, and the error that a request's validators raise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from airflow_provider_apimart.client.null_words import is_null_word


def not_allowed(allowed: str) -> PydanticCustomError:
    """Return the error of a value, to be raised in a validator.

    :param allowed: what is allowed.
    """
    # The braces of a message template must not come from a value.
    return PydanticCustomError("not_allowed", "{allowed}", {"allowed": allowed})


def valid_text(value: str) -> str:
    """Return text that is valid Unicode as it is.

    :raises PydanticCustomError: for any other.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise not_allowed("must be valid Unicode (it has a lone surrogate)") from None
    return value


def json_text(value: Any) -> str:
    """Return a structured prompt as JSON text, byte-identical whatever order a store returns its keys in.

    :raises PydanticCustomError: if it is empty, or has no form in JSON.
    """
    allowed = "allowed: text, or a dict or list of JSON values"
    if all(leaf is None or (isinstance(leaf, str) and is_null_word(leaf)) for leaf in _leaves(value)):
        raise not_allowed("must not be empty")
    if not has_text_keys(value):
        raise not_allowed(f"{allowed} with text keys")
    try:
        return valid_text(json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, PydanticCustomError):
            raise
        raise not_allowed(f"{allowed} ({error})") from None


def has_text_keys(value: Any) -> bool:
    """Return whether all dicts in ``value`` have only text keys; JSON has no others."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and has_text_keys(item) for key, item in value.items())
    return not isinstance(value, (list, tuple)) or all(has_text_keys(item) for item in value)


def _leaves(value: Any) -> Iterator[Any]:
    items = value.values() if isinstance(value, Mapping) else value
    for item in items:
        if isinstance(item, (Mapping, list, tuple)):
            yield from _leaves(item)
        else:
            yield item
