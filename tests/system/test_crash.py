"""A short crash run: each kind of kill at least once and some faults, over a dozen generations. `make crash` is the
long one. And the audit that ends both: it would see a double payment, a lost video or a stray file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from dev.airflow_api import AirflowApi
from dev.crash import BAG, Plan, crash
from dev.crash_audit import Audit, Report, audit
from dev.crash_storage import LocalFolder
from tests.operators.conftest import Tries

RUNS, TASKS = 2, 6
SHORT_BAG = {**dict.fromkeys(BAG, 1), "runner": 2, "fault": 4}
RUN = "crash-001"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What a crash run of a minute or two has come to."""
    plan = Plan(runs=RUNS, active=RUNS, seed=20261107, pause=(0.5, 3.0), bag=SHORT_BAG, bags=1)
    done = crash(tmp_path_factory.mktemp("crash"), plan, say=print)
    print(done.text())
    return done


def test_every_kind_of_kill_happened(report: Report) -> None:
    kills = {name.removeprefix("kill -9 ") for name in report.events if name.startswith("kill")}
    assert kills == set(BAG) - {"fault"}
    assert any(name.startswith("fault") for name in report.events)
    assert report.audit.tries > report.audit.asked


def test_all_is_paid_for_once_and_whole(report: Report) -> None:
    found = report.audit
    assert found.problems == []
    assert (found.asked, found.paid, found.landed) == (RUNS * TASKS,) * 3
    assert found.bill_usd == pytest.approx(found.expected_usd)
    assert found.expected_usd > 0


# --- the audit -------------------------------------------------------------------------------------------------------


class Runs:
    """One run with one task that ended well, as Airflow's API tells it."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        self.state = "success"

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return [{"task_id": "deferred", "map_index": 0, "state": self.state, "try_number": 1}]

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
        return self.result


def make(root: Path, prompt: str = f"crash {RUN} deferred 0") -> dict[str, Any]:
    """Make and land one video, as the first task of a new run."""
    operator = VeoGenerateOperator(
        task_id="deferred", prompt=prompt, duration=4, deferrable=False, output_path=f"{root}/"
    )
    return operator.execute(cast(Any, Tries().next(operator)))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def wrong_run(runs: Runs, root: Path, video: Path) -> None:
    runs.state = "failed"


def paid_twice(runs: Runs, root: Path, video: Path) -> None:
    operator = VeoGenerateOperator(task_id="other", prompt=f"crash {RUN} deferred 0", duration=4, deferrable=False)
    operator.execute(cast(Any, Tries().next(operator)))


def returned_another(runs: Runs, root: Path, video: Path) -> None:
    runs.result = {**runs.result, "generation_id": "task_of_somebody_else"}


DEFECTS: dict[str, Callable[[Runs, Path, Path], object]] = {
    "the task ended as failed": wrong_run,
    "paid for 2 times": paid_twice,
    "the bill is 0.512": paid_twice,
    "nobody asked for it": lambda runs, root, video: make(root.parent / "elsewhere", "not asked for"),
    "is not what the emulator serves": lambda runs, root, video: damage(video),
    "or its sidecar is missing": lambda runs, root, video: video.with_name(f"{video.name}.json").unlink(),
    "returned task_of_somebody_else": returned_another,
    "the XCom is None": lambda runs, root, video: setattr(runs, "result", None),
    ".part is nobody's": lambda runs, root, video: (root / f".{video.name}.0.part").touch(),
}


@pytest.mark.parametrize("problem", ["", *DEFECTS])
def test_the_audit_sees_what_is_wrong(
    apimart_emulator_conn: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.generation.waiting.schedule.FIRST_POLL_SECONDS", 0.0)
    root = tmp_path / "videos"
    runs = Runs(make(root))

    def look() -> Audit:
        return audit(cast(AirflowApi, runs), apimart_emulator_conn, "crash", [RUN], LocalFolder(root))

    assert look().problems == []
    assert (look().asked, look().paid, look().landed) == (1, 1, 1)
    if problem:
        DEFECTS[problem](runs, root, Path(runs.result["videos"][0]["path"].removeprefix("file://")))
        assert any(problem in each for each in look().problems), look().problems
