"""A client of each publishing service, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.fixtures import (  # noqa: F401 - fixtures are found by their names
    apimart_emulator,
    apimart_emulator_options,
    apimart_emulator_server,
)
from airflow_provider_apimart.emulator.publishing.instagram import TOKENS
from airflow_provider_apimart.emulator.publishing.youtube import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from tests.emulator.conftest import TLS

GRANT = {
    "grant_type": "refresh_token",
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "refresh_token": REFRESH_TOKEN,
}


@pytest.fixture
def emulator(apimart_emulator: Emulator) -> Emulator:  # noqa: F811
    return apimart_emulator


@pytest.fixture
def plain(emulator: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=emulator.base_url, trust_env=False, timeout=30, verify=TLS) as client:
        yield client


@pytest.fixture
def youtube(plain: httpx.Client) -> httpx.Client:
    """A client with an access token."""
    plain.headers["Authorization"] = f"Bearer {plain.post('/token', data=GRANT).json()['access_token']}"
    return plain


@pytest.fixture
def graph(plain: httpx.Client) -> httpx.Client:
    """A client with an Instagram token."""
    plain.headers["Authorization"] = f"Bearer {TOKENS[0]}"
    return plain
