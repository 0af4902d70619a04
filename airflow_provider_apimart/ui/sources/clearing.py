"""What clearing a task would cost: the question that the page answers before it clears.

The answer follows from what :mod:`airflow_provider_apimart.generation.purchase.decide` does with a cleared task.
"""

from __future__ import annotations

from airflow_provider_apimart.ui.sources.entries import Entry
from airflow_provider_apimart.ui.sources.instances import Instance
from airflow_provider_apimart.ui.sources.kinds import Kind

#: The provider's finer words after which a cleared task asks again, or refuses again, and pays nothing.
_FINAL = frozenset({"rejected", "refused", "model_gone", "empty"})


def clear_of(instance: Instance, entry: Entry, *, busy: bool) -> dict[str, bool | None] | None:
    """Return ``{"pays": …}`` for a task that can be cleared, else ``None``.

    ``True``: clearing pays for a new generation. ``False``: it does not. ``None``: nobody can say before it runs.
    """
    if busy or instance.state is None:
        return None
    if instance.kind is Kind.BATCH:
        return {"pays": None}
    if instance.kind is Kind.APPROVAL and instance.asked.get("state") == "take_under_way":
        # It goes on with the take that was asked for, and pays for it unless that was done.
        return {"pays": None}
    if instance.kind is not Kind.GENERATION:
        return {"pays": False}
    return {"pays": _pays(entry, instance.note.get("on_clear"))}


def _pays(entry: Entry, on_clear: object) -> bool | None:
    if on_clear == "regenerate":
        return True
    if on_clear != "reuse":
        # A note of an older version, or of another operator.
        return None
    if entry.outcome in ("completed", "parked") or entry.detail in _FINAL:
        return False
    # APIMart's own failure frees a new generation; a task that failed before it paid pays when it gets through.
    return True if entry.outcome == "failed" else None
