"""The published fixtures are the ones that these tests use, and a client that speaks to them over a real socket."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.fixtures import (  # noqa: F401 - fixtures are found by their names
    apimart_emulator,
    apimart_emulator_conn,
    apimart_emulator_options,
    apimart_emulator_server,
)

OFFICIAL = {"model": "veo3.1-fast-official", "prompt": "a golden retriever on the beach", "duration": 4}
EXT = {"model": "veo3.1-fast", "prompt": "a golden retriever on the beach"}


# Loading the system's certificates for each client would take most of the time of these tests.
TLS = ssl.create_default_context()


def connect(base_url: str, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=30, verify=TLS)


@pytest.fixture
def emulator(apimart_emulator: Emulator) -> Emulator:  # noqa: F811
    return apimart_emulator


@pytest.fixture
def api(emulator: Emulator) -> Iterator[httpx.Client]:
    with connect(emulator.base_url, emulator.api_key) as client:
        yield client


@pytest.fixture
def plain() -> Iterator[httpx.Client]:
    """A client without a key, as one that fetches media should be."""
    with httpx.Client(trust_env=False, timeout=30, verify=TLS) as client:
        yield client


@pytest.fixture
def submit(api: httpx.Client) -> Callable[..., httpx.Response]:
    def post(body: Any = None, *, key: str | None = None, **headers: str) -> httpx.Response:
        if key is not None:
            headers["Idempotency-Key"] = key
        return api.post("/v1/videos/generations", json=OFFICIAL if body is None else body, headers=headers)

    return post


def task_id(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["data"][0]["task_id"])


def task(client: httpx.Client, generation_id: str, **query: str) -> dict[str, Any]:
    response = client.get(f"/v1/tasks/{generation_id}", params=query)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


def video_url(client: httpx.Client, generation_id: str) -> str:
    return str(task(client, generation_id)["result"]["videos"][0]["url"][0])
