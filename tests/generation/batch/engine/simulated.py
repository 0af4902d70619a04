"""A batch in virtual time: an event loop that does not wait, and an APIMart that costs no network.

What is tried is the engine itself; only the wire, the clock and the landing of bytes are stood in for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.models import Generation, GenerationStatus, Model, Submission, Video
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.batch.draft import PlanDraft
from airflow_provider_apimart.generation.batch.engine.engine import Ending, Engine
from airflow_provider_apimart.generation.batch.engine.purse import Purse
from airflow_provider_apimart.generation.batch.engine.resume import read_ledger
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow, Rules, row_fingerprint
from airflow_provider_apimart.generation.batch.shares import budget_of
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.generation.waiting.account import RequestLane
from airflow_provider_apimart.generation.waiting.rate_limiter import RateLimiter
from airflow_provider_apimart.storage.files import Target
from tests.virtual import virtually

EPOCH = 1_790_000_000.0
PRICE = 0.25
IDENTITY = Identity("tables", "manual__1", "videos")


@dataclass
class Job:
    """One generation at the simulated APIMart."""

    id: str
    key: str
    body: bytes
    created: float
    ends: float
    outcome: str = "completed"


@dataclass
class Api:
    """APIMart, simulated: idempotent, limited, and as faulty as it is told to be.

    :param per_minute: requests a minute, counted in a sliding window; more are answered 429 with Retry-After.
    :param dropped: the share of answers that are lost after the work is done.
    :param outcome_of: how a generation of this prompt and ordinal ends.
    :param model_ends: how a model has ended by now: ``refused``, ``fails``, ``no_channel`` or not at all.
    :param models: the models that it lists.
    :param key_hours: how long it remembers an idempotency key.
    """

    job_seconds: float = 5.0
    spread: float = 0.0
    per_minute: float | None = None
    fixed_window: bool = False
    latency: float = 0.02
    dropped: float = 0.0
    seed: int = 1
    balance: float = float("inf")
    tells_times: bool = True
    key_hours: float = 24.0
    outcome_of: Callable[[str, int], str] = lambda prompt, ordinal: "completed"
    model_ends: Callable[[str], str | None] = lambda model: None
    models: tuple[str, ...] = ()
    refuse: Callable[[str, Any], errors.ApimartError | None] = lambda kind, call: None
    settings: Settings = field(default_factory=lambda: Settings("sk-simulated", "http://127.0.0.1:9"))
    jobs: dict[str, Job] = field(default_factory=dict)
    by_key: dict[str, Job] = field(default_factory=dict)
    posts: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    ordinals: Counter[str] = field(default_factory=Counter)
    throttled: int = 0
    most_at_once: int = 0
    dead: bool = False
    closed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._window: deque[float] = deque()

    async def aclose(self) -> None:
        self.closed += 1

    async def send(self, call: Any, *, repeat: bool = True) -> Any:
        assert not repeat
        await asyncio.sleep(self.latency / 2)
        if self.dead:
            await asyncio.Event().wait()
        now = asyncio.get_running_loop().time()
        kind = {"submission": "submit", "status request": "task", "upload": "upload", "model list request": "models"}[
            call.what
        ]
        self._limit(now)
        self.requests[kind] += 1
        if (error := self.refuse(kind, call)) is not None:
            raise error
        if kind == "models":
            return tuple(Model(id=model) for model in self.models)
        answer = self._submit(call, now) if kind == "submit" else self._task(call, now)
        await asyncio.sleep(self.latency / 2)
        if self._random.random() < self.dropped:
            raise errors.OutcomeUnknownError("the answer was lost")
        return answer

    def _limit(self, now: float) -> None:
        if self.per_minute is None:
            return
        if self.fixed_window:
            start = now // 60 * 60
            while self._window and self._window[0] < start:
                self._window.popleft()
            wait = start + 60 - now
        else:
            while self._window and self._window[0] <= now - 60:
                self._window.popleft()
            wait = self._window[0] + 60 - now if self._window else 0.0
        if len(self._window) >= self.per_minute:
            self.throttled += 1
            raise errors.RateLimitError("slow down", status=429, retry_after_seconds=float(int(wait) + 1))
        self._window.append(now)

    def _submit(self, call: Any, now: float) -> Submission:
        key = call.headers["Idempotency-Key"]
        self.posts[key] += 1
        job = self.by_key.get(key)
        if job is not None and now - job.created < self.key_hours * 3600:
            assert job.body == call.content, "another body under the same key"
            return Submission(generation_id=job.id, replayed=True)
        if self.balance < PRICE:
            raise errors.InsufficientBalanceError("top up", status=402)
        prompt, model = (json.loads(call.content)[name] for name in ("prompt", "model"))
        end = self.model_ends(model)
        if end == "refused":
            raise errors.ModelGoneError(f"The model {model} is no longer available", status=404)
        if end == "no_channel":
            raise errors.NoChannelError(f"No available channel for model {model}", status=503)
        self.ordinals[prompt] += 1
        seconds = self.job_seconds * (1 + self.spread * self._random.random())
        job = Job(f"task_{len(self.jobs):06d}", key, call.content, now, now + seconds)
        job.outcome = "gone" if end == "fails" else self.outcome_of(prompt, self.ordinals[prompt])
        if job.outcome in ("completed", "empty", "late"):
            self.balance -= PRICE
        self.jobs[job.id] = self.by_key[key] = job
        self.most_at_once = max(self.most_at_once, sum(1 for one in self._recent() if one.ends > now))
        return Submission(generation_id=job.id)

    def _recent(self) -> list[Job]:
        jobs = list(self.jobs.values()) if len(self.jobs) < 400 else []
        return jobs

    def _task(self, call: Any, now: float) -> Generation:
        job = self.jobs[call.path.rpartition("/")[2]]
        if now < job.ends:
            return Generation(generation_id=job.id, status=GenerationStatus.PROCESSING, progress=50)
        if job.outcome == "strange":
            return Generation(
                generation_id=job.id, status=GenerationStatus.PROCESSING, raw_status="expired", result_at_hand=True,
                progress=100,
            )  # fmt: skip
        times: dict[str, Any] = {}
        if self.tells_times:
            stamp = [datetime.fromtimestamp(int(EPOCH + one), tz=UTC) for one in (job.created, job.ends)]
            times = {"created_at": stamp[0], "completed_at": stamp[1]}
        if job.outcome in ("failed", "rejected", "gone"):
            return Generation(
                generation_id=job.id,
                status=GenerationStatus.FAILED,
                error_message=job.outcome,
                rejected=job.outcome == "rejected",
                model_gone=job.outcome == "gone",
                **times,
            )
        late = job.outcome == "late" and now < job.ends + 40
        videos = () if job.outcome == "empty" or late else (Video(url=f"http://127.0.0.1:9/{job.id}.mp4"),)
        return Generation(
            generation_id=job.id, status=GenerationStatus.COMPLETED, cost_usd=PRICE, videos=videos, **times
        )

    @property
    def paid(self) -> Counter[str]:
        """How often each prompt was charged."""
        charged = [one for one in self.jobs.values() if one.outcome in ("completed", "empty", "late")]
        return Counter(json.loads(one.body)["prompt"] for one in charged)


class Workers:
    """Lands nothing, at once; blocks nobody."""

    def __init__(self, land: Callable[[str], None] = lambda generation_id: None) -> None:
        self.landed: list[str] = []
        self._on_land = land

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0.002)
        return function(*args)

    async def land(self, settings: Any, record: Any, row: Any, videos: Any) -> tuple[LandedVideo, ...]:
        await asyncio.sleep(0.05)
        self._on_land(record.generation_id)
        self.landed.append(record.generation_id)
        path = f"/videos/{record.generation_id}.mp4"
        return (
            LandedVideo(
                path=path, bytes=1, sha256="0" * 64, duration_seconds=4.0, width=1280, height=720, has_audio=False
            ),
        )

    async def image(self, name: str, path: str, rules: Any) -> Any:
        raise AssertionError("no frames here")


class DyingWriter(JournalWriter):
    """A journal whose process can die: nothing is written from then on."""

    dead = False

    def add(self, lines: Any) -> None:
        if self.dead:
            raise errors.LandingError("dead")
        super().add(lines)


def local(path: Path | str, folder: bool = True) -> Target:
    text = str(path) + ("/" if folder else "")
    return Target(fsspec.filesystem("file"), text, text)


async def _opened(path: str) -> Target:
    return local(path)


def planned(prompts: list[str], estimated_usd: float | None = PRICE) -> list[PlannedRow]:
    seen: Counter[str] = Counter()
    rows = []
    for position, prompt in enumerate(prompts):
        seen[prompt] += 1
        request = VeoRequest(prompt=prompt, duration=4)
        digest = row_fingerprint(request, {})
        key = f"{digest[:32]}-{seen[prompt]}"
        rows.append(PlannedRow(position, position + 1, key, digest, request, {"sku": position}, {}, estimated_usd))
    return rows


@dataclass
class Batch:
    """One task's batch over its tries: the same folder and the same APIMart."""

    folder: Path
    prompts: list[str]
    api: Api
    rules: Rules = field(default_factory=Rules)
    identity: Identity = IDENTITY
    clock: float = 0.0
    said: list[str] = field(default_factory=list)
    written: int = 0
    workers: Workers = field(default_factory=Workers)
    #: On the simulated clock.
    deadline: float | None = None

    def plan(self) -> Plan:
        with PlanDraft() as draft:
            for row in planned(self.prompts):
                draft.add(row, fallback_usd=PRICE)
            return draft.write(
                local(self.folder / "state"),
                identity=self.identity,
                rules=self.rules,
                output_uri="/videos/",
                apimart_conn_id="apimart_default",
                median_seconds=75.0,
            )

    def run(self, *, kill_at: float | None = None, kill_when: Callable[[Engine], bool] | None = None) -> Ending | None:
        """Run one process of the engine; ``None`` where it was killed."""
        plan = self.plan()

        async def work() -> Ending | None:
            loop = asyncio.get_running_loop()
            writer = DyingWriter(plan.journal, "test")
            engine = self._engine(plan, writer)
            task = asyncio.create_task(engine.run())
            try:
                while not task.done():
                    await asyncio.wait([task], timeout=50.0 if kill_at is None and kill_when is None else 0.05)
                    over = kill_at is not None and loop.time() >= kill_at
                    if over or (kill_when is not None and kill_when(engine)):
                        # As with SIGKILL: from now on nothing reaches the disk or the network.
                        writer.dead, self.api.dead = True, True
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                        return None
                return await task
            finally:
                self.clock, self.api.dead = loop.time(), False
                self.written += writer.bytes_written

        ending: Ending | None = virtually(work, self.clock)
        return ending

    def run_beside(self, *delays: float) -> list[Ending]:
        """Run several processes that know nothing of each other, each so many seconds after now, to their ends."""
        plan = self.plan()

        async def one(name: str, delay: float) -> Ending:
            await asyncio.sleep(delay)
            return await self._engine(plan, DyingWriter(plan.journal, name)).run()

        async def work() -> list[Ending]:
            try:
                return list(await asyncio.gather(*(one(f"test{place}", delay) for place, delay in enumerate(delays))))
            finally:
                self.clock = asyncio.get_running_loop().time()

        endings: list[Ending] = virtually(work, self.clock)
        return endings

    def _engine(self, plan: Plan, writer: DyingWriter) -> Engine:
        log = logging.getLogger(f"simulated.{id(self)}")
        log.setLevel(logging.INFO)
        log.propagate = False
        log.handlers = [_Keep(self.said)]
        loop = asyncio.get_running_loop()

        def now() -> float:
            return EPOCH + loop.time()

        async def open_client() -> Api:
            return self.api

        limit = self.rules.requests_per_minute
        lane = RequestLane.alone(open_client, None if limit is None else RateLimiter(limit), loop.time)
        deadline = None if self.deadline is None else EPOCH + self.deadline
        found = budget_of(plan)
        purse = None if found is None else Purse(plan, *found, open_target=_opened, offload=self.workers.offload)
        return Engine(
            plan, workers=self.workers, lane=lane, writer=writer, log=log, now=now, deadline=deadline, purse=purse
        )

    def again(self, **changes: Any) -> None:
        """Change the rules for the next try."""
        self.rules = replace(self.rules, **changes)

    def outcomes(self) -> Counter[Outcome]:
        plan = self.plan()
        ledger = read_ledger(plan)
        return Counter(
            ledger.rows[slot].row_outcome if slot in ledger.rows else Outcome.LEFT for slot in plan.index.slots
        )


class _Keep(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


HOURS = timedelta(hours=1)
