"""What the tests of the routes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_apimart.ui.sources import sidecars, storage


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """What the pages remember of files and sidecars is forgotten after each test."""
    yield
    storage._known.clear()
    sidecars._known.clear()
