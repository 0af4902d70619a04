"""What the Airflow that the tests run with can do."""

from __future__ import annotations

import airflow.sdk

#: Airflow 3.3 and later; before that a record is kept beside the output.
HAS_STATE_STORE = hasattr(airflow.sdk, "NEVER_EXPIRE")
