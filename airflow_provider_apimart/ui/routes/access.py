"""Who may see what: Airflow's own auth manager decides (invariant 13).

The names here are Airflow's own for plugins: ``airflow.api_fastapi.core_api.security``, the same in 3.1 to 3.3.
"""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.utils.session import create_session
from fastapi import Depends, HTTPException, Path

#: Airflow's columns of ids take no more.
MAX_ID_LENGTH = 250
MAX_MAP_INDEX = 2**31 - 1


def _no_wildcard(dag_id: str) -> None:
    # To Airflow "~" means "any Dag", and lets in whoever may read one.
    if dag_id == "~":
        raise nothing_here()


def nothing_here(what: str = "task instance") -> HTTPException:
    """Return the answer for what does not exist."""
    return HTTPException(404, f"There is no such {what}.")


#: For routes of one Dag, whose ``dag_id`` is in the path.
READS_DAG = [Depends(requires_access_dag("GET", DagAccessEntity.XCOM)), Depends(_no_wildcard)]


def _readable_dags(user: GetUserDep) -> frozenset[str]:
    """Return the Dags whose XComs the user may read.

    :raises HTTPException: 403 if there is no such Dag, or if the user may read no XComs at all.
    """
    manager = get_auth_manager()
    if not manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.XCOM, user=user):
        raise HTTPException(403, "Forbidden")
    with create_session() as session:
        return frozenset(manager.get_authorized_dag_ids(user=user, method="GET", session=session))


#: For lists: only what stands in here may be told.
ReadableDags = Annotated[frozenset[str], Depends(_readable_dags)]


def _map_index(map_index: Annotated[str, Path()]) -> int:
    """Return the map index in the path. Airflow leaves its placeholder there in the pages of unmapped tasks."""
    try:
        number = int(map_index) if map_index.isascii() else -2
    except ValueError:
        number = -2
    if not -1 <= number <= MAX_MAP_INDEX:
        raise nothing_here()
    return number


MapIndex = Annotated[int, Depends(_map_index)]


def usable_ids(*ids: str) -> bool:
    """Return whether these can be ids of Airflow's at all. Some databases raise for what cannot."""
    return all(0 < len(each) <= MAX_ID_LENGTH and "\x00" not in each for each in ids)
