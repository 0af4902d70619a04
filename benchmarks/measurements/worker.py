"""A worker that carries out mapped tasks, each part in a process of its own, as Airflow's executors do:
``python -m benchmarks.measurements.worker '{…}'``.

This process has loaded what a LocalExecutor's has. For each part of a task it forks; the child parses the DAG file,
runs Airflow's own task runner and ends. The supervisor is stood in for: it answers from memory and notes each request.
What the triggers wait for is waited for by the triggers themselves, all in one further process.

It prints one line of JSON: for each part of each task its CPU seconds, its requests, and the modules that it loaded.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import pickle
import runpy
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: What a worker process of the LocalExecutor has loaded: it is forked from the scheduler.
LOADED = (
    "airflow.jobs.scheduler_job_runner",
    "airflow.executors.local_executor",
    "airflow.dag_processing.dagbag",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.triggers.base",
)


class Supervisor:
    """Answers a task's requests.

    :param connections: by id, as Airflow's environment variables have them.
    :param state: the task state store of each task.
    """

    def __init__(self, connections: dict[str, Any], state: dict[str, Any]) -> None:
        self.connections, self.state = connections, state
        self.requests: list[str] = []
        self.last: Any = None
        self.socket = None

    def send(self, msg: Any) -> Any:
        """Answer one request."""
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time import comms

        kind = type(msg).__name__
        self.requests.append(f"{kind} {msg.key}" if kind == "SetXCom" else kind)
        self.last = msg
        if kind == "GetConnection":
            found = self.connections[msg.conn_id]
            fields = dict.fromkeys(("host", "schema", "login", "password", "port", "extra")) | found
            return comms.ConnectionResult.model_validate({"conn_id": msg.conn_id, **fields})
        if kind == "GetTaskStateStore":
            key = f"{msg.ti_id} {msg.key}"
            if key in self.state:
                return comms.TaskStateStoreResult(value=self.state[key])
            # As the supervisor says it: there is none.
            return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND, detail={})
        if kind == "SetTaskStateStore":
            self.state[f"{msg.ti_id} {msg.key}"] = msg.value
        if kind == "GetXCom":
            return comms.XComResult(key=msg.key, value=None)
        if kind == "ValidateInletsAndOutlets":
            return comms.InactiveAssetsResult(inactive_assets=[])
        return comms.OKResponse(ok=True) if kind == "SetTaskStateStore" else None


def details(dag_file: str, index: int, next_method: str | None = None, next_kwargs: Any = None) -> Any:
    """Return what a supervisor tells a task at its start."""
    from airflow.sdk.api.datamodels import _generated as api
    from airflow.sdk.execution_time.comms import StartupDetails

    one = uuid.uuid5(uuid.NAMESPACE_URL, str(index))
    run = {"dag_id": "bench", "run_id": "manual__1", "logical_date": NOW, "data_interval_start": NOW}
    times = {"data_interval_end": NOW, "run_after": NOW, "start_date": NOW, "end_date": None}
    kind = {"run_type": "manual", "state": "running", "consumed_asset_events": [], "partition_key": None}
    ti = {"id": one, "task_id": "make", "dag_id": "bench", "run_id": "manual__1", "try_number": 1}
    return StartupDetails.model_validate(
        {
            "ti": {**ti, "dag_version_id": one, "map_index": index, "hostname": "bench"},
            "dag_rel_path": dag_file,
            "bundle_info": {"name": "dags-folder"},
            "start_date": NOW,
            "ti_context": api.TIRunContext(
                dag_run=api.DagRun.model_validate({**run, **times, **kind}),
                max_tries=3,
                should_retry=True,
                next_method=next_method,
                next_kwargs=next_kwargs,
            ),
            "sentry_integration": "",
        }
    )


def part_of(startup: Any, connections: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """Carry out one part of a task in this process, and return what was seen."""
    from airflow.sdk.execution_time import task_runner

    before = set(sys.modules)
    supervisor = Supervisor(connections, state)
    task_runner.SUPERVISOR_COMMS = supervisor  # type: ignore[assignment]
    ti, context, log = task_runner.startup(startup)
    outcome, message, error = task_runner.run(ti, context, log)
    context["exception"] = error
    task_runner.finalize(ti, outcome, context, log, error)
    if error is not None:
        raise error
    found: dict[str, Any] = {"requests": supervisor.requests, "state": state, "outcome": str(outcome)}
    found["modules"] = sorted(set(sys.modules) - before)
    if message is not None and type(message).__name__ == "DeferTask":
        names = ("classpath", "trigger_kwargs", "next_method", "next_kwargs")
        found["deferred"] = {name: getattr(message, name) for name in names}
    return found


def forked(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run something in a forked process, and return what it returns with the CPU seconds that it has used."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            found = work()
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(found, pipe)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            # As Airflow's own task processes end.
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    _, status, used = os.wait4(pid, 0)
    if status or not told:
        raise RuntimeError("a part of a task failed; what it said is above")
    found: dict[str, Any] = pickle.loads(told)  # noqa: S301 - from our own child
    return found | {"cpu_seconds": used.ru_utime + used.ru_stime}


def events_of(dag_file: Path, deferred: Iterable[dict[str, Any]], connections: dict[str, Any]) -> dict[str, Any]:
    """Run the triggers to their first events, all at once.

    :param dag_file: it is loaded first, with what it replaces in a provider.
    """
    from airflow.sdk._shared.module_loading import import_string
    from airflow.sdk.serde import deserialize

    runpy.run_path(str(dag_file))
    for name, found in connections.items():
        os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps({k: v for k, v in found.items() if v is not None})

    async def first(one: dict[str, Any]) -> Any:
        trigger = import_string(one["classpath"])(**deserialize(one["trigger_kwargs"]))
        async for event in trigger.run():
            return event.payload

    async def every() -> list[Any]:
        return list(await asyncio.gather(*map(first, deferred)))

    return {"events": asyncio.run(every())}


def main() -> None:
    """Carry out the tasks, and print."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(asked["folder"])
    (folder / "dags").mkdir(parents=True, exist_ok=True)
    dag_file = folder / "dags" / "bench.py"
    dag_file.write_text(asked["dag"])
    options = {
        **{"CORE__DAGS_FOLDER": f"{folder}/dags", "CORE__LOAD_EXAMPLES": "False", "LOGGING__LOGGING_LEVEL": "WARNING"},
        **{"DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db", "OPENLINEAGE__DISABLED": "True"},
    }
    os.environ |= {"AIRFLOW_HOME": str(folder), **{f"AIRFLOW__{name}": value for name, value in options.items()}}
    for module in LOADED:
        __import__(module)
    logging.disable(logging.INFO)
    connections, rows = asked["connections"], range(asked["rows"])
    gc.collect()
    gc.freeze()
    sys.path.insert(0, str(folder / "dags"))
    first = [forked(lambda i=index: part_of(details("bench.py", i), connections, {})) for index in rows]  # type: ignore[misc]
    events = forked(lambda: events_of(dag_file, [each["deferred"] for each in first], connections))["events"]
    second = []
    for index, (before, event) in enumerate(zip(first, events, strict=True)):
        from airflow.sdk.serde import serialize

        kwargs = {**before["deferred"]["next_kwargs"], **serialize({"event": event})}  # type: ignore[dict-item]
        startup = details("bench.py", index, before["deferred"]["next_method"], kwargs)
        second.append(forked(lambda s=startup, b=before: part_of(s, connections, b["state"])))  # type: ignore[misc]
    names = ("cpu_seconds", "requests", "modules", "outcome")
    print(
        json.dumps([[{name: part[name] for name in names} for part in parts] for parts in (first, second)]),
        file=told,
        flush=True,
    )


if __name__ == "__main__":
    main()
