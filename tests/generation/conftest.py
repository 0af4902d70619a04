"""An emulator for the tests of the money core (no generation, no fault, no bill; a dollar; any key), and a storage."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from airflow_provider_apimart.emulator import Emulator
from tests.storage.conftest import memory as memory


@pytest.fixture(scope="module")
def money_server() -> Iterator[Emulator]:
    with Emulator(any_key=True, balance_usd=Decimal(1)) as emulator:
        yield emulator


@pytest.fixture
def emulator(money_server: Emulator) -> Emulator:
    money_server.reset()
    return money_server
