"""An emulator for the tests of the money core (no generation, no fault, no bill; a dollar; any key), and a storage."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_apimart.emulator import Emulator


@pytest.fixture(scope="module")
def money_server() -> Iterator[Emulator]:
    with Emulator(any_key=True, balance_usd=Decimal(1)) as emulator:
        yield emulator


@pytest.fixture
def emulator(money_server: Emulator) -> Emulator:
    money_server.reset()
    return money_server


@pytest.fixture
def memory() -> MemoryFileSystem:
    """A storage that shows a file while it is written."""
    return MemoryFileSystem(global_store=False, skip_instance_cache=True)
