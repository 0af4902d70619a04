"""Labels: plain JSON before anything is paid for, and a name for the mapped task that does not fail after landing."""

from __future__ import annotations

import copy
from typing import Any

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.generation.tables.cells import label
from airflow_provider_apimart.operators import arguments

#: What the column ``task_instance.rendered_map_index`` takes; PostgreSQL and MySQL refuse more.
MAX_NAME_LENGTH = 250


class Labels(dict[str, Any]):
    """A task's labels. One that is not there is blank: rows of a table need not all have the same.

    Airflow renders ``map_index_template`` again after the task has succeeded, and fails the task if it cannot.
    """

    def __missing__(self, name: str) -> str:
        return ""


def labels_of(value: Any) -> Labels:
    """Return labels, as rendered, as plain JSON."""
    return Labels(label(arguments.object_of(value) or {}))


def check_name(task: Any, context: Any) -> None:
    """Refuse, before anything is paid for, a ``map_index_template`` that would fail the task once its video is landed.

    :raises InvalidVeoArgument: with Jinja's own words.
    """
    template = context.get("map_index_template")
    if template is None:
        return
    # What the task knows only at its end stands for itself.
    probe = copy.copy(task)
    probe.generation_id = probe.video_url = ""
    try:
        name = task.get_dag().get_template_env().from_string(template).render({**context, "task": probe})
    except Exception as error:
        allowed = f"cannot be rendered for this task: {error}"
    else:
        if len(str(name)) <= MAX_NAME_LENGTH:
            return
        long = f"a name of {len(str(name)):,} characters, and Airflow's database takes {MAX_NAME_LENGTH}"
        allowed = f"makes {long}; shorten it, as in {{{{ task.prompt[:40] }}}}"
    owner = f"{type(task).__name__} {task.task_id!r}"
    arguments.refuse(owner, [FieldProblem("map_index_template", template, allowed)])
