"""The least that shows a working Airflow: a deferral, a mapped task and an XCom between them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, Context, task


class WaitOperator(BaseOperator):
    """Defers once, long enough for Airflow (see the provider's invariant on short deferrals)."""

    def execute(self, context: Context) -> None:
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=13)), method_name="done")

    def done(self, context: Context, event: Any = None) -> list[int]:
        return [1, 2, 3]


@task
def double(number: int) -> int:
    return number * 2


with DAG("harness_trivial", schedule=None):
    double.expand(number=WaitOperator(task_id="wait").output)
