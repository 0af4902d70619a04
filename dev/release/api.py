"""What users and stored data rely on, as one JSON value: the snapshot of a release.

It holds the public names with their parameters, what triggers store, the fields of records, the versions of stored
formats, the connections' fields, the options and the commands. ``breaks.py`` compares two of them.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import airflow_provider_apimart
from dev.public_names import PACKAGE, public_modules, public_names

#: The snapshot of the last release.
FILE = Path(__file__).with_name("api.json")
#: Classes and enumerations whose fields or values lie in task state stores, beside videos, or in Airflow's database.
#: The names are lasting: a class may move to another module, which what is stored does not notice.
STORED_CLASSES = {
    "record": "generation.purchase.record.Record",
    "record's state": "generation.purchase.record.RecordState",
    "record's landed video": "generation.purchase.record.LandedVideo",
    "record's previous generation": "generation.purchase.record.Previous",
    "outcome of a row": "generation.batch.states.Outcome",
    "outcome of a media row": "operators.media.batch_row.MediaOutcome",
    "post": "publishing.record.PostRecord",
    "post's state": "publishing.record.PostState",
    "post's previous attempt": "publishing.record.PreviousPost",
    "person's verdict": "publishing.decision.Verdict",
}
#: The versions that are written into what is stored, or into the fingerprint that names an output.
STORED_VERSIONS = {
    "approval's standing": "operators.approval.values.STANDING_VERSION",
    "event of a batch": "triggers.batch.EVENT_VERSION",
    "event of a generation": "triggers.veo.EVENT_VERSION",
    "event of a post": "triggers.publish.EVENT_VERSION",
    "index of the gallery": "ui.index.tables.VERSION",
    "join's fingerprint": "operators.media.join.VERSION",
    "measurement": "media.checking.MEASURE_VERSION",
    "media sidecar": "media.sidecar.VERSION",
    "note beside a video": "hooks.reports.notes.VERSION",
    "plan of a batch": "generation.batch.plan.VERSION",
    "post": "hooks.posts.SCHEMA",
    "provenance's fingerprint": "operators.media.provenance.WORK_VERSION",
    "rendition's fingerprint": "media.renditions.order.VERSION",
    "sidecar": "generation.landing.sidecars.SCHEMA",
}
#: Where one of our classes is defined, in the text of a type.
_OURS = re.compile(rf"\b{PACKAGE}\.(?:\w+\.)*(?=\w)")
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
    inspect.Parameter.VAR_POSITIONAL: "any positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "any keyword",
}


def default_text(value: object) -> str:
    """Return a default as text that is the same on every machine and in every process."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, (str, int, float, bool, bytes, type(None), timedelta)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}({', '.join(map(default_text, value))})"
    return f"<{type(value).__name__}>"


def parameters_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return a function's parameters in their order: ``{"prompt": "keyword", "model": "keyword = 'x'"}``."""
    found = {}
    for one in inspect.signature(function).parameters.values():
        if one.name == "self":
            continue
        default = "" if one.default is one.empty else f" = {default_text(one.default)}"
        found[one.name] = _KINDS[one.kind] + default
    return found


def _is_promised(base: type[Any]) -> bool:
    """Whether users may rely on this base: ours, a builtin one, or one of Airflow's public ones."""
    if base is object or base.__name__.startswith("_"):
        return False
    return base.__module__.startswith((f"{PACKAGE}.", "builtins")) or base.__name__.startswith(("Airflow", "Base"))


