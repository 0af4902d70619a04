"""Reads the files of ``deploy/``: their values, where each stands, and which options and keys there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import airflow.config_templates
import yaml

from airflow_provider_apimart.configuration import OPTIONS, SECTION

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
VALUES = sorted((DEPLOY / "helm").glob("values-*.yaml"))

#: Options of providers that the tests' environment does not have, as their provider info tells them; by hand from
#: apache-airflow-providers-celery 3.26.0 and -cncf-kubernetes 10.25.0. Where one is installed, a test compares.
OF_PROVIDERS = {
    "airflow.providers.celery": {
        ("celery", "broker_url"): "string",
        ("celery", "result_backend"): "string",
        ("celery", "worker_concurrency"): "string",
        ("celery_broker_transport_options", "visibility_timeout"): "string",
    },
    "airflow.providers.cncf.kubernetes": {
        ("kubernetes_executor", "worker_pods_creation_batch_size"): "string",
        ("kubernetes_executor", "delete_worker_pods"): "string",
        ("kubernetes_executor", "delete_worker_pods_on_failure"): "string",
    },
}


@cache
def options() -> dict[tuple[str, str], str]:
    """Return the type of each option that Airflow, this provider, or a named provider has."""
    core = yaml.safe_load((Path(airflow.config_templates.__path__[0]) / "config.yml").read_text("utf-8"))
    ours = {SECTION: {"options": OPTIONS}}
    known = {
        (section, name): str(option["type"])
        for section, part in (core | ours).items()
        for name, option in part["options"].items()
    }
    for more in OF_PROVIDERS.values():
        known |= more
    return known


def fits(kind: str, value: object) -> bool:
    """Return whether Airflow can read the value as an option of this type."""
    text = str(value)
    if kind == "boolean":
        return text in ("True", "False")
    if kind == "integer":
        return text.isdigit()
    if kind == "float":
        return re.fullmatch(r"\d+(\.\d+)?", text) is not None
    return bool(text)


def leaves(node: yaml.Node, path: tuple[str, ...] = (), lines: tuple[int, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield ``(path, value, lines)`` of each value; the lines are those of its key and of all keys above it.

    Items of a list have the path of the list. What is merged in by ``<<`` is yielded where it is written.
    """
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value != "<<":
                yield from leaves(value, (*path, key.value), (*lines, key.start_mark.line))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from leaves(item, path, (*lines, item.start_mark.line))
    elif isinstance(node, yaml.ScalarNode):
        yield path, node.value, lines


def leaves_of(file: Path) -> list[tuple[Any, ...]]:
    """Return :func:`leaves` of a file."""
    return list(leaves(yaml.compose(file.read_text("utf-8"))))


def has_reason(lines: list[str], at: tuple[int, ...]) -> bool:
    """Return whether a comment stands on one of the lines or right above it; a heading (``# ---``) is none."""
    for line in at:
        if re.search(r" # \w", lines[line]):
            return True
        above = lines[line - 1].strip() if line else ""
        if above.startswith("# ") and not above.startswith("# ---"):
            return True
    return False


def extras() -> dict[str, Any]:
    """Return the extras of this package."""
    import tomllib

    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text("utf-8"))["project"]
    found: dict[str, Any] = project["optional-dependencies"]
    return found
