"""``VideoApprovalOperator`` and ``VideoSheetApprovalOperator``: a person decides before a video is published.

Needs apache-airflow-providers-standard 1.14 or later, with Airflow's human-in-the-loop operators: it comes with a plain
``apache-airflow``, and with the extra ``approval``.
"""

from __future__ import annotations

import inspect

from airflow_provider_apimart._compat import AirflowOptionalProviderFeatureException

NEEDED = (
    "The approval operators need Airflow's human-in-the-loop operators, of apache-airflow-providers-standard 1.14 or "
    "later: pip install 'airflow-provider-apimart[approval]'"
)

try:
    from airflow.providers.standard.operators.hitl import HITLOperator
except ImportError as error:
    raise AirflowOptionalProviderFeatureException(f"{NEEDED} ({error})") from error
if "response_timeout" not in inspect.signature(HITLOperator.__init__).parameters:
    raise AirflowOptionalProviderFeatureException(NEEDED)

from airflow_provider_apimart.operators.approval.operator import VideoApprovalOperator  # noqa: E402
from airflow_provider_apimart.operators.approval.sheet import VideoSheetApprovalOperator  # noqa: E402

__all__ = ["VideoApprovalOperator", "VideoSheetApprovalOperator"]
