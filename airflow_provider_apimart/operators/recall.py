"""Where a video goes: to the path that the waiting try rendered, even if the template renders differently later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_apimart.generation.purchase.record import MAX_PATH_LENGTH, Record, RecordStore, clipped
from airflow_provider_apimart.hooks.storage.paths import target_of
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.task import DeferringTask
from airflow_provider_apimart.operators.veo_arguments import VeoArguments, argument_problems

if TYPE_CHECKING:
    from airflow_provider_apimart.storage.files import Target

AS_IT_WAS = "%s=%r is what it was when this was paid for. It goes on with that, not with %r, which it renders to now."


class Resumed(VeoArguments, DeferringTask, Protocol):
    """A task that resumes after a deferral."""


def recall(task: Resumed, record: Any, labels: Any) -> None:
    """Restore the output path, the connection and the labels that the deferral kept.

    :param record: the record from the deferral; ``None`` if Airflow dropped it.
    :param labels: the labels from the deferral; ``None`` if Airflow dropped them.
    :raises UnusableArgument: if nothing was kept, and the arguments as rendered now cannot be used.
    """
    if labels is not None:
        task.labels = labels
    kept = None if record is None else Record.model_validate(record)
    if kept is None or len(kept.output_path or "") >= MAX_PATH_LENGTH:
        # Nothing was kept, or the path was cut off. The arguments as rendered now are used instead, if they are valid.
        arguments.refuse_for_now(arguments.owner_of(task), argument_problems(task, arguments.always))
        return
    if kept.output_path != _uri(task.output_path):
        task.log.warning(AS_IT_WAS, "output_path", kept.output_path, task.output_path)
        task.output_path = kept.output_path
    if kept.apimart_conn_id not in (None, task.apimart_conn_id):
        task.log.warning(AS_IT_WAS, "apimart_conn_id", kept.apimart_conn_id, task.apimart_conn_id)
        task.apimart_conn_id = kept.apimart_conn_id


def wanted_here(task: Resumed, store: RecordStore, record: Record, output: Target | None) -> Record:
    """Record where this try wants the videos of a generation that an earlier try may have paid for.

    A retry uses its own ``output_path``, so that a wrong path can be corrected. A later landing, after a deferral or by
    ``reconcile``, uses the path in the record.
    """
    place = None if output is None else clipped(output.uri, MAX_PATH_LENGTH)
    if record.output_path == place:
        return record
    if place is None:
        # A template can render to None by mistake. Landing nothing would then lose a paid video.
        task.log.warning(AS_IT_WAS, "output_path", record.output_path, None)
        task.output_path = record.output_path
        return record
    if record.output_path is not None:
        task.log.warning(
            "Generation %s was paid for with output_path=%r; this try lands it in %r.",
            *(record.generation_id, record.output_path, place),
        )
    wanted = record.but(output_path=place)
    if store.load() == record:
        store.save(wanted)
    return wanted


def _uri(output_path: Any) -> str | None:
    if output_path is None or arguments.output_problems("output_path", output_path):
        return None
    return target_of(output_path).uri
