"""Places of this machine, as the tests of storing name them."""

from __future__ import annotations

from pathlib import Path

import fsspec

from airflow_provider_apimart.storage.files import Target

LOCAL = fsspec.filesystem("file")


def local(path: Path | str) -> Target:
    return Target(LOCAL, str(path), str(path))
