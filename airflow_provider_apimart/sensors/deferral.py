"""What the sensors share: a wait in the triggerer that ends as the same wait in the worker would."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from airflow_provider_apimart._compat import BaseSensorOperator, TaskDeferralError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class DeferrableSensor(BaseSensorOperator):
    """A sensor whose wait in the triggerer is limited by ``timeout`` and ``execution_timeout`` alike."""

    #: What has not happened by the end, for the error.
    awaited = "it"

    def __init__(self, **kwargs: Any) -> None:
        # Without it Airflow would take the defaults of its base for this class's own wishes in ``.partial()``.
        super().__init__(**kwargs)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where time has run out, end as the wait in the worker would."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowSkipException, AirflowSensorTimeout) as ended:
            timeout = ended if isinstance(ended, AirflowSensorTimeout) else ended.__cause__
            if not isinstance(timeout, AirflowSensorTimeout):
                raise
            if self._longest < timedelta(seconds=self.timeout):
                text = f"execution_timeout={self.execution_timeout} has passed before {self.awaited}"
                raise AirflowTaskTimeout(text) from timeout
            if self.never_fail:
                # It is about errors: in the worker it lets a timeout fail, too.
                raise timeout from None
            if self.soft_fail:
                # Airflow 3.1 would let it fail.
                raise AirflowSkipException(str(timeout)) from timeout
            raise
        except (AirflowException, TaskDeferralError) as error:
            if self.never_fail:
                # As above.
                raise AirflowSkipException(str(error)) from error
            raise

    @property
    def _longest(self) -> timedelta:
        # Airflow does not enforce execution_timeout while a task is deferred.
        longest = timedelta(seconds=self.timeout)
        return longest if self.execution_timeout is None else min(longest, self.execution_timeout)
