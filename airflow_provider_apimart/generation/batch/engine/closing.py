"""How long a batch may take, and what happens to its rows when that time is up.

At the deadline the batch submits nothing more and polls every running generation once more. Completed ones are landed.
The rest are parked, and the journal keeps them for the next try. These last steps have time limits of their own, so a
host that does not answer or a rate-limited account cannot keep the batch from ending.
"""

from __future__ import annotations

import math
from datetime import timedelta

from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.engine.run_state import RunState
from airflow_provider_apimart.generation.batch.engine.waiting import park
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome

#: After the deadline: how long the last polls may wait for their turn.
LAST_QUESTIONS_SECONDS = 60.0
#: After the deadline: how long completed videos have to land. What takes longer is left to the next try.
LAST_LANDINGS_SECONDS = 300.0
#: An idempotency key lives for a day, so an account that refuses everything delays a row no longer than that.
PATIENCE = timedelta(days=1)
LONGEST = timedelta(days=365)
#: Submissions alternate with polls, and a row has up to two frames to upload.
REQUESTS_PER_SUBMISSION = 4


def close(run: RunState) -> None:
    """Take the closing steps that are due at this time after the deadline."""
    late = run.now() - _since(run)
    if late < 0:
        return
    if run.todo or run.ready or run.in_flight or run.preparing:
        run.stop_submitting(Stop(StopKind.DEADLINE, "execution_timeout has passed, which limits each try", False))
    while (active := run.resends.pop(math.inf)) is not None:
        if active.doubtful:
            run.release(active)
            run.end(active, Outcome.UNKNOWN, note="the time of this try was up before APIMart said what became of it")
        else:
            run.leave(active)
    while late >= LAST_QUESTIONS_SECONDS and (active := run.polls.pop(math.inf)) is not None:
        park(run, active, "the batch's time was up, and it could not be asked for once more")


def is_quiet(run: RunState) -> bool:
    """Say whether to stop waiting for requests in flight, so that a host that does not answer delays nothing."""
    return run.now() >= _since(run) + LAST_QUESTIONS_SECONDS


def is_over(run: RunState) -> bool:
    """Say whether to stop waiting for landings in progress, too."""
    return run.now() >= _since(run) + LAST_LANDINGS_SECONDS


def next_step(run: RunState, now: float) -> float:
    """Return the seconds until the next closing step; infinite for a batch without a deadline."""
    steps = (_since(run) + after - now for after in (0.0, LAST_QUESTIONS_SECONDS, LAST_LANDINGS_SECONDS))
    return min((seconds for seconds in steps if seconds > 0), default=math.inf)


def _since(run: RunState) -> float:
    # A triggerer may restart after the deadline. It still polls each generation once more.
    return max(run.ends_at, run.progress.started)


def longest(rules: Rules, rows: int) -> timedelta:
    """Return how long a batch without a deadline can take at worst. After that, no result can be expected.

    It is the sum of a day, the ``timeout`` of a generation for each wave of ``max_in_flight`` rows, and the time that
    ``requests_per_minute`` makes submissions wait. The last two are multiplied by how often a row may fail.

    :param rows: how many rows have not ended.
    """
    seconds = math.ceil(rows / rules.max_in_flight) * rules.timeout_seconds
    if rules.requests_per_minute:
        seconds += 60 * REQUESTS_PER_SUBMISSION * rows / rules.requests_per_minute
    return PATIENCE + timedelta(seconds=min(seconds * rules.max_generations, (LONGEST - PATIENCE).total_seconds()))
