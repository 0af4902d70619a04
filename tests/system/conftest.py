"""What these tests have in common: they need a whole Airflow (tests/running_airflow.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.system)
