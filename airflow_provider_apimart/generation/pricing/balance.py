"""What APIMart says about money: what the account and the key hold, and what the price list says.

After a 402, these are the numbers that a person needs to top up by the right amount. Nothing here is paid for.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, InsufficientBalanceError
from airflow_provider_apimart.client.models import Balance
from airflow_provider_apimart.client.protocol import Call
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.price_table import own_list
from airflow_provider_apimart.generation.pricing.prices import APIMART_LIST, PriceList, estimate


def missing_balance(client: ApimartClient, request: VeoRequest) -> str:
    """Return the request's cost and what the account and the key hold, as far as APIMart says. Never raises."""
    price = estimate(request)
    cost = f"about {price.usd} USD ({price.basis}, list price)" if price else "an amount that is not published"
    account, key = _ask(client, protocol.account_balance()), _ask(client, protocol.key_balance())
    return f"the request costs {cost}; the account holds {left(account)}, the key may spend {left(key)}"


def held_by(error: ApimartError) -> Balance | None:
    """Return the balance that an error states, if any: a 402 for a balance request can name what the account holds."""
    told = error.current_usd if isinstance(error, InsufficientBalanceError) else None
    return None if told is None else Balance(remaining_usd=told, used_usd=None)


def price_list(client: ApimartClient) -> PriceList:
    """Return APIMart's prices, or the provider's own if those are unavailable; ``source`` says which. Never raises."""
    today = datetime.now(UTC).date()
    try:
        # No retries: another list is available, and nobody wants to wait minutes for a price.
        prices = client.send(protocol.prices(client.prices_base_url), repeat=False)
    except ApimartError as error:
        return PriceList(source=f"{own_list(today)}, since APIMart's could not be had: {error}", today=today)
    return PriceList(prices, APIMART_LIST, today)


def left(balance: Balance | None) -> str:
    """Return what is left of a balance, as text for people."""
    if balance is None or (balance.remaining_usd is None and not balance.unlimited):
        return "an unknown amount"
    return "any amount" if balance.unlimited else f"{balance.remaining_usd:.2f} USD"


def _ask(client: ApimartClient, call: Call[Balance]) -> Balance | None:
    try:
        # No retries: an account without money has been seen to get a 402 for reads, too.
        return client.send(call, repeat=False)
    except ApimartError as error:
        return held_by(error)
