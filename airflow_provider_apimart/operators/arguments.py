"""Checking an operator's arguments where they are written: literals when the DAG is parsed, templates when rendered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_apimart._compat import AirflowFailException, ObjectStoragePath
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.places import is_absolute


class InvalidVeoArgument(AirflowFailException, ValueError):
    """An argument that can never work. Fails the DAG's import, or the task without a retry; nothing was submitted."""


def is_template(value: Any) -> bool:
    """Say whether a value is not known before the task runs: Jinja text, or another task's output."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value or "{#" in value
    if isinstance(value, (os.PathLike, ObjectStoragePath)):
        # It has a method "resolve", too. Airflow renders the path of its own kind.
        return isinstance(value, ObjectStoragePath) and is_template(str(value))
    if isinstance(value, Mapping):
        return any(is_template(item) for item in value.values())
    if isinstance(value, (list, tuple, set)):
        return any(is_template(item) for item in value)
    if type(value).__name__ == "SetDuringExecution":
        # A decorated function's result.
        return True
    # XComArg and every other late value of Airflow's.
    return hasattr(value, "iter_references") or hasattr(value, "resolve")


def refuse(owner: str, problems: list[FieldProblem]) -> None:
    """Raise :class:`InvalidVeoArgument` if there are problems."""
    if problems:
        raise InvalidVeoArgument(f"{owner}: {'; '.join(str(problem) for problem in problems)}. Nothing was submitted.")


def request_problems(values: Mapping[str, Any]) -> list[FieldProblem]:
    """Return what is wrong with the request's arguments as far as they are literals."""
    return VeoRequest.problems(values, unknown={name for name, value in values.items() if is_template(value)})


def seconds_of(name: str, value: Any, *, least: float) -> tuple[float | None, list[FieldProblem]]:
    """Return a duration (``timedelta`` or seconds) as seconds, and what is wrong with it."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and least <= seconds < float("inf"):
        return float(seconds), []
    return None, [FieldProblem(name, value, f"allowed: a timedelta or a number of seconds, {least:g} or more")]


def choice_problems(name: str, value: Any, choices: tuple[Any, ...]) -> list[FieldProblem]:
    """Return what is wrong with a value that has to be one of ``choices``."""
    # 1 == True in Python, but nobody means it here.
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return []
    return [FieldProblem(name, value, f"allowed: {' or '.join(repr(choice) for choice in choices)}")]


def money_of(name: str, value: Any) -> tuple[Decimal | None, list[FieldProblem]]:
    """Return an amount in USD, and what is wrong with it. Text from a template is taken where it is a number."""
    if value is None:
        return None, []
    try:
        amount = Decimal(str(value)) if not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0:
        return None, [FieldProblem(name, value, "allowed: an amount in USD, 0 or more")]
    return amount, []


def label_problems(value: Any) -> list[FieldProblem]:
    """Return what is wrong with labels."""
    if value is None or is_template(value) or (isinstance(value, Mapping) and all(isinstance(k, str) for k in value)):
        return []
    return [FieldProblem("labels", value, "allowed: a dict with text keys, or None")]


def truth_of(value: Any) -> bool | None:
    """Return a truth value, also from a template's text; ``None`` for anything else."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def output_problems(value: Any, name: str = "output_path") -> list[FieldProblem]:
    """Return what can be said against an output path without looking at the storage."""
    if value is None:
        return []
    text = str(value) if isinstance(value, (os.PathLike, ObjectStoragePath)) else value
    allowed = "allowed: a path such as /data/clip.mp4 or s3://conn@bucket/folder/, or None"
    if isinstance(text, str) and text.strip() and not any(ord(c) < 32 for c in text):
        if isinstance(value, os.PathLike) and is_template(text):
            return [
                FieldProblem(name, text, f"{allowed}; Airflow does not render a {type(value).__name__}: write text")
            ]
        if is_absolute(text):
            return []
        # It would mean another folder in every process, and nothing to whoever reads the XCom.
        allowed += "; a local path has to be absolute"
    return [FieldProblem(name, text, allowed)]


def connection_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with a connection's id, without looking for the connection."""
    if isinstance(value, str) and value.strip():
        return []
    return [FieldProblem(name, value, "allowed: the id of an Airflow connection, as text")]
