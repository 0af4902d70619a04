"""Checks that every requested video is paid for once and is complete: at the emulator, on disk and in Airflow.

The audit does not trust what the provider says about itself. The bill comes from the emulator, the bytes of each video
are fetched from it again, and the folder may hold only files that a task has returned.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from airflow_provider_apimart.emulator.control.client import EmulatorControl
from airflow_provider_apimart.generation.pricing.prices import list_price
from airflow_provider_apimart.hooks.stores.model_stores import RECORD_FOLDER
from dev.airflow_api import AirflowApi

XCOM_KEYS = [
    "generation_id",
    "status",
    "model",
    "cost_usd",
    "submitted_at",
    "completed_at",
    "videos",
    "mismatches",
    "fallback_from",
]


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
    tries: int = 0
    problems: list[str] = field(default_factory=list)

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
        lines += [f"tries      {found.tries} for {found.asked} tasks, {len(self.cleared)} cleared once"]
        lines += [f"           {name}: {why}" for name, why in self.cleared.items()]
        lines += [f"Airflow    {self.mismatches} lines of its scheduler on a task whose state is not its process's"]
        lines += [f"POSTs      {found.posts}, of which {found.replays} were answered with a generation made before"]
        lines += [f"paid       {found.paid} generations for {found.asked} asked ones ({found.generations} made)"]
        lines += [f"bill       {found.bill_usd:.3f} USD, expected {found.expected_usd:.3f}"]
        lines += [f"landed     {found.landed} whole videos"]
        lines += [f"PROBLEM    {problem}" for problem in found.problems]
        return "\n".join(
            [*lines, f"time       {self.seconds:.0f} s", "" if found.problems else "Nothing lost, nothing paid twice."]
        )


def prompt_of(run_id: str, task: Mapping[str, Any]) -> str:
    """Return the prompt of a task of ``crash_cases``."""
    return f"crash {run_id} {task['task_id']} {task['map_index']}"


def audit(api: AirflowApi, emulator: EmulatorControl, dag_id: str, run_ids: list[str], root: Path) -> Audit:
    """Check everything that the runs should have made."""
    found = Audit()
    state = emulator.state()
    asked = {
        prompt_of(run_id, task): (run_id, task) for run_id in run_ids for task in api.task_instances(dag_id, run_id)
    }
    found.asked = len(asked)
    _money(found, state, asked)
    made = {one["prompt"]: one for one in state["generations"] if one["charged_usd"] > 0}
    kept: set[Path] = set()
    with httpx.Client(trust_env=False, timeout=60) as http:
        for prompt, (run_id, task) in asked.items():
            found.tries += int(task["try_number"])
            if task["state"] != "success":
                found.problems.append(f"{prompt}: the task ended as {task['state']}")
                continue
            value = api.xcom(dag_id, run_id, task["task_id"], map_index=task["map_index"])
            problems, files = _video(prompt, value, made.get(prompt), http)
            found.problems += problems
            found.landed += not problems
            kept |= files
    # Before Airflow 3.3 the records are kept beside the videos.
    strays = {path for path in root.rglob("*") if path.is_file() and path.parent.name != RECORD_FOLDER} - kept
    found.problems += [f"{path} is nobody's" for path in sorted(strays)]
    return found


def _money(found: Audit, state: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    price = list_price("veo3.1-fast-official", duration_seconds=4)
    if price is None:
        raise AssertionError("the model of crash_cases has a price")
    generations = state["generations"]
    charged = Counter(one["prompt"] for one in generations if one["charged_usd"] > 0)
    found.generations, found.posts = len(generations), state["posts"]
    found.paid, found.bill_usd = charged.total(), state["bill_usd"]
    found.expected_usd = float(price.usd * len(asked))
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
    prompt: str, value: Any, generation: Mapping[str, Any] | None, http: httpx.Client
) -> tuple[list[str], set[Path]]:
    """Return what is wrong with one task's video, and the files that belong to it."""
    if not isinstance(value, dict) or list(value) != XCOM_KEYS or len(value["videos"]) != 1:
        return [f"{prompt}: the XCom is {value!r}"], set()
    if generation is None or value["generation_id"] != generation["id"]:
        return [f"{prompt}: returned {value['generation_id']}, paid for {generation and generation['id']}"], set()
    (video,) = value["videos"]
    path = Path(unquote(urlsplit(str(video["path"])).path))
    beside = path.with_name(f"{path.name}.json")
    if not (path.is_file() and beside.is_file()):
        return [f"{prompt}: {path} or its sidecar is missing"], set()
    data, sidecar = path.read_bytes(), json.loads(beside.read_text("utf-8"))
    served = http.get(generation["urls"][0]).raise_for_status().content
    digest = hashlib.sha256(data).hexdigest()
    wrong = []
    if data != served:
        wrong.append(f"{prompt}: {path} ({len(data)} bytes) is not what the emulator serves ({len(served)} bytes)")
    if (video["sha256"], video["bytes"]) != (digest, len(data)) or sidecar["video"]["sha256"] != digest:
        wrong.append(f"{prompt}: XCom, sidecar and file disagree on {path}")
    if sidecar["generation_id"] != generation["id"] or value["cost_usd"] != generation["charged_usd"]:
        wrong.append(f"{prompt}: {beside} or the cost {value['cost_usd']} is another generation's")
    return wrong, {path, beside}
