"""The emulated receiver of signed webhooks, beside the ``standardwebhooks`` package as an independent judge."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.publishing.webhook import SECRET

BODY = json.dumps({"title": "A dog"})


def deliver(plain: httpx.Client, *, id_: str = "msg_1", body: str = BODY, signed: str = BODY, **more: Any) -> int:
    when = datetime.now(UTC) + timedelta(minutes=more.get("minutes", 0))
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": Webhook(more.get("secret", SECRET)).sign(id_, when, signed),
    }
    return plain.post("/webhook-receiver/cms", content=body, headers=headers).status_code


def test_one_effect_for_each_id(plain: httpx.Client, emulator: Emulator) -> None:
    assert [deliver(plain) for _ in range(3)] == [200, 200, 200]
    assert deliver(plain, id_="msg_2") == 200
    first, second = emulator.publishing()["webhook"]
    assert (first["id"], first["deliveries"], first["content"]) == ("msg_1", 3, {"title": "A dog"})
    assert (second["deliveries"], second["different_bodies"]) == (1, 0)
    assert [post["id"] for post in emulator.posts("webhook")] == ["msg_1", "msg_2"]


def test_another_body_under_the_same_id_is_noted(plain: httpx.Client, emulator: Emulator) -> None:
    deliver(plain)
    deliver(plain, body="{}", signed="{}")
    assert emulator.publishing()["webhook"][0]["different_bodies"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": BODY + " "},
        {"secret": "whsec_" + "AAAA" * 8},
        {"minutes": -6},
        {"minutes": 6},
    ],
)
def test_what_is_not_signed_rightly_has_no_effect(plain: httpx.Client, emulator: Emulator, wrong: Any) -> None:
    assert deliver(plain, **wrong) == 401
    assert (emulator.posts(), emulator.publishing()["webhook_refused"]) == ([], 1)


def test_faults(plain: httpx.Client, emulator: Emulator) -> None:
    emulator.publish_fault("webhook", "drop_after", "delivery")
    with pytest.raises(httpx.HTTPError):
        deliver(plain)
    assert len(emulator.posts()) == 1
    emulator.publish_fault("webhook", "clock_ahead")
    assert deliver(plain) == 401
    emulator.publish_fault("webhook", "gone")
    assert deliver(plain) == 410
    emulator.clear_publish_faults()
    assert deliver(plain, body="x" * 20_001, signed="x" * 20_001) == 413
