"""Nothing of the user's own Airflow reaches the tests: set before anything imports ``airflow``."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

for _name in [name for name in os.environ if name.lstrip("_").startswith("AIRFLOW")]:
    del os.environ[_name]

# A home that is made by Airflow on import, in every process of the tests, and goes with it.
_HOME = tempfile.mkdtemp(prefix="apimart-tests-airflow-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
# Unit tests have no database; what they import must not make one in the home of the user.
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME}/airflow.db"

pytest_plugins = ["airflow_provider_apimart.emulator.fixtures"]
