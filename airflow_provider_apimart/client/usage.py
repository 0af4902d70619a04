"""``GET /v1/usage``: what a key or an account was billed, by day and model (section 6 of the contract).

APIMart books a generation at the time of its completion, does not count failed and refunded ones, and names no task
ids. An answer may be 60 seconds old, and its last minute incomplete.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from airflow_provider_apimart.client.envelope import read_json
from airflow_provider_apimart.client.errors import ResponseError
from airflow_provider_apimart.client.protocol import Call, Reply
from airflow_provider_apimart.client.readers import read_money, read_number, read_text

Scope = Literal["key", "account"]
#: What APIMart answers at once.
MOST_DAYS = 31
MAX_NAME = 200


class Usage(BaseModel):
    """What was billed for one model on one day.

    :param day: in UTC.
    :param requests: how many generations it was billed for.
    """

    model_config = ConfigDict(frozen=True)

    day: date
    model: str
    usd: Decimal
    requests: int


def usage(first: date, last: date, *, scope: Scope = "key") -> Call[tuple[Usage, ...]]:
    """Return the call for what was billed on some days.

    :param first: the first day, in UTC.
    :param last: the last day; at most :data:`MOST_DAYS` days in all.
    :param scope: what the key has spent, or all keys of its account.
    :raises ValueError: for days that APIMart does not answer at once.
    """
    if not 0 <= (last - first).days < MOST_DAYS:
        raise ValueError(f"from {first} to {last}: allowed: 1 to {MOST_DAYS} days")
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    params = {
        "start": str(int(begin.timestamp())),
        "end": str(int(end.timestamp())),
        "group_by": "model,date",
        # APIMart's default is Shanghai's.
        "tz": "UTC",
        "scope": scope,
    }
    return Call("GET", "/v1/usage", _read, params=params, what="usage request")


def _read(reply: Reply) -> tuple[Usage, ...]:
    envelope = read_json(reply)
    wrapped = envelope.get("data")
    items = (wrapped if isinstance(wrapped, Mapping) else envelope).get("items")
    if not isinstance(items, list):
        raise ResponseError(f"APIMart's answer holds no usage: {reply.beginning!r}", status=reply.status)
    found = []
    for item in items:
        one = _one(item, reply)
        if one is None:
            # A line that is left out would read as money that was not spent.
            shown = reply.clean(repr(item), MAX_NAME)
            raise ResponseError(f"APIMart's usage holds a line that cannot be read: {shown}", status=reply.status)
        found.append(one)
    return tuple(found)


def _one(item: Any, reply: Reply) -> Usage | None:
    if not isinstance(item, Mapping):
        return None
    model = read_text(item.get("model"), MAX_NAME)
    usd = read_money(item.get("amount_usd"))
    if usd is None and (credits := read_money(item.get("credits"))) is not None:
        # Credits are dollars times ten.
        usd = credits / 10
    requests = read_number(item.get("requests"))
    try:
        day = date.fromisoformat(str(item.get("date"))[:10])
    except ValueError:
        return None
    if not model or usd is None or requests is None:
        return None
    return Usage(day=day, model=reply.clean(model, MAX_NAME), usd=usd, requests=int(requests))
