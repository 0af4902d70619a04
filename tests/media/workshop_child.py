"""The child process with two more jobs, for the tests of the workshop."""

from __future__ import annotations

import sys

from airflow_provider_apimart.media import child

child.JOBS["join_text"] = ("tests.media.workshop_jobs", "join_text")
child.JOBS["complain"] = ("tests.media.workshop_jobs", "complain")

if __name__ == "__main__":
    sys.exit(child.main())