def described(value: Any) -> dict[str, Any]:
    """Return what can be relied on of a public class or function."""
    if not inspect.isclass(value):
        return {"parameters": parameters_of(value)}
    ours = [base for base in value.__mro__ if base.__module__.startswith(f"{PACKAGE}.")]
    found: dict[str, Any] = {
        # Names without modules: an error is caught by its base, wherever that is defined.
        "bases": [base.__name__ for base in value.__mro__[1:] if _is_promised(base)],
        "methods": {},
    }
    if "__init__" in {name for base in ours for name in vars(base)} or issubclass(value, BaseModel):
        found["parameters"] = parameters_of(value)
    for name in sorted({name for base in ours for name in vars(base) if not name.startswith("_")}):
        member = getattr(value, name)
        # What Airflow calls (``execute``, ``poke``, ``run``, ...) is Airflow's to promise; users call a hook's methods.
        theirs = any(name in vars(base) for base in value.__mro__ if base not in ours)
        if (inspect.isfunction(member) or inspect.ismethod(member)) and (not theirs or value.__name__.endswith("Hook")):
            found["methods"][name] = parameters_of(member)
    fields = getattr(value, "template_fields", None)
    if isinstance(fields, (tuple, list)):
        found["template_fields"] = sorted(fields)
    return found


def serialized(trigger: type[Any]) -> tuple[str, dict[str, Any]]:
    """Return what a trigger stores: its class path, the arguments that are always there, and those that can be.

    Each argument is given its own name as its value: a trigger stores what it is told, and does nothing else with it.

    :raises ValueError: if the stored path does not lead back to the trigger.
    """
    parameters = inspect.signature(trigger).parameters.values()
    path, always = trigger(**{one.name: one.name for one in parameters if one.default is one.empty}).serialize()
    _, ever = trigger(**{one.name: one.name for one in parameters}).serialize()
    module, _, name = path.rpartition(".")
    if getattr(importlib.import_module(module), name, None) is not trigger:
        raise ValueError(f"{trigger.__name__} stores the path {path}, which does not lead to it")
    return path, {"parameters": parameters_of(trigger), "always": sorted(always), "ever": sorted(ever)}


def fields_of(value: type[Any]) -> dict[str, str]:
    """Return the fields of a stored class with their types, or the values of a stored enumeration."""
    if issubclass(value, enum.Enum):
        return {str(one.value): "value" for one in value}
    return {
        name: ("needed " if field.is_required() else "") + _OURS.sub("", str(field.annotation))
        for name, field in value.model_fields.items()
    }


def _found(places: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield those that exist at their place; one that is gone is a difference, and not an error here."""
    for lasting, dotted in places.items():
        module, _, name = dotted.rpartition(".")
        try:
            yield lasting, getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
        except (ImportError, AttributeError):
            continue


def commands() -> dict[str, list[str]]:
    """Return the commands of ``airflow-provider-apimart`` and their options."""
    from airflow_provider_apimart import cli

    actions = [one for one in cli.parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return {
        name: sorted(text for one in command._actions for text in one.option_strings)
        for action in actions
        for name, command in action.choices.items()
    }


def snapshot(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the snapshot of the package that is imported.

    :param info: what ``get_provider_info()`` returns.
    """
    names, triggers = {}, {}
    for dotted in public_modules(info):
        try:
            module = importlib.import_module(dotted)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith(PACKAGE):
                raise
            continue  # an older version that had no such module
        for name, value in public_names(module):
            names[f"{dotted}.{name}"] = described(value)
            if name.endswith("Trigger"):
                path, stored = serialized(value)
                triggers[path] = stored
    return {
        "version": airflow_provider_apimart.__version__,
        "names": names,
        "triggers": triggers,
        "stored": {name: fields_of(value) for name, value in _found(STORED_CLASSES)},
        "versions": dict(_found(STORED_VERSIONS)),
        "connections": {one["connection-type"]: sorted(one["conn-fields"]) for one in info["connection-types"]},
        "options": {
            f"{section}.{name}": option["type"]
            for section, told in info.get("config", {}).items()
            for name, option in told["options"].items()
        },
        "commands": commands(),
    }


def write(file: Path = FILE) -> None:
    """Write the snapshot of this version; part of a release."""
    found = snapshot(airflow_provider_apimart.get_provider_info())
    file.write_text(json.dumps(found, indent=1) + "\n")
