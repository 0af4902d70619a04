"""pytest fixtures for the test suites of users: an APIMart that costs nothing, and channels that nobody sees.

In a ``conftest.py``: ``pytest_plugins = ["airflow_provider_apimart.emulator.fixtures"]``. One server serves the whole
session and forgets everything before each test. Imports nothing of Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import Emulator


@pytest.fixture(scope="session")
def apimart_emulator_options() -> dict[str, Any]:
    """Options of the session's emulator; override this fixture to change them."""
    return {}


@pytest.fixture(scope="session")
def apimart_emulator_server(apimart_emulator_options: dict[str, Any]) -> Iterator[Emulator]:
    """The session's emulator. Tests should use :func:`apimart_emulator`."""
    with Emulator(**apimart_emulator_options) as emulator:
        yield emulator


@pytest.fixture
def apimart_emulator(apimart_emulator_server: Emulator) -> Emulator:
    """An emulator without generations, faults or a bill; its jobs take no time unless the options say so."""
    apimart_emulator_server.reset()
    return apimart_emulator_server


@pytest.fixture
def apimart_emulator_conn(apimart_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The same, with Airflow's connection ``apimart_default`` pointing to it."""
    connection = {"conn_type": "apimart", "password": apimart_emulator.api_key, "host": apimart_emulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))
    return apimart_emulator


@pytest.fixture
def apimart_emulator_publishing(apimart_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The same, with ``youtube_default``, ``instagram_default`` and ``webhook_default`` pointing to it.

    ``posts()`` tells what others have seen, ``publish_fault()`` lets something go wrong, ``advance_publishing()`` lets
    time pass.
    """
    from airflow_provider_apimart.emulator.publishing.connections import connections

    for name, connection in connections(apimart_emulator.base_url).items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    return apimart_emulator
