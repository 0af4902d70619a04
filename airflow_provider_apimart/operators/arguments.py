"""Checks an operator's arguments as early as possible: literals when the DAG is parsed, templates when rendered."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart._compat import AirflowException, AirflowFailException, ObjectStoragePath
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.model_rules import MIB
from airflow_provider_apimart.generation.tables.cells import label
from airflow_provider_apimart.storage.naming import is_absolute

if TYPE_CHECKING:
    from airflow_provider_apimart.client.request import VeoRequest

#: Labels are part of the sidecar, which is read back to find out whose video it is. So it must not grow without bound.
MAX_LABEL_BYTES = 4 * MIB

#: How long one generation may take from its submission.
DEFAULT_TIMEOUT = timedelta(minutes=30)
#: How long Airflow's own timeout waits beyond the deadline. The trigger reports the deadline itself, so this is only
#: for a triggerer that reports nothing at all.
TRIGGERER_GRACE = timedelta(minutes=15)


class InvalidVeoArgument(AirflowFailException, ValueError):
    """An argument that can never work. Fails the DAG's import, or the task without a retry; nothing was submitted."""


#: The strings that start Jinja markup, unless the DAG sets others (``jinja_environment_kwargs``).
MARKS = {"variable_start_string": "{{", "block_start_string": "{%", "comment_start_string": "{#"}


def marks_of(task: Any) -> tuple[str, ...]:
    """Return the strings that start Jinja markup in a task's DAG."""
    return marks_in(task.get_dag())


def marks_in(dag: Any) -> tuple[str, ...]:
    """Return the strings that start Jinja markup in a DAG."""
    own = (dag and dag.jinja_environment_kwargs) or {}
    return tuple(own.get(name, mark) for name, mark in MARKS.items())


def is_template(value: Any, marks: Collection[str] = tuple(MARKS.values())) -> bool:
    """Return whether a value is unknown until the task runs: Jinja text, or another task's output."""
    if isinstance(value, str):
        return any(mark in value for mark in marks)
    if isinstance(value, (os.PathLike, ObjectStoragePath)):
        # Paths have a "resolve" method, too, as another task's output has. Airflow renders only its own path class.
        return isinstance(value, ObjectStoragePath) and is_template(str(value), marks)
    if isinstance(value, Mapping):
        return any(is_template(item, marks) for item in value.values())
    if isinstance(value, (list, tuple, set)):
        return any(is_template(item, marks) for item in value)
    if type(value).__name__ == "SetDuringExecution":
        # A decorated function's result.
        return True
    # XComArg, DagParam, a mapped task group's argument; and callables, which Airflow 3.3 and later calls to render an
    # argument.
    return hasattr(value, "iter_references") or callable(value)


def owner_of(task: Any) -> str:
    """Return what errors call a task: its operator and its id."""
    return f"{type(task).__name__} {task.task_id!r}"


def refuse(owner: str, problems: list[FieldProblem]) -> None:
    """Raise :class:`InvalidVeoArgument` if there are problems."""
    if problems:
        raise InvalidVeoArgument(f"{owner}: {'; '.join(str(problem) for problem in problems)}. Nothing was submitted.")


class UnusableArgument(AirflowException, ValueError):
    """An argument that was valid when the task began and cannot be used now. The paid generation stays known."""


def refuse_for_now(owner: str, problems: list[FieldProblem]) -> None:
    """Raise :class:`UnusableArgument` if there are problems: the next try renders the arguments again."""
    if problems:
        raise UnusableArgument(
            f"{owner}: {'; '.join(str(problem) for problem in problems)}. This is what the template renders to now. "
            "The generation is paid for and stays known: the next try, or a clear, goes on without paying again."
        )


def request_problems(task: Any, request: type[VeoRequest], values: Mapping[str, Any]) -> list[FieldProblem]:
    """Return what is wrong with those of the request's arguments that are literals."""
    marks = marks_of(task)
    return request.problems(values, unknown={name for name, value in values.items() if is_template(value, marks)})


# --- when to check ---------------------------------------------------------------------------------------------------

Check = Callable[..., list[FieldProblem]]


def unless_late(task: Any) -> Callable[..., list[FieldProblem]]:
    """Return the check to use while the DAG is parsed: it skips values that are unknown until the task runs."""
    marks = marks_of(task)

    def check_literal(check: Check, name: str, value: Any, *more: Any) -> list[FieldProblem]:
        return [] if is_template(value, marks) else check(name, value, *more)

    return check_literal


def always(check: Check, name: str, value: Any, *more: Any) -> list[FieldProblem]:
    """Check a rendered value, before anything is paid for."""
    return check(name, value, *more)


def fixed_problems(name: str, value: Any, choices: tuple[Any, ...]) -> list[FieldProblem]:
    """Return what is wrong with a value that must be known while the DAG is parsed."""
    if is_template(value):
        return [FieldProblem(name, value, f"is not templated; allowed: {_one_of(choices)}")]
    return choice_problems(name, value, choices)


