"""How long a "completed" without a video is asked about again before it counts.

Services behind APIMart write status and result apart, so the video can be there a moment later. One answer is no
verdict (invariant 4). The deadline ends the wait all the same: what was completed just before it is parked, not failed.
Pure, and shared by the single generation and the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_apimart.client.models import Generation, GenerationStatus

#: So long is waited for the video of a generation that is completed,
PATIENCE_SECONDS = 120.0
#: in questions that come further and further apart.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 3.0, 30.0
#: Where APIMart says that it was completed long ago, fewer are enough. (More than one: clocks are wrong.)
LEAST_QUESTIONS = 4


def is_empty(view: Generation) -> bool:
    """Say whether APIMart calls a generation completed and names no video that can be fetched."""
    return view.status is GenerationStatus.COMPLETED and not view.videos


def may_fill(view: Generation, now: float, deadline: float) -> bool:
    """Say whether the video of an empty ``view``, seen after the deadline, may just be late.

    :param now: unix seconds, as ``deadline``. Where APIMart does not say when it was completed, it was by then.
    """
    since = deadline if view.completed_at is None else view.completed_at.timestamp()
    return is_empty(view) and now - since < PATIENCE_SECONDS


@dataclass(slots=True)
class Settling:
    """What one wait has seen of a "completed" without a video. It counts what was waited and needs no clock of its own,
    so that a wait that begins anew after a restart ends as well.
    """

    _waited: float = 0.0
    _questions: int = 0

    def wait(self, view: Generation, now: float) -> float | None:
        """Return the seconds until the next question; ``None`` where ``view`` counts as it is.

        :param now: unix seconds.
        """
        if not is_empty(view):
            self._waited, self._questions = 0.0, 0
            return None
        self._questions += 1
        old = view.completed_at is not None and now - view.completed_at.timestamp() >= PATIENCE_SECONDS
        if self._waited >= PATIENCE_SECONDS or (old and self._questions >= LEAST_QUESTIONS):
            return None
        seconds = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (self._questions - 1))
        seconds = min(seconds, PATIENCE_SECONDS - self._waited)
        self._waited += seconds
        return seconds
