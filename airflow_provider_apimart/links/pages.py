"""Addresses of pages in Airflow, right for mapped tasks, run ids with ``+`` and ``:``, and a base URL with a path.

Airflow's own ``HITLOperator.generate_link_to_ui`` gives up to 3.3.2 a page that does not exist for mapped tasks, drops
the path of ``[api] base_url`` and does not quote the run id.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from airflow_provider_apimart._compat import conf
from airflow_provider_apimart.publishing.approval.form import Place


def base_url() -> str:
    """Return ``[api] base_url`` without a slash at its end; empty if it is not set."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


def place_of(ti: Any) -> Place:
    """Return the place of a task instance, under the path of ``[api] base_url``."""
    index = getattr(ti, "map_index", -1)
    prefix = urlsplit(base_url()).path.rstrip("/")
    return Place(ti.dag_id, ti.run_id, ti.task_id, -1 if index is None else int(index), prefix=prefix)


def absolute(path: str, base: str | None = None) -> str:
    """Return the whole address of a path that begins with the prefix; see :func:`place_of`.

    :param base: the base URL; ``None`` for ``[api] base_url``.
    """
    parts = urlsplit(base_url() if base is None else base)
    return f"{parts.scheme}://{parts.netloc}{path}" if parts.netloc else path


def required_actions_page(ti: Any, base: str | None = None, query: dict[str, Any] | None = None) -> str:
    """Return the page where a person answers a task instance's question.

    :param ti: a task instance.
    :param base: the base URL; ``None`` for ``[api] base_url``.
    :param query: what the form is filled in with.
    """
    place = place_of(ti)
    if base is not None:
        place = Place(
            place.dag_id, place.run_id, place.task_id, place.map_index, prefix=urlsplit(base).path.rstrip("/")
        )
    path = place.page("required_actions")
    return absolute(f"{path}?{urlencode(query, doseq=True)}" if query else path, base)