# --- values; a template renders to text, and blank text means "not set" -----------------------------------------------


def is_unset(value: Any) -> bool:
    """Return whether an optional argument is not given: ``None``, or a template that rendered to blank text."""
    return value is None or (isinstance(value, str) and not value.strip())


def number_of(value: Any) -> float | None:
    """Return a number, also from a template's text; ``None`` for anything else, NaN and infinity included."""
    if isinstance(value, str):
        try:
            value = float(value) if value.strip().isascii() and "_" not in value else None
        except ValueError:
            return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def seconds_of(value: Any) -> float | None:
    """Return a duration (``timedelta``, or seconds, or a template's text of them) as seconds, ``None`` if not set."""
    return number_of(value.total_seconds() if isinstance(value, timedelta) else value)


def seconds_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with a duration."""
    seconds = seconds_of(value)
    if is_unset(value) or (seconds is not None and seconds >= 1):
        return []
    return [FieldProblem(name, value, "allowed: a timedelta or a number of seconds, 1 or more")]


def range_problems(name: str, value: Any, least: float, most: float, allowed: str) -> list[FieldProblem]:
    """Return what is wrong with a number that must lie between ``least`` and ``most``."""
    number = number_of(value)
    if number is not None and least <= number <= most:
        return []
    return [FieldProblem(name, value, f"allowed: {allowed}")]


def count_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with a whole number of things, 1 or more."""
    number = number_of(value)
    if number is not None and number >= 1 and number == int(number) and not isinstance(value, float):
        return []
    return [FieldProblem(name, value, "allowed: a whole number, 1 or more")]


def choice_problems(name: str, value: Any, choices: tuple[Any, ...]) -> list[FieldProblem]:
    """Return what is wrong with a value that must be one of ``choices``."""
    # 1 == True in Python. Here they are different values.
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return []
    return [FieldProblem(name, value, f"allowed: {_one_of(choices)}")]


def money_of(value: Any) -> Decimal | None:
    """Return an amount in USD, also from a template's text; ``None`` for anything else."""
    try:
        amount = None if value is None or isinstance(value, bool) else Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount if amount is not None and amount.is_finite() and amount >= 0 else None


def money_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with an optional amount in USD."""
    if is_unset(value) or money_of(value) is not None:
        return []
    return [FieldProblem(name, value, "allowed: an amount in USD, 0 or more")]


def object_of(value: Any) -> Any:
    """Return an object, also from the JSON text that a template rendered to; ``None`` if not set.

    :raises ValueError: for text that is not JSON.
    """
    if is_unset(value):
        return None
    return json.loads(value) if isinstance(value, str) else value


def from_json_text(value: Any) -> Any:
    """Return the object or list that a template rendered to (``{{ … | tojson }}``); anything else unchanged.

    :raises ValueError: for text that begins like one and is not JSON.
    :raises RecursionError: for one that is too deep.
    """
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        return json.loads(value)
    return value


def mapping_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with an optional dict."""
    allowed = "allowed: a dict with text keys (or its JSON text: {{ … | tojson }}), or None"
    try:
        found = object_of(value)
    except (ValueError, RecursionError):
        return [FieldProblem(name, value, allowed)]
    if found is None or (isinstance(found, Mapping) and all(isinstance(key, str) for key in found)):
        return []
    return [FieldProblem(name, value, allowed)]


def label_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with labels: they must convert to plain JSON before anything is paid for."""
    if problems := mapping_problems(name, value):
        return problems
    try:
        size = len(json.dumps(label(object_of(value)), ensure_ascii=False).encode())
    except RecursionError:
        return [FieldProblem(name, "...", "allowed: a dict of plain values; this one is nested too deeply")]
    except Exception as error:
        # An object's own __str__ can raise anything, and Python refuses to write a number with too many digits.
        return [FieldProblem(name, "...", f"allowed: a dict of plain values; one cannot be written: {error}")]
    if size > MAX_LABEL_BYTES:
        return [FieldProblem(name, f"{size:,} bytes", f"allowed: up to {MAX_LABEL_BYTES // MIB} MiB of JSON")]
    return []


def truth_of(value: Any) -> bool | None:
    """Return a truth value, also from a template's text; ``None`` for anything else."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def truth_problems(name: str, value: Any, more: str = "") -> list[FieldProblem]:
    """Return what is wrong with a truth value; ``more`` names further allowed values."""
    if is_unset(value) or truth_of(value) is not None:
        return []
    return [FieldProblem(name, value, f"allowed: True or False{more}")]


def output_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with an output path, without looking at the storage."""
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
        # A relative path means a different folder in each process, and nothing to a reader of the XCom.
        allowed += "; a local path has to be absolute"
    return [FieldProblem(name, text, allowed)]


def connection_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with a connection's id, without looking the connection up."""
    if isinstance(value, str) and value.strip():
        return []
    return [FieldProblem(name, value, "allowed: the id of an Airflow connection, as text")]


def _one_of(choices: tuple[Any, ...]) -> str:
    return " or ".join(repr(choice) for choice in choices)
