"""How long a "completed" without a video is polled again before it counts.

Services behind APIMart write status and result separately, so the video can appear a moment later. One answer is no
verdict (invariant 4). The deadline still ends the wait: a generation completed just before it is parked, not failed.
Pure, and shared by the single generation and the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_apimart.client.models import Generation, GenerationStatus

#: How long to wait for the video of a completed generation.
PATIENCE_SECONDS = 120.0
#: The time between polls grows from the first of these to the second.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 3.0, 30.0
#: If APIMart says that it was completed long ago, this many polls are enough. One is not: clocks can be wrong.
LEAST_QUESTIONS = 4


def is_empty(view: Generation) -> bool:
    """Return whether APIMart calls a generation completed but lists no video that can be fetched."""
    return view.status is GenerationStatus.COMPLETED and not view.videos


def may_fill(view: Generation, now: float, deadline: float) -> bool:
    """Return whether the video of an empty ``view``, seen after the deadline, may just be late.

    :param now: unix seconds, like ``deadline``. If APIMart gives no completion time, the deadline is taken for it.
    """
    since = deadline if view.completed_at is None else view.completed_at.timestamp()
    return is_empty(view) and now - since < PATIENCE_SECONDS


@dataclass(slots=True)
class Settling:
    """What one wait has seen of a "completed" without a video.

    It adds up the waits and needs no clock of its own, so that a wait that starts over after a restart also ends.
    """

    _waited: float = 0.0
    _questions: int = 0

    def wait(self, view: Generation, now: float) -> float | None:
        """Return the seconds until the next poll; ``None`` if ``view`` counts as it is.

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
