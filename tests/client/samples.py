"""Every JSON sample and described shape of the contract (sections 2.5, 3, 5, 6, 7, 10), and what must come out of it.

Data only. Each row begins with the section that it comes from, which is the id of its test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import Charge
from airflow_provider_apimart.client.models import GenerationStatus as Status

ULID = "task_01K8SGQ7V0X9M2R4T6W8Y0ZABC"


@dataclass(frozen=True)
class Answer:
    """An answer on the wire, and what the reader must make of it (fields of the result)."""

    name: str
    body: Any
    wanted: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error: its class, what it says about money, and whether it may pass."""

    name: str
    status: int
    body: Any
    kind: type[errors.ApimartError]
    charge: Charge
    terminal: bool
    wanted: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


SUBMISSIONS = [
    Answer(
        "2.5-A-and-10.1",
        {"code": 200, "data": [{"status": "submitted", "task_id": ULID}]},
        {"generation_id": ULID, "status": Status.PENDING, "replayed": False, "request_id": None},
    ),
    Answer(
        "2.5-B-versioned-202",
        {
            "code": 202,
            "request_id": "req_1",
            "data": {"object": "generation.task", "id": "task_b", "status": "pending", "poll_url": "/v1/tasks/task_b"},
        },
        {"generation_id": "task_b", "status": Status.PENDING, "request_id": "req_1"},
        status=202,
    ),
    Answer(
        "2.5-B-versioned-200", {"code": 200, "data": {"id": "task_b", "status": "queued"}}, {"generation_id": "task_b"}
    ),
    Answer(
        "2.5-B-synchronous-result",
        {"code": 200, "data": {"object": "generation.result", "id": "task_s", "status": "completed"}},
        {"generation_id": "task_s", "status": Status.COMPLETED},
    ),
    Answer(
        "10.2-versioned-fixture",
        {"code": 202, "data": {"id": "grok-task", "status": "queued"}},
        {"generation_id": "grok-task", "status": Status.PENDING},
        status=202,
    ),
    Answer(
        "2.5-C-and-10.3-2025-page",
        {
            "code": 200,
            "data": {
                "created": 1757156493,
                "id": "task_01J9",
                "model": "veo3.1",
                "object": "video.generation.task",
                "progress": 0,
                "status": "pending",
                "task_info": {"can_cancel": True, "estimated_time": 300},
                "type": "video",
            },
        },
        {"generation_id": "task_01J9", "estimated_seconds": 300.0, "status": Status.PENDING},
    ),
    Answer("2.5-D-data-task_id", {"data": {"task_id": "task_d"}}, {"generation_id": "task_d"}),
    Answer("2.5-D-top-level-task_id", {"task_id": "task_d"}, {"generation_id": "task_d"}),
    Answer("2.5-D-top-level-id", {"id": "task_d"}, {"generation_id": "task_d"}),
    Answer("2.5-order-list-id", {"data": [{"id": "task_e"}]}, {"generation_id": "task_e"}),
    Answer("2.5-order-data-before-top", {"id": "req_9", "data": {"task_id": "task_f"}}, {"generation_id": "task_f"}),
    Answer("2.5-order-id-before-task_id", {"data": {"id": "first", "task_id": "second"}}, {"generation_id": "first"}),
    Answer("2.5-id-is-a-number", {"data": {"id": 12345}}, {"generation_id": "12345"}),
    Answer("2.5-empty-error-beside-the-id", {"task_id": "task_g", "error": ""}, {"generation_id": "task_g"}),
    Answer("2.5-null-error-beside-the-id", {"task_id": "task_g", "error": None}, {"generation_id": "task_g"}),
    Answer(
        "1.3-replay",
        {"code": 200, "data": [{"status": "submitted", "task_id": "task_r"}]},
        {"generation_id": "task_r", "replayed": True, "request_id": "2026-req"},
        headers={"Idempotency-Replayed": "True", "X-Oneapi-Request-Id": "2026-req"},
    ),
    Answer("not-json-NaN-beside-the-id", b'{"cost": NaN, "data":[{"task_id":"task_n"}]}', {"generation_id": "task_n"}),
    Answer("utf-8-BOM", b'\xef\xbb\xbf{"data":[{"task_id":"task_bom"}]}', {"generation_id": "task_bom"}),
    Answer(
        "long-number-beside-the-id", b'{"n":' + b"9" * 5000 + b',"data":{"id":"task_l"}}', {"generation_id": "task_l"}
    ),
    Answer("lone-surrogate-in-the-id", b'{"data":{"id":"task_\\ud800"}}', {"generation_id": "task_?"}),
]

