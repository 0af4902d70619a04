"""What one wait does: when to poll next, what to log meanwhile, and when to stop. Pure: the callers wait.

Invariant 4: a poll is never a verdict. An error of any kind only delays the next poll. The wait ends with APIMart's own
final word or with the deadline, which is absolute and counts from the submission. :mod:`.schedule` decides the
intervals.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace

from airflow_provider_apimart.client.errors import ApimartError, InsufficientBalanceError, RateLimitError
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.generation.purchase.settling import Settling, is_empty, may_fill
from airflow_provider_apimart.generation.waiting import schedule
from airflow_provider_apimart.generation.waiting.schedule import Belief, Durations

#: Invariant 10: Airflow 3.3's scheduler can fail a task whose deferral ends sooner.
FIRST_EVENT_SECONDS = 12.0
MAX_RETRY_AFTER_SECONDS = 300.0
SAY_EVERY_SECONDS = 30.0
SAY_AT_LEAST_SECONDS = 5.0
SAY_PROGRESS_STEP = 20


def spread_of(generation_id: str) -> float:
    """Return a number from 0 to 1 that is specific to this generation, so that many are not polled in step."""
    digest = hashlib.sha256(generation_id.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:4], "big") / 0xFFFFFFFF


def told_seconds(view: Generation) -> float | None:
    """Return the duration that APIMart reports for a generation."""
    if view.completed_at is not None and view.created_at is not None:
        return (view.completed_at - view.created_at).total_seconds()
    return view.actual_seconds


def last_word(view: Generation) -> str:
    """Return what is strange about a generation: a status that is not known, a result beside 100 %, no result."""
    if is_empty(view):
        return "APIMart reports it as completed, but names no video yet"
    if view.is_final:
        return ""
    lists = "a video is listed and its progress is 100 %" if view.result_at_hand and view.progress == 100 else ""
    if view.strange_status:
        text = f"APIMart calls its status {view.strange_status!r}, which is not known"
        return f"{text}, though {lists}" if lists else text
    return f"{lists}, but APIMart calls its status {view.raw_status[:60]!r}" if lists else ""


def refused_for_money(error: InsufficientBalanceError) -> str:
    """Return what a 402 to a mere question means: below a floor, APIMart answers nothing else."""
    holds, needs = error.current_usd, error.required_usd
    amounts = f" ({holds:g} USD, {needs:g} USD are required)" if holds is not None and needs is not None else ""
    return f"APIMart answers no question while the account holds too little{amounts}: top up at apimart.ai ({error})"


def poll_error_text(error: Exception) -> str:
    """Return a failed poll's error as it is told to those who wait."""
    return refused_for_money(error) if isinstance(error, InsufficientBalanceError) else str(error)


def error_interval(failures: int, error: Exception) -> float:
    """Return the seconds until the next poll after the ``failures``-th error in a row."""
    asked = error.retry_after_seconds if isinstance(error, ApimartError) else None
    # (None, or a date from a clock behind ours, does not say how long to wait.)
    if asked:
        # Anything but a rate limit concerns this generation only, and its video may be ready.
        limited = isinstance(error, RateLimitError)
        longest = MAX_RETRY_AFTER_SECONDS if limited else schedule.MAX_INTERVAL_SECONDS
        return min(longest, max(schedule.MIN_INTERVAL_SECONDS, asked))
    return min(schedule.MAX_INTERVAL_SECONDS, schedule.MIN_INTERVAL_SECONDS * 2.0 ** min(failures - 1, 10))


@dataclass(frozen=True)
class Step:
    """What to do after one poll.

    :param wait_seconds: until the next poll, if all polls fit; ``None`` when the wait has ended.
    :param final: APIMart's final word. ``None`` with ``wait_seconds=None`` means that the deadline has passed.
    :param say: a line for the log.
    :param warn: log the line as a warning.
    """

    wait_seconds: float | None
    final: Generation | None = None
    say: str | None = None
    warn: bool = False


