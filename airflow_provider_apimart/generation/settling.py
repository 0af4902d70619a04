"""How long a "completed" without a video is asked about again before it counts.

Services behind APIMart write status and result apart, so the video can be there a moment later. One answer is no verdict
(invariant 4); the deadline still is. Pure, and shared by the single generation and the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_apimart.client.models import Generation, GenerationStatus

#: An empty "completed" counts when it is so old, and
PATIENCE_SECONDS = 120.0
#: has been seen so often by this process, which did not see it before a restart and whose clock may be wrong.
LEAST_LOOKS = 4
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 3.0, 30.0


def is_empty(view: Generation) -> bool:
    """Say whether APIMart calls a generation completed and names no video that can be fetched."""
    return view.status is GenerationStatus.COMPLETED and not view.videos


@dataclass(slots=True)
class Settling:
    """What one wait has seen of an empty "completed"."""

    _since: float | None = None
    _looks: int = 0

    def wait(self, view: Generation, now: float) -> float | None:
        """Return the seconds until the next question; ``None`` where ``view`` counts as it is.

        :param now: unix seconds.
        """
        if not is_empty(view):
            self._since, self._looks = None, 0
            return None
        self._since = now if self._since is None else self._since
        completed = self._since if view.completed_at is None else min(self._since, view.completed_at.timestamp())
        self._looks += 1
        if self._looks >= LEAST_LOOKS and now - completed >= PATIENCE_SECONDS:
            return None
        return min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (self._looks - 1))
