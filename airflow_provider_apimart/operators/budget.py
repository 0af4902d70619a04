"""``max_cost_usd``: checked before a new generation is paid for, never for one that is already paid for."""

from __future__ import annotations

import logging
from decimal import Decimal

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.balance import price_list
from airflow_provider_apimart.operators import arguments

log = logging.getLogger(__name__)


def approve(owner: str, request: VeoRequest, limit: Decimal, client: ApimartClient) -> None:
    """Refuse a request that costs more than ``limit``, or whose price is not known.

    :raises InvalidVeoArgument: with the estimate in its text.
    """
    prices = price_list(client)
    price = prices.estimate(request)
    if price is None:
        allowed = (
            f"the price of {request.model} is not known for this request ({prices.source}), so it cannot be compared; "
            "leave it out to go on"
        )
        arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
    elif price.usd > limit:
        allowed = f"this request ({request.model}) costs about {price}"
        arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
    log.info("This request (%s) costs about %s; max_cost_usd is %s.", request.model, price, limit)