@dataclass(slots=True)
class PollingWait:
    """The wait for one generation. It takes each answer or error and returns what to do next.

    :param submitted_at: unix seconds.
    :param deadline: unix seconds.
    :param median_seconds: how long such a job takes, as known before the first poll.
    :param poll_interval: fixes the seconds between polls; ``None`` adapts.
    :param jitter: 0 to 1, specific to this wait: spreads the polls of many.
    :param durations: the observed durations of its kind, to which it adds its own; ``None`` knows the median alone.
    :param stretch: the factor by which all waits will turn out longer than returned here, because not all polls fit.
        With it, polls come sooner before the usual end and later after it.
    """

    generation_id: str
    submitted_at: float
    deadline: float
    median_seconds: float
    poll_interval: float | None = None
    jitter: float = 0.5
    durations: Durations | None = None
    stretch: float = 1.0
    #: The seconds that must pass before the next poll, even if there turns out to be room.
    least: float = 0.0
    polls: int = 0
    failures: int = 0
    #: What was unusual about APIMart's last answer, or that there was none; told when the deadline passes.
    last_word: str = ""
    _settling: Settling = field(default_factory=Settling, repr=False)
    _wondered: str = field(default="", repr=False)
    _began: float | None = field(default=None, repr=False)
    _longest: float = field(default=0.0, repr=False)
    _at_work: float = field(default=0.0, repr=False)
    _asked: bool = field(default=False, repr=False)
    _progress: int | None = field(default=None, repr=False)
    _said_at: float = field(default=-math.inf, repr=False)
    _said: tuple[str, int] = field(default=("", 0), repr=False)

    def __post_init__(self) -> None:
        self.durations = self.durations or Durations(self.median_seconds)

    def first_wait(self, now: float) -> float:
        """Return the seconds before the first poll: 0 for a generation that has been running for a while."""
        elapsed = self._elapsed(now)
        if self.poll_interval is not None:
            wait = self.least = max(0.0, self.poll_interval - elapsed)
        else:
            wait = self._adapted(self._known.belief, elapsed, asked=False)
        return self._clip(wait, now)

    def saw(self, view: Generation, now: float) -> Step:
        """Process APIMart's answer."""
        self.polls += 1
        self.failures = 0
        elapsed = self._elapsed(now)
        self.last_word = last_word(view)
        if view.is_final:
            again = self._settling.wait(view, now)
            if again is not None and now < self.deadline:
                self.least = again
                text = (
                    f"APIMart reports generation {self.generation_id} as completed, but without a video; polling again"
                )
                return Step(self._clip(again, now), None, self._once(text), True)
            if again is not None and may_fill(view, now, self.deadline):
                return Step(None, None, self._line(view, now))
            self._learn(view, elapsed)
            return Step(None, view, self._line(view, now))
        if now >= self.deadline:
            return Step(None, None, self._line(view, now))
        self._at_work, self._asked, self._progress = elapsed, True, view.progress
        if self.poll_interval is not None:
            interval = self.least = self.poll_interval
        else:
            interval = self._adapted(self._belief(view, elapsed), elapsed, asked=True)
        if self.last_word and (strange := self._once(f"Generation {self.generation_id}: {self.last_word}")):
            return Step(self._clip(interval, now), None, f"{strange}. The wait goes on", True)
        return Step(self._clip(interval, now), None, self._worth_saying(view, now))

    def failed(self, error: Exception, now: float) -> Step:
        """Process an error: nothing is concluded from it."""
        self.polls += 1
        self.failures += 1
        why = poll_error_text(error)
        self.last_word = why if isinstance(error, InsufficientBalanceError) else f"no usable answer ({error})"
        if now >= self.deadline:
            text = f"no usable answer about generation {self.generation_id} by its deadline: {why}"
            return Step(None, None, text, True)
        seconds = error_interval(self.failures, error)
        # The spread only adds: a ``Retry-After`` is a minimum.
        self.least = seconds * (1 + 0.1 * self.jitter)
        seconds = self._clip(self.least, now)
        # Log the 1st, 2nd, 4th, 8th... in a row, not every one.
        say = self.failures & (self.failures - 1) == 0
        what = f"no usable answer about generation {self.generation_id} ({self.failures} in a row): {error}"
        if isinstance(error, InsufficientBalanceError):
            what = f"{why}. Generation {self.generation_id} is paid for and goes on there"
        text = f"{what}. The wait goes on; polling again in {seconds:.0f} s"
        return Step(seconds, None, text if say else None, True)

    def _elapsed(self, now: float) -> float:
        """Return the seconds since the submission: at least those since this wait began, and never fewer than before.

        The submission's time comes from the worker's clock. If that clock is ahead, or is set back, a job must not look
        as if it had just begun, or it would be polled all the time.
        """
        self._began = now if self._began is None else self._began
        self._longest = max(self._longest, now - self.submitted_at, now - self._began)
        return self._longest

    @property
    def _known(self) -> Durations:
        if self.durations is None:
            raise AssertionError("set when it was made")
        return self.durations

    def _learn(self, view: Generation, elapsed: float) -> None:
        # A failed generation says nothing about how long a video takes.
        if view.status is not GenerationStatus.COMPLETED:
            return
        told = told_seconds(view)
        self._known.finished(self._at_work, elapsed, told)
        if self._asked:
            took = (self._at_work + elapsed) / 2 if told is None else min(elapsed, max(self._at_work, told))
            self._known.progress_was(self._at_work, self._progress, took)

    def _belief(self, view: Generation, elapsed: float) -> Belief:
        belief = self._known.belief
        if not belief.known and view.estimated_seconds and view.estimated_seconds > 0:
            # APIMart's estimates have been up to four times too high, never too low.
            belief = replace(belief, median=max(1.0, min(belief.median, view.estimated_seconds)))
        if view.progress and view.progress >= schedule.LEAST_PROGRESS:
            belief = self._known.foretold(belief, elapsed, view.progress)
        return belief

    def _adapted(self, belief: Belief, elapsed: float, *, asked: bool) -> float:
        wait = self.least = schedule.next_wait(belief, elapsed, asked=asked, spread=self.jitter)
        if self.stretch > 1:
            stretched = schedule.next_wait(belief, elapsed, asked=asked, spread=self.jitter, stretch=self.stretch)
            wait = stretched / self.stretch
        return wait

    def _clip(self, seconds: float, now: float) -> float:
        # The last poll comes at the deadline, not before it and not long after.
        left = max(0.0, self.deadline - now)
        self.least = min(self.least, left)
        return min(seconds, left)

    def _once(self, text: str) -> str | None:
        """Return ``text`` unless it was the last of its kind."""
        if text == self._wondered:
            return None
        self._wondered = text
        return text

    def _worth_saying(self, view: Generation, now: float) -> str | None:
        status, progress = self._said
        since = now - self._said_at
        changed = view.status != status or (view.progress or 0) >= progress + SAY_PROGRESS_STEP
        if since >= SAY_EVERY_SECONDS or (changed and since >= SAY_AT_LEAST_SECONDS):
            self._said_at, self._said = now, (view.status, view.progress or 0)
            return self._line(view, now)
        return None

    def _line(self, view: Generation, now: float) -> str:
        elapsed = self._elapsed(now)
        parts = [f"{view.status} ({view.strange_status!r})" if view.strange_status else str(view.status)]
        if view.progress is not None:
            parts[0] += f" {view.progress} %"
        parts.append(f"{elapsed:.0f} s")
        if not view.is_final:
            left = self._belief(view, elapsed).median - elapsed
            parts.append(f"about {left:.0f} s left" if left > 1 else "taking longer than usual")
        return ", ".join(parts)
