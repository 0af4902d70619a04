"""Nothing of the user's own Airflow reaches the tests: set before anything imports ``airflow``."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

for _name in [name for name in os.environ if name.lstrip("_").startswith("AIRFLOW")]:
    del os.environ[_name]

# A home that is made by Airflow on import, in every process of the tests, and goes with it.
_HOME = tempfile.mkdtemp(prefix="apimart-tests-airflow-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
# Nothing is sent to the user's own lineage server. What tests OpenLineage enables it.
os.environ["AIRFLOW__OPENLINEAGE__DISABLED"] = "True"
# Unit tests have no database; what they import must not make one in the home of the user.
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME}/airflow.db"

#: Tests that share something large stay in one process; the longest begin first, so that none is left for the end.
_GROUPS = ("system", "crash", "cluster")
LONGEST_ID = 120


def pytest_make_parametrize_id(val: object) -> str | None:
    """Cut what is long out of a test's name: a prompt of megabytes would be printed for each run of it."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        digest = hashlib.sha256(val if isinstance(val, bytes) else val.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{val[:20]!r}-{len(val)}-{digest[:8]}"
    return None


# After pytest's own, which makes an error of whatever fails in a finalizer.
@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let one failure pass: some versions of aiobotocore raise it where s3fs closes a session for the second time."""
    tell = sys.unraisablehook

    def tell_unless_closed_twice(unraisable: sys.UnraisableHookArgs) -> None:
        if str(unraisable.exc_value) != "Session was never entered":
            tell(unraisable)

    sys.unraisablehook = tell_unless_closed_twice


# xdist reads the groups in this same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the tests over two processes: a real Airflow mostly waits, and the others use that time."""
    home = Path(__file__).parent
    rank = {}
    for item in items:
        part = item.path.relative_to(home).parts[0] if home in item.path.parents else ""
        if item.path.is_relative_to(home / "ui" / "browser"):
            # They use the Airflow of the system tests.
            part = "system"
        if item.path.name == "test_crash.py":
            # It has an Airflow of its own.
            part = "crash"
        if part in _GROUPS:
            item.add_marker(pytest.mark.xdist_group(part))
        rank[item] = _GROUPS.index(part) if part in _GROUPS else len(_GROUPS)
    items.sort(key=rank.__getitem__)


pytest_plugins = ["airflow_provider_apimart.emulator.fixtures", "tests.running_airflow"]
