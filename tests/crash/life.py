"""One task's life as Airflow runs it: tries, the deferral, the trigger, the resumption, and what is kept in between.

Each part (``execute``, ``trigger``, ``complete``) can run in a process of its own. What Airflow would write into its
database between two parts goes through JSON files here, so nothing else can leak from one part into the next.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow.sdk import DAG
from airflow.sdk.io import attach
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_apimart.generation.pricing.budget import Budget
from airflow_provider_apimart.generation.waiting import schedule
from airflow_provider_apimart.operators.generation import GenerationOperator
from airflow_provider_apimart.operators.remix import VeoRemixOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from airflow_provider_apimart.triggers import veo as trigger_module
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger
from tests.airflow_at_hand import HAS_STATE_STORE

RETRIES = 8
#: 1x1, a whole PNG.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)
Cross = Callable[[str], None]


def run_loop(work: Callable[[], Any]) -> Any:
    """Run a trigger on an event loop of its own."""
    return asyncio.run(work())


class KeptFileSystem(LocalFileSystem):
    """A storage that is neither local nor an object store by its name, and outlives its process."""

    protocol = "kept"

    @classmethod
    def _strip_protocol(cls, path: Any, **kwargs: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return super()._strip_protocol(str(path).removeprefix("kept://"), **kwargs)


def offer_kept() -> None:
    """Make Airflow know paths that begin with ``kept://``."""
    fsspec.register_implementation("kept", KeptFileSystem, clobber=True)
    attach("kept", fs=KeptFileSystem())


#: Where a record can be kept with the Airflow at hand.
STORES = ("task_state", "beside") if HAS_STATE_STORE else ("beside",)


@dataclass(frozen=True)
class Plan:
    """What one task is asked to do.

    :param store: ``task_state`` (Airflow 3.3) or ``beside`` (an object beside the output).
    :param budget_usd: what its DAG may spend in a month; ``None``: no budget.
    :param remix_of: extend this generation of veo3.1-fast instead of making a new video.
    """

    name: str
    folder: str
    deferrable: bool = True
    store: str = STORES[0]
    scheme: str = "file"
    into_folder: bool = False
    samples: int = 1
    on_clear: str = "reuse"
    remix_of: str = ""
    budget_usd: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        return f"case {self.name} of the crash matrix"

    @property
    def out(self) -> Path:
        return Path(self.folder, "out")

    @property
    def db(self) -> Path:
        return Path(self.folder, "db")

    @property
    def budget_folder(self) -> str:
        return f"{self.folder}/budget"

    @property
    def output_path(self) -> str:
        return f"{self.scheme}://{self.out}/{'' if self.into_folder else 'clip.mp4'}"


class FileStateStore:
    """Stands in for Airflow's task state store: JSON values of at most 64 KB that outlive the process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, key: str, default: Any = None) -> Any:
        return self._all().get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if len(json.dumps(value)) > 65_535:
            raise ValueError("value is larger than 64 KB")
        write_json(self.path, {**self._all(), key: value})

    def _all(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}


def write_json(path: Path, value: Any) -> None:
    """Write all or nothing, as a database would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".new")
    part.write_text(json.dumps(value))
    os.replace(part, path)


def shrink_waits() -> None:
    """Make the product's waits short: the order of events is what is tried here, not their pace."""
    schedule.FIRST_POLL_SECONDS = 0.01
    schedule.MIN_INTERVAL_SECONDS = schedule.LEAST_SECONDS = 0.03
    schedule.MAX_INTERVAL_SECONDS = schedule.MAX_EARLY_INTERVAL_SECONDS = 0.05
    trigger_module.FIRST_EVENT_SECONDS = 0.0


def prepare(plan: Plan) -> None:
    plan.db.mkdir(parents=True)
    Path(plan.folder, "frame.png").write_bytes(PNG)


