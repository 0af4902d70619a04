"""The bill by day and model: what APIMart says, and nothing left out of it."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.protocol import Reply
from airflow_provider_apimart.client.usage import Usage, usage

DAY = date(2026, 11, 25)
ITEM = {"date": "2026-11-25", "model": "veo3.1-fast", "amount_usd": 0.14, "credits": 1.4, "requests": 1}


def read(body: Any, status: int = 200) -> tuple[Usage, ...]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return usage(DAY, DAY).read(Reply(status, {}, content, "sk-secret"))


def test_the_call_asks_for_whole_days_in_utc() -> None:
    call = usage(date(2026, 11, 1), date(2026, 11, 30), scope="account")
    assert (call.method, call.path, call.authenticated) == ("GET", "/v1/usage", True)
    assert dict(call.params) == {
        "start": "1793491200",
        "end": "1796083200",
        "group_by": "model,date",
        "tz": "UTC",
        "scope": "account",
    }


@pytest.mark.parametrize(("first", "last"), [("2026-11-02", "2026-11-01"), ("2026-11-01", "2026-12-02")])
def test_days_that_apimart_does_not_answer_at_once_are_refused(first: str, last: str) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 31 days"):
        usage(date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize(
    "body",
    [
        {"success": True, "data": {"items": [ITEM]}},
        {"code": 200, "data": {"items": [ITEM]}},
        {"items": [ITEM]},
        {"items": [{**ITEM, "amount_usd": "0.14", "requests": "1"}]},
        {"items": [{**ITEM, "amount_usd": None}]},
        {"items": [{**ITEM, "date": "2026-11-25T00:00:00Z"}]},
    ],
)
def test_every_shape_says_the_same(body: Any) -> None:
    assert read(body) == (Usage(day=DAY, model="veo3.1-fast", usd=Decimal("0.14"), requests=1),)


def test_no_lines_are_a_bill_of_nothing() -> None:
    assert read({"data": {"items": []}}) == ()


@pytest.mark.parametrize(
    "item",
    [
        "veo3.1-fast",
        {**ITEM, "model": ""},
        {**ITEM, "model": None},
        {**ITEM, "date": "yesterday"},
        {**ITEM, "amount_usd": "NaN", "credits": None},
        {**ITEM, "amount_usd": True, "credits": "much"},
        {**ITEM, "requests": None},
    ],
)
def test_a_line_that_cannot_be_read_is_no_bill(item: Any) -> None:
    with pytest.raises(errors.ResponseError, match="a line that cannot be read"):
        read({"data": {"items": [ITEM, item]}})


@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": {"items": None}}, {"data": {"items": {}}}])
def test_an_answer_without_lines_is_no_bill(body: Any) -> None:
    with pytest.raises(errors.ResponseError, match="holds no usage"):
        read(body)


def test_a_service_without_usage_is_not_a_bill_of_nothing() -> None:
    body = {"error": {"code": "usage_unavailable", "message": "usage is not available", "type": "server_error"}}
    with pytest.raises(errors.ApimartError, match="usage is not available"):
        read(body, 503)


def test_the_key_is_in_no_error() -> None:
    with pytest.raises(errors.ResponseError) as caught:
        read({"data": {"items": [{**ITEM, "model": "sk-secret", "requests": None}]}})
    assert "sk-secret" not in str(caught.value)
