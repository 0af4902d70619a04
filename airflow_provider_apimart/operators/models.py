"""What an operator needs around its model: the checks before a payment, and the fallback model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_provider_apimart.client.fallback import fallback_problems, with_model
from airflow_provider_apimart.operators import arguments, budget

if TYPE_CHECKING:
    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.client.errors import FieldProblem, GenerationModelGoneError
    from airflow_provider_apimart.client.request import VeoRequest
    from airflow_provider_apimart.generation.purchase.fallback import Fallback

log = logging.getLogger(__name__)

#: ``"table"``: the provider's own table (:mod:`.client.model_rules`). ``"schema"``: for a model that the table does not
#: know, APIMart's schema.
ModelRulesFrom = Literal["table", "schema"]


class ModelArguments(Protocol):
    """An operator's arguments about its models."""

    fallback_model: Any
    max_cost_usd: Any
    rules: Any


def literal_problems(task: ModelArguments, values: Mapping[str, Any], marks: tuple[str, ...]) -> list[FieldProblem]:
    """Return what is wrong with a fallback model that is known while the DAG is parsed."""
    if arguments.is_unset(task.fallback_model) or arguments.is_template(task.fallback_model, marks):
        return []
    unknown = {name for name, value in values.items() if arguments.is_template(value, marks)}
    return fallback_problems(values, task.fallback_model, unknown)


def late_problems(task: ModelArguments, values: Mapping[str, Any]) -> list[FieldProblem]:
    """Return what is wrong with the rendered fallback model."""
    return [] if arguments.is_unset(task.fallback_model) else fallback_problems(values, task.fallback_model)


def approve(task: ModelArguments, owner: str, request: VeoRequest, client: ApimartClient) -> None:
    """Refuse a request before it is paid for: by APIMart's schema of its model, and by ``max_cost_usd``.

    :raises InvalidVeoArgument: if it is refused.
    """
    if task.rules == "schema":
        from airflow_provider_apimart.generation.catalogue.schemas import schema_problems

        arguments.refuse(owner, schema_problems(client, request))
    limit = arguments.money_of(task.max_cost_usd)
    if limit is not None:
        budget.approve(owner, request, limit, client)


def fallback_of(model: Any, request: VeoRequest, *, at_last: bool) -> Fallback | None:
    """Return the fallback of a request, its local frames read and checked by the fallback model's own rules.

    :param model: the operator's argument.
    """
    if arguments.is_unset(model):
        return None
    from airflow_provider_apimart.generation.purchase.fallback import Fallback, Wanted
    from airflow_provider_apimart.hooks.storage.paths import read_images

    other = with_model(request, model)
    for note in other.notes():
        log.warning("fallback_model: %s", note)
    return Fallback(Wanted(other, read_images(other)), at_last=at_last)


def is_last_try(context: Any) -> bool:
    """Return whether Airflow will not retry this try."""
    ti = context["ti"]
    number, most = getattr(ti, "try_number", None), getattr(ti, "max_tries", None)
    return isinstance(number, int) and isinstance(most, int) and number > most


def with_advice(error: GenerationModelGoneError, model: str, client: ApimartClient) -> GenerationModelGoneError:
    """Add to an error which models the account has, and how a DAG is switched."""
    if error.explained is None:
        from airflow_provider_apimart.generation.catalogue.gone import account_models, advice

        error.advice = advice(model, account_models(client))
        error.explained = f"{str(error).rstrip('.')}. {error.advice}."
    return error
