"""Labels, converted to plain JSON before anything is paid for; and an early check of the mapped task's name."""

from __future__ import annotations

import copy
from typing import Any

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.generation.tables.cells import label
from airflow_provider_apimart.operators import arguments

#: The length of the column ``task_instance.rendered_map_index``; PostgreSQL and MySQL refuse longer names.
MAX_NAME_LENGTH = 250


class Labels(dict[str, Any]):
    """A task's labels. A missing label is blank, because the rows of a table need not all have the same labels.

    Airflow renders ``map_index_template`` again after the task has succeeded, and fails the task if that fails.
    """

    def __missing__(self, name: str) -> str:
        return ""


def labels_of(value: Any) -> Labels:
    """Return rendered labels as plain JSON."""
    return Labels(label(arguments.object_of(value) or {}))


def check_name(task: Any, context: Any) -> None:
    """Refuse, before anything is paid for, a ``map_index_template`` that would fail the task after its video landed.

    :raises InvalidVeoArgument: with Jinja's own message, or with the length of the name if it is too long.
    """
    template = context.get("map_index_template")
    if template is None:
        return
    # These two are known only at the end of the task, so empty text stands in for them.
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
    arguments.refuse(arguments.owner_of(task), [FieldProblem("map_index_template", template, allowed)])
