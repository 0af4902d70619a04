"""Fills a row's values into texts that a DAG's author wrote: ``"{labels[name]}, made with {request[model]}"``.

The smallest template that does the job. It knows names and keys, and nothing else: no attributes, no calls, no formats,
no conditions. What is filled in is not looked at again, so a row's text is never a template.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"(?P<name>[a-z_]+)(?P<keys>(\[[^\[\]]+\])*)")
_KEY = re.compile(r"\[([^\[\]]+)\]")


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """Return ``template`` with the values of one row. Texts inside lists and dicts are filled in as well.

    A text that is nothing but one place gives the value itself, with its type; elsewhere ``None`` is empty text.

    :raises ValueError: names the place, and what is there instead.
    """
    if isinstance(template, str):
        return _text(template, values)
    if isinstance(template, Mapping):
        return {key: filled(item, values) for key, item in template.items()}
    if isinstance(template, (list, tuple)):
        return [filled(item, values) for item in template]
    return template


def _text(template: str, values: Mapping[str, Any]) -> Any:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{error}; a brace that is text is written twice") from None
    if len(parts) == 1 and not parts[0][0] and parts[0][1] is not None:
        return _value(parts[0], values)
    found = []
    for part in parts:
        value = None if part[1] is None else _value(part, values)
        found.append(part[0] + ("" if value is None else str(value)))
    return "".join(found)


def _value(part: tuple[str, str | None, str | None, str | None], values: Mapping[str, Any]) -> Any:
    _, field, spec, conversion = part
    name = _NAME.fullmatch(field or "")
    if name is None or spec or conversion:
        raise ValueError(
            f"{{{field}}}: allowed: a name and keys, as in {{labels[name]}}; a brace that is text is written twice"
        )
    value: Any = values
    place = ""
    for key in (name["name"], *_KEY.findall(name["keys"])):
        value = _within(value, key, place)
        place = f"{place}[{key}]" if place else key
    return value


def _within(value: Any, key: str, place: str) -> Any:
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, (list, tuple)) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    where = place or "a row"
    if isinstance(value, Mapping):
        raise ValueError(f"{where} has no {key!r}; it has {', '.join(map(str, value)) or 'nothing'}")
    if isinstance(value, (list, tuple)):
        raise ValueError(f"{where} has no {key!r}; it has {len(value)} items")
    raise ValueError(f"{where} is no dict and no list, so it has no {key!r}")