#: 2xx that name nobody: the outcome is unknown, never "nothing was done".
NO_ID = [
    Answer("2.5-no-id", {"code": 200, "data": [{"status": "submitted"}]}),
    Answer("2.5-empty-list", {"code": 200, "data": []}),
    Answer("2.5-empty-object", {}),
    Answer("2.5-null-data", {"code": 200, "data": None}),
    Answer("2.5-null-id", {"data": {"id": None, "task_id": None}}),
    Answer("2.5-empty-id", {"data": {"id": "  "}}),
    Answer("2.5-false-id", {"data": {"id": True}}),
    Answer("2.5-list-id", {"data": {"id": ["task_x"]}}),
    Answer("2.5-endless-id", {"data": {"id": "x" * 100_000}}),
    Answer("2.5-list-of-texts", {"data": ["task_x"]}),
    Answer("2.5-202-without-id", {"code": 202, "data": {"object": "generation.task"}}, status=202),
]

UPLOADS = [
    Answer(
        "10.17",
        {
            "url": "https://getapib.org/f/image/a.png",
            "filename": "reference.png",
            "content_type": "image/png",
            "bytes": 4499,
            "created_at": 1789813766,
        },
        {
            "url": "https://getapib.org/f/image/a.png",
            "filename": "reference.png",
            "content_type": "image/png",
            "bytes": 4499,
            "created_at": at(1789813766),
        },
    ),
    Answer("5-wrapped", {"code": 200, "data": {"url": "https://a.org/b"}}, {"url": "https://a.org/b", "bytes": None}),
    Answer("5-empty-error", {"url": "https://a.org/b", "error": ""}, {"url": "https://a.org/b"}),
    Answer("5-odd-types", {"url": "https://a.org/b", "bytes": "7", "filename": 3, "content_type": None}, {
        "bytes": 7, "filename": None, "content_type": None,
    }),
]  # fmt: skip
BALANCES = [
    Answer("10.18-key", {
        "success": True, "remain_balance": 10.5, "remain_credits": 105, "used_balance": 2.3, "used_credits": 23,
        "unlimited_quota": False,
    }, {"remaining_usd": 10.5, "used_usd": 2.3, "unlimited": False}),
    Answer("10.18-account", {"success": True, "remain_balance": 9.19881, "remain_credits": 91.9881}, {
        "remaining_usd": 9.19881, "used_usd": None, "unlimited": False,
    }),
    Answer("6-unlimited", {
        "success": True, "remain_balance": -1, "remain_credits": -1, "used_balance": 3, "unlimited_quota": True,
    }, {"remaining_usd": None, "used_usd": 3.0, "unlimited": True}),
    Answer("6-unlimited-as-text", {"remain_balance": "-1", "unlimited_quota": "true"}, {"unlimited": True}),
    Answer("6-unlimited-not-said", {"remain_balance": -1, "remain_credits": -1}, {
        "remaining_usd": None, "unlimited": True,
    }),
    Answer("6-a-debt-is-no-freedom", {"remain_balance": -1, "remain_credits": -10}, {
        "remaining_usd": -1.0, "unlimited": False,
    }),
    Answer("6-old-page", {"success": True, "remain_balance": 4, "used_balance": 1}, {
        "remaining_usd": 4.0, "used_usd": 1.0,
    }),
    Answer("6-strings", {"remain_balance": "1.25", "used_balance": "0"}, {"remaining_usd": 1.25, "used_usd": 0.0}),
    Answer("6-credits-only", {"remain_credits": 105, "used_credits": "23"}, {"remaining_usd": 10.5, "used_usd": 2.3}),
    Answer("6-wrapped", {"code": 200, "data": {"remain_balance": 2}}, {"remaining_usd": 2.0}),
    Answer("6-null-data", {"data": None, "remain_balance": 2}, {"remaining_usd": 2.0}),
]  # fmt: skip
NO_BALANCE = [
    Answer("6-nothing", {}),
    Answer("6-nulls", {"remain_balance": None, "used_balance": None}),
    Answer("6-another-page", {"message": "welcome"}),
    Answer("6-list", {"data": [1]}),
]

MODEL_LISTS = [
    Answer("3.7-openai-like", {"object": "list", "data": [{"id": "veo3.1-fast"}, {"id": "gpt"}]}, {
        "ids": ["veo3.1-fast", "gpt"],
    }),
    Answer("3.7-texts", {"data": ["a", None, 3, {"id": None}, {"no": "id"}]}, {"ids": ["a"]}),
    Answer("3.7-none", {"data": []}, {"ids": []}),
]  # fmt: skip

PRICES = {
    "data": {
        "models": {
            "video": [
                {
                    "id": "veo3.1-fast-official",
                    "fixed_prices": {
                        "unit": "usd_per_second",
                        "dimension": "resolution",
                        "items": [
                            {"key": "720p", "original_price": 0.08, "after_discount": 0.064},
                            {"key": "4k", "original_price": 1, "after_discount": None},
                        ],
                    },
                    "token_settlement_prices": None,
                },
                {"id": "veo3.1-lite", "fixed_prices": [{"items": [{"after_discount": "0.07"}]}]},
                {"fixed_prices": [{"items": [{"key": "no name", "after_discount": 1}]}]},
                {"id": "no prices"},
                "nonsense",
            ],
            "image": [],
        }
    }
}
