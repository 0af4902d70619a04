"""(b), simulated: polls per job and delay until its end is known. The provider's own scheduling, without a clock."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.generation.waiting.polling import PollingWait
from airflow_provider_apimart.generation.waiting.schedule import Durations
from benchmarks.measurements.figures import Pace, durations, fixed_at_equal_polls

#: Takes the seconds since the submission, the job's length and the polls so far; returns seconds until the next poll.
NextWait = Callable[[float, float, int], float]


class Adaptive:
    """The provider's own pace for one job. Only this class of the benchmarks uses the scheduling module.

    :param durations: the known durations of such jobs; this job's duration is added.
    :param progress: the API reports linear progress.
    """

    def __init__(self, durations: Durations, *, progress: bool = True, jitter: float = 0.5) -> None:
        self._polling = PollingWait(
            "simulated", 0.0, 1e9, durations.usual_seconds, None, jitter=jitter, durations=durations
        )
        self._progress = progress

    def __call__(self, elapsed: float, takes: float, polls: int) -> float:
        """Return the seconds until the next poll."""
        if polls == 0:
            return self._polling.first_wait(elapsed)
        done = {"progress": min(99, int(elapsed / takes * 100))} if self._progress else {}
        view = Generation.model_validate({"generation_id": "simulated", "status": "processing", **done})
        seconds = self._polling.saw(view, elapsed).wait_seconds
        if seconds is None:
            raise RuntimeError("the wait ended before the job")
        return seconds

    def ended(self, elapsed: float) -> None:
        """Note that a poll found the job finished. The duration that APIMart reports is not used."""
        data = {"status": "completed", "result": {"videos": [{"url": ["https://media.example/simulated.mp4"]}]}}
        self._polling.saw(Generation.read(data, "simulated"), elapsed)


def fixed(interval: float) -> NextWait:
    """Poll at a fixed interval."""
    return lambda elapsed, takes, polls: interval


def polls_of(takes: float, wait: NextWait, answer: float) -> list[float]:
    """Return when each poll of one job is answered, up to the first answer that reports its end."""
    answered: list[float] = []
    now = 0.0
    while not answered or answered[-1] < takes:
        now += wait(now, takes, len(answered)) + answer
        answered.append(now)
    if isinstance(wait, Adaptive):
        wait.ended(answered[-1])
    return answered


def simulate(jobs: Sequence[float], make: Callable[[int], NextWait], answer: float) -> Pace:
    """Return the figures of a way of polling over these jobs."""
    runs = [polls_of(takes, make(number), answer) for number, takes in enumerate(jobs)]
    return Pace.of([len(each) for each in runs], [each[-1] - takes for each, takes in zip(runs, jobs, strict=True)])


def polls_between(created: float, takes: float, since: float, until: float, answer: float) -> int:
    """Return how many of our polls are due in a span of time, for a job that runs longer."""
    wait = Adaptive(Durations(75.0))
    count, polls, now = 0, 0, 0.0
    while created + now < until:
        now += wait(now, takes, polls)
        count += since <= created + now < until
        now, polls = now + answer, polls + 1
    return count


#: name -> (median of the jobs, the median that ours expects, whether the API reports progress)
SCENARIOS = {
    "as expected, with progress": (75.0, 75.0, True),
    "as expected, no progress": (75.0, 75.0, False),
    "half as long as expected": (37.5, 75.0, False),
    "twice as long as expected": (150.0, 75.0, False),
}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the adaptive pace with fixed intervals over the same durations."""
    answer, found = options.answer_seconds, []
    for name, (median, expected, progress) in SCENARIOS.items():
        jobs = durations(options.simulated_jobs, median, options.sigma)

        def spread(number: int, known: Durations = Durations(expected), progress: bool = progress) -> NextWait:  # noqa: B008 - one a scenario
            return Adaptive(known, progress=progress, jitter=number % 256 / 255)

        def at(interval: float, jobs: Sequence[float] = jobs) -> Pace:
            return simulate(jobs, lambda _: fixed(interval), answer)

        ours = simulate(jobs, spread, answer)
        equal, pace = fixed_at_equal_polls(ours.polls, at)
        rows = {"adaptive": ours, **{f"{each:g} s": at(each) for each in options.intervals}}
        rows[f"{equal:.1f} s (equal polls)"] = pace
        found.append(
            {
                **{"scenario": name, "median": median, "equal_interval": equal},
                "rows": {row: {**vars(each), "product": each.product} for row, each in rows.items()},
                "ratio": ours.product / pace.product,
            }
        )
        print(f"  {name}: {ours.polls:.1f} polls, {ours.mean_delay:.1f} s; ratio {ours.product / pace.product:.2f}")
    return {"scenarios": found, "jobs": options.simulated_jobs, "sigma": options.sigma, "answer_seconds": answer}
