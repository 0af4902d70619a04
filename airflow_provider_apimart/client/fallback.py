"""The same request for another model (``fallback_model``), checked by that model's own rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.client.model_rules import ALIASES
from airflow_provider_apimart.client.request import VeoRequest


def is_another(model: str, other: str) -> bool:
    """Return whether two names stand for different models."""
    return ALIASES.get(model, model) != ALIASES.get(other, other)


def with_model(request: VeoRequest, model: str) -> VeoRequest:
    """Return ``request`` for another model.

    :raises InvalidParameterError: with everything that the other model does not take.
    """
    values = request.model_dump(exclude_none=True)
    found = fallback_problems(values, model)
    if found:
        raise InvalidParameterError(tuple(found))
    return VeoRequest.checked({**values, "model": model})


def fallback_problems(values: Mapping[str, Any], model: Any, unknown: Collection[str] = ()) -> list[FieldProblem]:
    """Return what is wrong with a fallback model, apart from what is wrong with the request in any case.

    :param values: the request's parameters, with its own model.
    :param unknown: fields that have no value yet (templates).
    """
    own = values.get("model")
    if "model" not in unknown and isinstance(own, str) and isinstance(model, str):
        if not is_another(own, model):
            return [FieldProblem("fallback_model", model, f"allowed: another model than model={own!r}, or None")]
    known = {str(problem) for problem in VeoRequest.problems(values, unknown)}
    # The fallback's name is known, even if the model's own is not.
    others = [name for name in unknown if name != "model"]
    found = VeoRequest.problems({**values, "model": model}, others)
    return [
        FieldProblem("fallback_model", model, problem.allowed)
        if problem.field == "model"
        else FieldProblem(problem.field, problem.value, f"{problem.allowed} (with fallback_model={model!r})")
        for problem in found
        if str(problem) not in known
    ]
