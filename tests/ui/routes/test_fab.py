"""The FAB auth manager decides as the simple one does: by Dag, and by the right to read XComs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager"
NOBODY, FORBIDDEN = {"detail": "Not authenticated"}, {"detail": "Forbidden"}


def test_users_of_fab_see_what_their_roles_allow(tmp_path: Path) -> None:
    """In a process of its own: an Airflow has one auth manager."""
    if find_spec("airflow.providers.fab") is None:
        pytest.skip("apache-airflow-providers-fab is not installed")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ours.py").write_text("from airflow_provider_apimart.ui.plugin import ApimartPlugin\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.ui.routes.fab_server"],
        capture_output=True,
        text=True,
        timeout=180,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/server.db",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path / "plugins"),
            "AIRFLOW__CORE__AUTH_MANAGER": f"{MANAGER}.FabAuthManager",
            "AIRFLOW__API_AUTH__JWT_SECRET": "for these tests only, " * 4,
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "nobody": [401, 401, 401, 401, [], NOBODY],
        "public": [403, 403, 403, 403, [], FORBIDDEN],
        "blind": [403, 403, 403, 403, [], FORBIDDEN],
        "one": [200, 403, 404, 200, ["mine"], {"dags": 1, "can_clear": False}],
        "viewer": [200, 200, 404, 200, ["mine", "others"], {"dags": 2, "can_clear": False}],
        "admin": [200, 200, 404, 200, ["mine", "others"], {"dags": 2, "can_clear": True}],
    }
