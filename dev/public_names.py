"""Which names of the package are public: the docs must explain them, and a release must keep them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

PACKAGE = "airflow_provider_apimart"
#: Public beside what the provider's metadata lists.
MORE_MODULES = ("client.errors", "decorators.veo", "links.publish", "links.veo", "retry_policy")


def public_modules(info: Mapping[str, Any]) -> list[str]:
    """Return the modules whose names are promises to users."""
    listed = [
        module
        for kind in ("hooks", "operators", "sensors", "triggers")
        for group in info[kind]
        for module in group["python-modules"]
    ]
    return [*listed, *(f"{PACKAGE}.{name}" for name in MORE_MODULES)]


def public_names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the public classes and functions of a module: what it lists, or else what it defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is None and "__dir__" in vars(module):
        # A room that loads each of its names when it is asked for.
        listed = dir(module)
    for name in vars(module) if listed is None else listed:
        value = getattr(module, name)
        if name.startswith("_") or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if listed is not None or value.__module__ == module.__name__:
            yield name, value