def context_of(plan: Plan, try_number: int, cleared_after: int = 0) -> dict[str, Any]:
    """Return what Airflow hands to ``execute``.

    :param cleared_after: how many tries had been made when the task was cleared.
    """
    operator: GenerationOperator
    common = {
        "task_id": "video",
        "prompt": plan.prompt,
        "output_path": plan.output_path,
        "deferrable": plan.deferrable,
        "on_clear": plan.on_clear,
        "retries": RETRIES,
        **plan.options,
    }
    if plan.budget_usd is not None:
        common["budget"] = Budget(plan.budget_usd, "month", plan.budget_folder)
    with DAG(dag_id=f"crash_{plan.name}", schedule=None):
        if plan.remix_of:
            operator = VeoRemixOperator(source=plan.remix_of, model="veo3.1-fast", **common)
        else:
            frame = str(Path(plan.folder, "frame.png"))
            operator = VeoGenerateOperator(duration=4, first_frame_image=frame, sample_count=plan.samples, **common)
    ti = SimpleNamespace(
        dag_id=f"crash_{plan.name}",
        run_id="manual__2026-01-01T00:00:00+00:00",
        task_id="video",
        map_index=-1,
        try_number=try_number,
        max_tries=cleared_after + RETRIES,
    )
    context = {"ti": ti, "task": operator}
    if plan.store == "task_state":
        context["task_state_store"] = FileStateStore(plan.db / "state.json")
    return context


def nothing(label: str) -> None:
    """Cross a boundary unharmed."""


def run_part(plan: Plan, part: str, context: dict[str, Any], given: Any, cross: Cross = nothing) -> None:
    """Run one part and write down what became of it, as Airflow's worker or triggerer would.

    :param given: what the part before it left: the trigger and its kwargs, or the kwargs of the resumption.
    """
    outcome: dict[str, Any]
    try:
        if part == "trigger":
            outcome = {"event": run_loop(lambda: _first_event(given))}
        else:
            operator = context["task"]
            if part == "execute":
                (plan.db / "xcom.json").unlink(missing_ok=True)  # Airflow wipes it, too.
                result = operator.execute(context)
            else:
                result = operator.resume_execution(given["method"], given["kwargs"], context)
            cross("before:xcom")
            write_json(plan.db / "xcom.json", result)
            cross("after:xcom")
            outcome = {"success": True}
    except TaskDeferred as deferral:
        outcome = {
            "deferred": {
                "trigger": deferral.trigger.serialize(),
                "method": deferral.method_name,
                "kwargs": deferral.kwargs,
            }
        }
    except AirflowFailException as error:
        outcome = {"failed": str(error), "for_good": True}
    except Exception as error:
        outcome = {"failed": f"{type(error).__name__}: {error}", "for_good": False}
    cross(f"before:{part} persisted")
    write_json(plan.db / "outcome.json", outcome)
    cross(f"after:{part} persisted")


async def _first_event(given: Any) -> Any:
    path, kwargs = given
    assert path == f"{VeoGenerationTrigger.__module__}.{VeoGenerationTrigger.__qualname__}"
    events = VeoGenerationTrigger(**kwargs).run()
    try:
        async for event in events:
            return event.payload
    finally:
        await events.aclose()
    raise AssertionError("the trigger ended without an event")


@dataclass
class Lived:
    """How a life ended."""

    plan: dict[str, Any]
    tries: int = 0
    parts: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    for_good: bool = False
    success: bool = False
    xcom: Any = None


Runner = Callable[[str, Callable[[Cross], None]], bool]
"""Runs a part, maybe in a child; false when it was killed."""


def live(plan: Plan, runner: Runner, *, tries: int = RETRIES + 1, first_try: int = 1, cleared_after: int = 0) -> Lived:
    """Run a task until it has succeeded or has no try left."""
    lived = Lived(asdict(plan))
    for number in range(first_try, first_try + tries):
        lived.tries += 1
        part, given = "execute", None
        while True:
            context = context_of(plan, number, cleared_after)
            (plan.db / "outcome.json").unlink(missing_ok=True)
            lived.parts.append(part)

            def work(cross: Cross, part: str = part, context: Any = context, given: Any = given) -> None:
                run_part(plan, part, context, given, cross)

            if not runner(part, work):
                lived.killed.append(part)
            path = plan.db / "outcome.json"
            outcome = json.loads(path.read_text()) if path.exists() else None
            if outcome is None:
                if part == "trigger":
                    continue  # The triggerer starts anew and runs the trigger again, from its kwargs.
                break  # The worker has died: the try has failed.
            if "deferred" in outcome:
                deferred = outcome["deferred"]
                part, given = "trigger", deferred["trigger"]
            elif "event" in outcome:
                kwargs = {**deferred["kwargs"], "event": outcome["event"]}
                part, given = "complete", {"method": deferred["method"], "kwargs": kwargs}
            elif "success" in outcome:
                lived.success, lived.xcom = True, json.loads((plan.db / "xcom.json").read_text())
                return lived
            else:
                lived.failures.append(outcome["failed"])
                lived.for_good = outcome["for_good"]
                break
        if lived.for_good:
            break
    return lived
