"""How long a batch may take, and what becomes of its rows when that time is up.

At its deadline nothing more is submitted, and what runs is asked for once more: what has completed is landed, the rest
is parked, and the journal keeps it for the next try. None of that waits for a host that does not answer or an account
that is rate limited, so a batch also ends when nothing moves.
"""

from __future__ import annotations

import math
from datetime import timedelta

from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.engine.run_state import RunState
from airflow_provider_apimart.generation.batch.engine.waiting import park
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome

#: After the deadline: how long last questions may wait for their turn,
LAST_QUESTIONS_SECONDS = 60.0
#: and how long completed videos have to land. What takes longer is left to the next try.
LAST_LANDINGS_SECONDS = 300.0
#: An idempotency key lives for a day, so an account that refuses everything holds a row up for no longer.
PATIENCE = timedelta(days=1)
LONGEST = timedelta(days=365)
#: Submissions take turns with questions, and a row has up to two frames to upload.
REQUESTS_PER_SUBMISSION = 4


def close(run: RunState) -> None:
    """Wind the batch up, as far as its deadline has passed."""
    late = run.now() - _since(run)
    if late < 0:
        return
    if run.todo or run.ready or run.in_flight or run.is_preparing:
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
    """Say whether requests that are under way are waited for no more: a host that does not answer holds nothing up."""
    return run.now() >= _since(run) + LAST_QUESTIONS_SECONDS


def is_over(run: RunState) -> bool:
    """Say whether not even what is under way is waited for."""
    return run.now() >= _since(run) + LAST_LANDINGS_SECONDS


def next_step(run: RunState, now: float) -> float:
    """Return the seconds until there is something to wind up; infinite for a batch without a deadline."""
    steps = (_since(run) + after - now for after in (0.0, LAST_QUESTIONS_SECONDS, LAST_LANDINGS_SECONDS))
    return min((seconds for seconds in steps if seconds > 0), default=math.inf)


def _since(run: RunState) -> float:
    # A triggerer that was away comes back after the deadline, and asks once more all the same.
    return max(run.ends_at, run.progress.started)


def longest(rules: Rules, rows: int) -> timedelta:
    """Return how long a batch without a deadline can take at worst: who hears nothing for so long hears nothing.

    A day, and for each wave of ``max_in_flight`` rows the ``timeout`` of its generations, as often as they may fail,
    and the time that ``requests_per_minute`` makes submissions wait.

    :param rows: that are not at their end.
    """
    seconds = math.ceil(rows / rules.max_in_flight) * rules.timeout_seconds
    if rules.requests_per_minute:
        seconds += 60 * REQUESTS_PER_SUBMISSION * rows / rules.requests_per_minute
    return PATIENCE + timedelta(seconds=min(seconds * rules.max_generations, (LONGEST - PATIENCE).total_seconds()))
