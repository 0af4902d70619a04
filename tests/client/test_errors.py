"""The tree: what each class says by its type, what survives a pickle, and that no key is shown."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import ApimartError, Charge, FieldProblem


def tree(root: type[ApimartError] = ApimartError) -> list[type[ApimartError]]:
    found = [root]
    for kind in root.__subclasses__():
        # Other packages may have children of their own.
        if kind.__module__ == errors.__name__:
            found += tree(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


def make(kind: type[ApimartError], text: str = "what happened") -> ApimartError:
    options: dict[str, Any] = {
        "status": 418,
        "code": "a code",
        "error_type": "a type",
        "request_id": "req_1",
        "retry_after_seconds": 2.5,
    }
    if issubclass(kind, errors.InvalidParameterError):
        error: ApimartError = kind((FieldProblem("seed", -1, text), FieldProblem("duration", 5, text)))
        for name, value in options.items():
            setattr(error, name, value)
        return error
    if issubclass(kind, errors.GenerationError):
        return kind(text, generation_id="task_1", **options)
    return kind(text, **options)


@pytest.mark.parametrize("kind", tree())
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("charge", [None, *Charge])
def test_round_trip(kind: type[ApimartError], again: Any, charge: Charge | None) -> None:
    error = make(kind)
    if charge:
        error.charge = charge
    found = again(error)
    assert type(found) is kind
    assert (str(found), found.args, found.__dict__) == (str(error), error.args, error.__dict__)
    assert (found.charge, found.terminal, found.message) == (error.charge, error.terminal, error.message)
    assert found.status == 418


@pytest.mark.parametrize("kind", tree())
def test_the_text_names_status_code_and_request(kind: type[ApimartError]) -> None:
    assert str(make(kind)).endswith("(HTTP 418, code a code, request req_1)")


@pytest.mark.parametrize("kind", tree())
def test_scrub(kind: type[ApimartError]) -> None:
    error = make(kind, "the key is sk-secret and sk-secret")
    for name in ("code", "error_type", "request_id"):
        setattr(error, name, "about sk-secret")
    error.scrub("sk-secret")
    assert "sk-secret" not in f"{error} {error!r} {error.args}"
    assert "***" in str(error)
    assert (error.code, error.error_type, error.request_id) == ("about ***", "about ***", "about ***")


def test_scrub_of_nothing_changes_nothing() -> None:
    error = make(errors.ServerError)
    error.scrub("")
    assert error.message == "what happened"


@pytest.mark.parametrize("kind", tree())
def test_every_class_says_what_it_is(kind: type[ApimartError]) -> None:
    assert kind.__doc__
    assert isinstance(kind.terminal, bool)
    assert kind.charge in Charge


def test_what_the_money_depends_on() -> None:
    # A class that moves from one list to the other changes what is paid: on purpose only.
    silent = {kind.__name__ for kind in tree() if kind.charge is Charge.UNKNOWN and not kind.terminal}
    assert silent == {
        "ApimartError",
        "ApiStatusError",
        "OutcomeUnknownError",
        "ApimartTimeoutError",
        "ResponseError",
        "MissingTaskIdError",
        "UpstreamError",
        "ServerError",
        "GenerationError",
    }
    stop = {kind.__name__ for kind in tree() if kind.charge is Charge.UNKNOWN and kind.terminal}
    assert stop == {"IdempotencyIndeterminateError", "EmptyResultError", "GenerationRefusedError"}
    passing = {kind.__name__ for kind in tree() if kind.charge is Charge.NO and not kind.terminal}
    assert passing == {
        "ApimartConnectionError",
        "RateLimitError",
        "ChannelUnavailableError",
        "NoChannelError",
        "TemporaryRefusalError",
        "IdempotencyUnavailableError",
        "IdempotencyInProgressError",
        "GenerationFailedError",
    }


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "duration=5: allowed: 8"),
        ("5", "duration='5': allowed: 8"),
        ("x" * 1000, f"duration='{'x' * 116}...: allowed: 8"),
        (10**5000, "duration=a int too large to show: allowed: 8"),
        (nested(), "duration=a list too large to show: allowed: 8"),
    ],
    ids=["number", "text", "long", "huge", "deep"],
)
def test_a_problem_names_field_value_and_what_is_allowed(value: Any, shown: str) -> None:
    assert str(FieldProblem("duration", value, "allowed: 8")) == shown


def test_all_problems_are_in_one_message() -> None:
    error = errors.InvalidParameterError((FieldProblem("a", 1, "no"), FieldProblem("b", 2, "no")))
    assert str(error) == "a=1: no; b=2: no"
    assert isinstance(error, ValueError)


def test_details() -> None:
    assert errors.details(make(errors.RateLimitError)) == {
        "type": "RateLimitError",
        "status": "418",
        "code": "a code",
        "request_id": "req_1",
        "charged": "no",
    }
    assert errors.details(errors.ServerError("x")) == {"type": "ServerError", "charged": "unknown"}
