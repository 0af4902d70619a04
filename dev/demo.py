"""``make demo``: the marketing example through a real Airflow, with the emulator in APIMart's place.

Everything is created under ``.demo``, which is wiped at the start. The summary at the end is measured independently:
the files on disk are measured and hashed again, and the bill comes from the emulator.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow, wipe
from dev.stage import EXAMPLE_DAGS, JOB_SECONDS, REPO, connections_env, end_on_signals

DAG_ID = "example_marketing_run"
HOME = REPO / ".demo"
VIDEOS = HOME / "videos"
RUN_SECONDS = 240
#: How the provider words the state of a generation in the task log.
PROGRESS = re.compile(r"[a-z_]+(?: \d+ %)?, \d+ s(?:, .*)?$")
#: Reading logs is more work for the small Airflow than reading states.
LOG_EVERY_SECONDS = 4.0


class DemoError(RuntimeError):
    """The demo failed; the message is for the user."""


@dataclass(frozen=True)
class Landed:
    """One video, as found on disk."""

    path: Path
    size: int
    sha256: str
    video: Mapping[str, Any]
    generation: Mapping[str, Any]


class Progress:
    """Prints a line whenever a task changes its state or its generation progresses."""

    def __init__(self, airflow: LocalAirflow, run_id: str) -> None:
        self.airflow = airflow
        self.run_id = run_id
        self.started = time.monotonic()
        self._said: dict[str, str] = {}
        self._logs_read_at = 0.0

    def say(self, text: str) -> None:
        """Print a line with the seconds since the run began."""
        print(f"  {time.monotonic() - self.started:4.0f} s  {text}", flush=True)

    def __call__(self, tasks: list[dict[str, Any]]) -> None:
        """Take the task instances of one poll."""
        read_logs = time.monotonic() - self._logs_read_at >= LOG_EVERY_SECONDS
        for task in tasks:
            label = _label(task)
            state = str(task["state"] or "")
            if state == "deferred" and read_logs:
                state = f"deferred: {self._generation(task)}"
            elif state == "deferred":
                continue
            if state and self._said.get(label) != state:
                self._said[label] = state
                self.say(f"{label:<24} {state}")
        if read_logs:
            self._logs_read_at = time.monotonic()

    def _generation(self, task: Mapping[str, Any]) -> str:
        log = self.airflow.task_log(DAG_ID, self.run_id, task["task_id"], task["try_number"], task["map_index"])
        found = [match.group() for line in log.splitlines() if (match := PROGRESS.search(line.strip()))]
        return found[-1] if found else "waiting, no worker slot taken"


def _label(task: Mapping[str, Any]) -> str:
    return str(task["task_id"]) if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"


def generations(airflow: LocalAirflow, run_id: str) -> list[dict[str, Any]]:
    """Return the results of all generating tasks of the run."""
    found = []
    for task in airflow.task_instances(DAG_ID, run_id):
        value = airflow.xcom(DAG_ID, run_id, task["task_id"], map_index=task["map_index"])
        if isinstance(value, dict) and "generation_id" in value and "videos" in value:
            found.append(value)
    return list({value["generation_id"]: value for value in found}.values())


def landed(results: list[dict[str, Any]]) -> list[Landed]:
    """Return the videos of the results, as found on disk.

    :raises DemoError: if one is missing or differs from its result.
    """
    found = []
    for generation in results:
        for video in generation["videos"]:
            if not video["path"]:
                raise DemoError(f"generation {generation['generation_id']} landed no file")
            path = Path(unquote(urlsplit(str(video["path"])).path))
            if not path.is_file():
                raise DemoError(f"{path} was reported as landed and is not there")
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if (len(data), digest) != (video["bytes"], video["sha256"]):
                raise DemoError(f"{path} is not what its result says: {len(data)} bytes, sha256 {digest}")
            found.append(Landed(path, len(data), digest, video, generation))
    if not found:
        raise DemoError("the run succeeded, but no task of it returned a landed video")
    return found


def report(videos: list[Landed], state: Mapping[str, Any]) -> None:
    """Print what was landed and what it cost."""
    print("\nLanded videos")
    for each in videos:
        video = each.video
        sound = "with sound" if video["has_audio"] else "silent"
        facts = f"{each.size / 1024:,.0f} KiB, {float(video['duration_seconds']):.1f} s, "
        print(f"  {_shown(each.path)}")
        print(f"    {facts}{video['width']}x{video['height']}, {sound}, {each.generation['model']}")
        print(f"    sha256 {each.sha256}")
    print("\nCost")
    paid = {str(each.generation["generation_id"]): each.generation for each in videos}
    for key, generation in paid.items():
        print(f"  ${float(generation['cost_usd'] or 0):.3f}  {key}")
    total = sum(float(generation["cost_usd"] or 0) for generation in paid.values())
    print(f"  ${total:.3f}  in sum; the emulator's bill: ${float(state['bill_usd']):.3f} (no real money)")


def published(state: Mapping[str, Any], page: str) -> None:
    """Print what the emulated channel and the CMS hold, and keep the channel's page.

    :raises DemoError: if a video was posted twice, or not at all.
    """
    place = HOME / "channel.html"
    place.write_text(page, encoding="utf-8")
    print("\nOn the emulated YouTube channel")
    for video in state["youtube"]:
        status = video["status"]
        when = f"public at {status['publishAt']}" if status.get("publishAt") else status["privacyStatus"]
        label = ", labelled as made by AI" if status.get("containsSyntheticMedia") else ""
        print(f"  {video['snippet']['title']}: {when}{label}")
    seen = len(state["posts"]) - len(state["webhook"])
    print(f"  {len(state['youtube'])} on it, {seen} public so far; its page: {place.as_uri()}")
    print("\nTold to the CMS, in signed messages")
    for message in state["webhook"]:
        print(f"  {_one_line(message['content'])}")
    titles = [video["snippet"]["title"] for video in state["youtube"]]
    if not titles or len(titles) != len(set(titles)) or len(state["webhook"]) != len(titles):
        raise DemoError(f"{len(titles)} videos and {len(state['webhook'])} messages were posted: {titles}")


def _shown(path: Path) -> str:
    return str(path.relative_to(REPO)) if path.is_relative_to(REPO) else str(path)


def _one_line(document: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={value}" for key, value in document.items() if value not in (None, "", [], {}))
    return text if len(text) <= 160 else f"{text[:157]}..."


def next_steps() -> None:
    """Print what to try next."""
    print(
        "\nNext\n"
        "  make up         the same in Airflow's own pages, with the emulator's page of videos and costs\n"
        f"  {_shown(EXAMPLE_DAGS / DAG_ID)}.py   the DAG that just ran\n"
        f"  {_shown(EXAMPLE_DAGS / 'products.csv')}   its prompts: change one, run `make demo` again\n"
        "  a real key      in your own Airflow:\n"
        '                  AIRFLOW_CONN_APIMART_DEFAULT=\'{"conn_type": "apimart", "password": "<key>"}\''
    )


def failure(airflow: LocalAirflow, run_id: str) -> str:
    """Return the log tails of the tasks that failed."""
    parts = []
    for task in airflow.task_instances(DAG_ID, run_id):
        if task["state"] in ("failed", "up_for_retry"):
            log = airflow.task_log(DAG_ID, run_id, task["task_id"], task["try_number"], task["map_index"])
            parts.append(f"--- {_label(task)}, try {task['try_number']}\n" + "\n".join(log.splitlines()[-30:]))
    return "\n".join(parts) or "no task failed; see .demo/airflow/logs"


def run(emulator: EmulatorProcess) -> None:
    """Start Airflow, run the DAG and print the result."""
    env = {**connections_env(emulator), "APIMART_OUTPUT_ROOT": str(VIDEOS)}
    print(f"Starting Airflow (about 20 s); everything is under {_shown(HOME)} ...", flush=True)
    # The example has a schedule. Its first scheduled run would start before ours and be paid for, too.
    config = {"scheduler.use_job_schedule": "False"}
    with LocalAirflow(HOME / "airflow", EXAMPLE_DAGS, env=env, config=config) as airflow:
        print(f"Running {DAG_ID}; a video takes {JOB_SECONDS:.0f} s at the emulator.", flush=True)
        run_id = airflow.trigger(DAG_ID)
        ended = airflow.wait_run(DAG_ID, run_id, timeout=RUN_SECONDS, on_poll=Progress(airflow, run_id))
        if ended != "success":
            raise DemoError(f"the run ended as {ended}\n{failure(airflow, run_id)}")
        videos = landed(generations(airflow, run_id))
        page = emulator.page("channel")
    report(videos, emulator.state())
    published(emulator.publishing(), page)


def main() -> int:
    """Run the demo; return the exit code."""
    end_on_signals()
    began = time.monotonic()
    wipe(HOME)
    VIDEOS.mkdir(parents=True)
    try:
        with EmulatorProcess(HOME / "emulator.sqlite", job_seconds=JOB_SECONDS) as emulator:
            run(emulator)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing is left running.", file=sys.stderr)
        return 130
    except (RuntimeError, TimeoutError, httpx.HTTPError) as error:
        print(f"\nThe demo failed: {error}\nLogs: {_shown(HOME)}/airflow/logs", file=sys.stderr)
        return 1
    next_steps()
    print(f"\nDone in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
