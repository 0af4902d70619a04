"""Checks the arguments of one generation, when the DAG is parsed and again when they are rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_apimart.operators import arguments, budget, models

if TYPE_CHECKING:
    from airflow_provider_apimart.client.errors import FieldProblem
    from airflow_provider_apimart.client.request import VeoRequest


class VeoArguments(Protocol):
    """The operator's arguments besides the request. While the DAG is parsed any of them may be a template."""

    apimart_conn_id: Any
    budget: Any
    check: Any
    deferrable: Any
    fallback_model: Any
    labels: Any
    max_cost_usd: Any
    on_clear: Any
    on_mismatch: Any
    on_unknown_submit: Any
    output_path: Any
    poll_interval: Any
    rules: Any
    timeout: Any

    @property
    def request_type(self) -> type[VeoRequest]:
        """What is asked for."""
        ...

    def _request_values(self) -> dict[str, Any]:
        """Return the request's parameters, by name."""
        ...


def literal_problems(task: VeoArguments) -> list[FieldProblem]:
    """Return what is wrong with those arguments that are known while the DAG is parsed."""
    problems = arguments.request_problems(task, task.request_type, task._request_values())
    problems += models.literal_problems(task, task._request_values(), arguments.marks_of(task))
    problems += arguments.fixed_problems("deferrable", task.deferrable, (True, False))
    if task.check is not None:
        from airflow_provider_apimart.operators.checks import landing_problems

        problems += landing_problems(task)
    return problems + argument_problems(task, arguments.unless_late(task))


def late_problems(task: VeoArguments) -> list[FieldProblem]:
    """Return what is wrong with all rendered arguments, before anything is paid for."""
    problems = task.request_type.problems(task._request_values()) + models.late_problems(task, task._request_values())
    return problems + argument_problems(task, arguments.always)


def argument_problems(task: VeoArguments, check: arguments.Check) -> list[FieldProblem]:
    """Return what is wrong with the arguments besides the request."""
    problems = check(arguments.seconds_problems, "timeout", task.timeout)
    problems += check(arguments.seconds_problems, "poll_interval", task.poll_interval)
    problems += check(arguments.choice_problems, "on_clear", task.on_clear, ("reuse", "regenerate"))
    if not arguments.is_unset(task.on_unknown_submit):
        problems += check(arguments.choice_problems, "on_unknown_submit", task.on_unknown_submit, ("resend", "fail"))
    problems += check(arguments.choice_problems, "on_mismatch", task.on_mismatch, ("warn", "fail"))
    problems += check(arguments.choice_problems, "rules", task.rules, ("table", "schema"))
    problems += check(arguments.money_problems, "max_cost_usd", task.max_cost_usd)
    problems += budget.budget_problems("budget", task.budget)
    problems += budget.wait_problems("budget", task.budget, task.deferrable)
    problems += check(arguments.connection_problems, "apimart_conn_id", task.apimart_conn_id)
    problems += check(arguments.output_problems, "output_path", task.output_path)
    return problems + check(arguments.label_problems, "labels", task.labels)
