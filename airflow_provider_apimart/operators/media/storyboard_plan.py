"""The first task of a storyboard: nothing is paid for before it has found all shots right and their cost allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart._compat import BaseOperator
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.catalogue.schemas import schema_problems
from airflow_provider_apimart.generation.pricing.balance import price_list
from airflow_provider_apimart.generation.pricing.prices import Estimate, PriceList
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.media.extra import require_media
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.budget import Budget, BudgetExhaustedError, check_together, when_exhausted
from airflow_provider_apimart.operators.media.shots import picture_problems, requests_of, shot_problems
from airflow_provider_apimart.operators.task import failures, identity_of
from airflow_provider_apimart.operators.templates import AuthorTemplates

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class StoryboardPlanOperator(AuthorTemplates, BaseOperator):
    """Check all shots of a storyboard and what they cost together. Pays for nothing; ``storyboard()`` makes this task.

    Returns (XCom) ``{"shots": [{"model", "cost_usd"}], "cost_usd", "source"}``: the cost of each shot and of all, and
    where the prices are from. A cost that is not published is null. With ``fallback_model``, the dearer model counts.

    :param shots: the parameters of each shot.
    :param max_cost_usd: what all shots together may cost.
    :param budget: what they are paid from. It has to have room for all of them.
    :param fallback_model: of all shots.
    :param rules: of all shots.
    :param apimart_conn_id: the connection.
    """

    template_fields: Sequence[str] = ("shots", "max_cost_usd", "fallback_model", "rules", "apimart_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"shots": "json"}
    needed_fields: ClassVar[Collection[str]] = ("shots", "apimart_conn_id")
    ui_color = "#e8e0ff"

    def __init__(
        self,
        *,
        shots: Sequence[Mapping[str, Any]],
        max_cost_usd: float | str | None = None,
        budget: Budget | None = None,
        fallback_model: str | None = None,
        rules: str = "table",
        apimart_conn_id: str = ApimartHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shots = shots
        self.max_cost_usd = max_cost_usd
        self.budget = budget
        self.fallback_model = fallback_model
        self.rules = rules
        self.apimart_conn_id = apimart_conn_id
        self.help_url: str | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Refuse the storyboard, or return what it costs."""
        return self._run(context)

    def execute_after_reset(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Compare again in the budget's next day or month."""
        return self._run(context)

    def _run(self, context: Context) -> dict[str, Any]:
        problems = arguments.money_problems("max_cost_usd", self.max_cost_usd)
        problems += arguments.connection_problems("apimart_conn_id", self.apimart_conn_id)
        for number, shot in enumerate(self.shots, start=1):
            problems += shot_problems(number, shot, self.fallback_model)
        self._refuse(problems)
        shots = [requests_of(number, shot, self.fallback_model) for number, shot in enumerate(self.shots, start=1)]
        with failures(self), ApimartHook(self.apimart_conn_id).get_conn() as client:
            # Without it the frame after the first shot would fail, and the first shot would be paid for already.
            require_media("a storyboard")
            for number, requests in enumerate(shots, start=1):
                problems += picture_problems(number, requests)
            if self.rules == "schema":
                problems += _schema_problems(client, shots)
            self._refuse(problems)
            prices = price_list(client)
            costs = [_dearest(prices, requests) for requests in shots]
            self._approve(prices, costs)
            if self.budget is not None:
                self._ask_budget(self.budget, context, costs)
        return {
            "shots": [
                {"model": requests[0].model, "cost_usd": None if cost is None else float(cost.usd)}
                for requests, cost in zip(shots, costs, strict=True)
            ],
            "cost_usd": None if (total := _total(costs)) is None else float(total),
            "source": prices.source,
        }

    def _approve(self, prices: PriceList, costs: Sequence[Estimate | None]) -> None:
        for number, cost in enumerate(costs, start=1):
            self.log.info("shot_%d costs about %s.", number, cost or "an amount that is not published")
        total, limit = _total(costs), arguments.money_of(self.max_cost_usd)
        if total is not None:
            self.log.info("The shots together cost about %s USD; max_cost_usd is %s.", _usd(total), limit)
        if limit is None:
            return
        if total is None:
            unknown = ", ".join(f"shot_{number}" for number, cost in enumerate(costs, start=1) if cost is None)
            allowed = f"the price of {unknown} is not known ({prices.source}), so leave it out to go on"
            self._refuse([FieldProblem("max_cost_usd", float(limit), allowed)])
        elif total > limit:
            allowed = f"the {len(costs)} shots together cost about {_usd(total)} USD (prices: {prices.source})"
            self._refuse([FieldProblem("max_cost_usd", float(limit), allowed)])

    def _ask_budget(self, budget: Budget, context: Context, costs: Sequence[Estimate | None]) -> None:
        try:
            check_together(budget, identity_of(context), _total(costs), f"the {len(costs)} shots")
        except BudgetExhaustedError as error:
            when_exhausted(self, error)
            raise

    def _refuse(self, problems: Sequence[FieldProblem]) -> None:
        """Refuse the storyboard if there are problems."""
        if problems:
            # After a clear there may be shots that were paid for before it.
            raise arguments.InvalidVeoArgument(
                f"{arguments.owner_of(self)}: {'; '.join(map(str, problems))}. No shot is submitted. One that was paid "
                "for before a clear stays known and is not paid for again."
            )


def _schema_problems(client: ApimartClient, shots: Sequence[Sequence[VeoRequest]]) -> list[FieldProblem]:
    return [
        FieldProblem(f"shot_{number}.{each.field}", each.value, each.allowed)
        for number, requests in enumerate(shots, start=1)
        for request in requests
        for each in schema_problems(client, request)
    ]


def _dearest(prices: PriceList, requests: Sequence[VeoRequest]) -> Estimate | None:
    """Return what a shot costs at most; ``None`` if a price is not known."""
    costs = [cost for request in requests if (cost := prices.estimate(request)) is not None]
    return max(costs, key=lambda cost: cost.usd) if len(costs) == len(requests) else None


def _total(costs: Sequence[Estimate | None]) -> Decimal | None:
    known = [cost.usd for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _usd(amount: Decimal) -> str:
    return f"{amount:.6f}".rstrip("0").rstrip(".")
