"""A storage for the tests of storing."""

from __future__ import annotations

import pytest
from fsspec.implementations.memory import MemoryFileSystem


@pytest.fixture
def memory() -> MemoryFileSystem:
    """A storage that shows a file while it is written."""
    return MemoryFileSystem(global_store=False, skip_instance_cache=True)
