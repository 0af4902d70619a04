"""``VeoGenerateBatchOperator``, and its steps: its arguments, the plan, the work, the check and the end of the task."""

from airflow_provider_apimart.operators.batch.operator import VeoGenerateBatchOperator

__all__ = ["VeoGenerateBatchOperator"]
