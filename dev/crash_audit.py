"""Checks that every requested video is paid for once and is complete: at the emulator, on disk and in Airflow.

The audit does not trust what the provider says about itself. The bill comes from the emulator, the bytes of each video
are fetched from it again, and the folder may hold only files that a task has returned.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from airflow_provider_apimart.emulator.control.client import EmulatorControl
from airflow_provider_apimart.generation.pricing.prices import list_price
from dev.airflow_api import AirflowApi
from dev.crash_storage import Storage

XCOM_KEYS = {
    "generation_id",
    "status",
    "model",
    "cost_usd",
    "submitted_at",
    "completed_at",
    "videos",
    "mismatches",
    "fallback_from",
}


@dataclass
class Audit:
    """The findings of an audit.

    :param problems: one sentence each; empty if everything is correct.
    """

    asked: int = 0
    paid: int = 0
    bill_usd: float = 0.0
    expected_usd: float = 0.0
    generations: int = 0
    posts: int = 0
    landed: int = 0
    #: Tasks that make videos, and their tries; a batch is one task for many videos.
    tasks: int = 0
    tries: int = 0
    problems: list[str] = field(default_factory=list)
    #: What else the report tells.
    notes: list[str] = field(default_factory=list)

    @property
    def replays(self) -> int:
        """POSTs that were answered with an existing generation."""
        return self.posts - self.generations


@dataclass
class Report:
    """What a crash run did, and its result."""

    audit: Audit
    events: Counter[str]
    #: The tasks that had used up their tries, each with the last error of its log.
    cleared: dict[str, str]
    #: How often Airflow itself logged that a task's process and its state disagree.
    mismatches: int
    seconds: float

    def text(self) -> str:
        """Return the summary."""
        found = self.audit
        lines = [f"chaos      {', '.join(f'{count} x {name}' for name, count in sorted(self.events.items()))}"]
        lines += [f"tries      {found.tries} for {found.tasks} tasks, {len(self.cleared)} cleared once"]
        lines += [f"           {name}: {why}" for name, why in self.cleared.items()]
        lines += [f"Airflow    {self.mismatches} lines of its scheduler on a task whose state is not its process's"]
        lines += [f"POSTs      {found.posts}, of which {found.replays} were answered with a generation made before"]
        lines += [f"paid       {found.paid} generations for {found.asked} asked ones ({found.generations} made)"]
        lines += [f"bill       {found.bill_usd:.3f} USD, expected {found.expected_usd:.3f}"]
        lines += [f"landed     {found.landed} whole videos"]
        lines += found.notes
        lines += [f"PROBLEM    {problem}" for problem in found.problems]
        return "\n".join(
            [*lines, f"time       {self.seconds:.0f} s", "" if found.problems else "Nothing lost, nothing paid twice."]
        )


def prompt_of(run_id: str, task: Mapping[str, Any]) -> str:
    """Return the prompt of a task of ``crash_cases``."""
    return f"crash {run_id} {task['task_id']} {task['map_index']}"


@dataclass(frozen=True)
class Wanted:
    """One video that somebody asked for, and what they were told about it.

    :param prompt: unique over all runs.
    :param usd: its price.
    :param result: ``generation_id``, ``cost_usd`` and ``videos``, as an XCom or a manifest has them.
    :param problem: why there is no result.
    """

    prompt: str
    usd: Decimal
    result: Mapping[str, Any] | None = None
    problem: str = ""


def audit(api: AirflowApi, emulator: EmulatorControl, dag_id: str, run_ids: list[str], storage: Storage) -> Audit:
    """Check everything that runs of ``crash_cases`` should have made."""
    found = Audit()
    check(found, emulator.state(), crash_cases(api, dag_id, run_ids, found), storage)
    return found


def crash_cases(api: AirflowApi, dag_id: str, run_ids: list[str], found: Audit) -> list[Wanted]:
    """Return what runs of ``crash_cases`` asked for; counts their tries."""
    price = price_of_clip()
    wanted = []
    for run_id, task in [(each, task) for each in run_ids for task in api.task_instances(dag_id, each)]:
        prompt = prompt_of(run_id, task)
        found.tries += int(task["try_number"])
        found.tasks += 1
        if task["state"] != "success":
            wanted.append(Wanted(prompt, price, problem=f"the task ended as {task['state']}"))
            continue
        value = api.xcom(dag_id, run_id, task["task_id"], map_index=task["map_index"])
        # (PostgreSQL keeps JSON without the order of its keys.)
        whole = isinstance(value, dict) and set(value) == XCOM_KEYS
        wanted.append(
            Wanted(prompt, price, value) if whole else Wanted(prompt, price, problem=f"the XCom is {value!r}")
        )
    return wanted


def price_of_clip(generate_audio: bool = False) -> Decimal:
    """Return the price of what all DAGs of crash runs ask for: four seconds of one model."""
    price = list_price("veo3.1-fast-official", duration_seconds=4, generate_audio=generate_audio)
    if price is None:
        raise AssertionError("the model of crash_cases has a price")
    return price.usd


def check(
    found: Audit, state: Mapping[str, Any], wanted: Sequence[Wanted], storage: Storage, others: Set[str] = frozenset()
) -> None:
    """Check bill, videos and files against what was wanted; adds to ``found``.

    :param state: what the emulator says.
    :param others: names of files that are no landed videos and belong to somebody.
    """
    found.asked += len(wanted)
    _money(found, state, wanted)
    made = {one["prompt"]: one for one in state["generations"] if one["charged_usd"] > 0}
    kept: set[str] = set()
    with httpx.Client(trust_env=False, timeout=60) as http:
        for one in wanted:
            if one.result is None:
                found.problems.append(f"{one.prompt}: {one.problem}")
                continue
            problems, files = _video(one.prompt, one.result, made.get(one.prompt), http, storage)
            found.problems += problems
            found.landed += not problems
            kept |= files
    found.problems += [f"{name} is nobody's" for name in sorted(storage.names() - kept - others)]


def _money(found: Audit, state: Mapping[str, Any], wanted: Sequence[Wanted]) -> None:
    generations = state["generations"]
    asked = {one.prompt for one in wanted}
    charged = Counter(one["prompt"] for one in generations if one["charged_usd"] > 0)
    found.generations, found.posts = len(generations), state["posts"]
    found.paid, found.bill_usd = charged.total(), state["bill_usd"]
    found.expected_usd = float(sum((one.usd for one in wanted), Decimal(0)))
    for prompt in sorted({*charged, *asked}):
        if prompt not in asked:
            found.problems.append(f"{prompt}: paid for, and nobody asked for it")
        elif charged[prompt] != 1:
            ids = [(one["id"], one["idempotency_key"], one["status"]) for one in generations if one["prompt"] == prompt]
            found.problems.append(f"{prompt}: paid for {charged[prompt]} times: {ids}")
    if abs(found.bill_usd - found.expected_usd) > 1e-6 or state["reserved_usd"]:
        found.problems.append(
            f"the bill is {found.bill_usd} USD (and {state['reserved_usd']} reserved), not {found.expected_usd}"
        )


def _video(
    prompt: str,
    value: Mapping[str, Any],
    generation: Mapping[str, Any] | None,
    http: httpx.Client,
    storage: Storage,
) -> tuple[list[str], set[str]]:
    """Return what is wrong with one video, and the files that belong to it."""
    if len(value["videos"]) != 1:
        return [f"{prompt}: the result is {value!r}"], set()
    if generation is None or value["generation_id"] != generation["id"]:
        return [f"{prompt}: returned {value['generation_id']}, paid for {generation and generation['id']}"], set()
    (video,) = value["videos"]
    path = storage.name(str(video["path"]))
    beside = f"{path}.json"
    data, note = storage.read(path), storage.read(beside)
    if data is None or note is None:
        return [f"{prompt}: {path} or its sidecar is missing"], set()
    sidecar = json.loads(note)
    served = http.get(generation["urls"][0]).raise_for_status().content
    digest = hashlib.sha256(data).hexdigest()
    wrong = []
    if data != served:
        wrong.append(f"{prompt}: {path} ({len(data)} bytes) is not what the emulator serves ({len(served)} bytes)")
    if (video["sha256"], video["bytes"]) != (digest, len(data)) or sidecar["video"]["sha256"] != digest:
        wrong.append(f"{prompt}: result, sidecar and file disagree on {path}")
    if sidecar["generation_id"] != generation["id"] or value["cost_usd"] != generation["charged_usd"]:
        wrong.append(f"{prompt}: {beside} or the cost {value['cost_usd']} is another generation's")
    return wrong, {path, beside}
