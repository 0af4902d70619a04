"""Lives one task again and again, killed with SIGKILL at another boundary each time, and looks at what is left.

Run as ``python -m tests.crash.matrix FOLDER`` with plans as JSON on standard input; leaves ``results.json``. A process
of its own, with Airflow loaded once and no threads, because children are forked from it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.crash import life
from tests.crash.boundaries import Boundaries, Point, share_certificates
from tests.crash.children import forked, prepare_to_fork, shared_out

WORKERS = 3
#: A killed part is killed once more in the next try where this is true: two crashes in a row at the same place.
TWICE = 2


class Children:
    """Runs parts in children, of which some are killed."""

    def __init__(self, folder: str, kill: Point | None = None, times: int = 1) -> None:
        self.folder = folder
        self.kill = kill
        self.left = times if kill else 0
        self.crossed: list[Point] = []

    def __call__(self, part: str, work: Callable[[life.Cross], None]) -> bool:
        kill = self.kill if self.left else None
        trace = Path(self.folder, "trace.json")
        trace.unlink(missing_ok=True)

        def child() -> None:
            boundaries = Boundaries(part, kill)
            boundaries.install(str(Path(self.folder, "out")))
            work(boundaries.cross)
            trace.write_text(json.dumps([asdict(point) for point in boundaries.crossed]))

        code = forked(child)
        if code == -9:
            self.left -= 1
            return False
        if code:
            raise RuntimeError(f"the child of part {part} ended with {code}")
        self.crossed += [Point(**one) for one in json.loads(trace.read_text())]
        return True


def found(plan: life.Plan) -> dict[str, Any]:
    """Return what is in storage, by name, and what the record says."""
    paths = [path for path in plan.out.rglob("*") if path.is_file()]
    files = {str(path.relative_to(plan.out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    if plan.store == "task_state":
        record = next(iter(json.loads((plan.db / "state.json").read_text()).values()), None)
    else:
        record = json.loads(next(path for path in paths if ".apimart-records" in str(path)).read_text())
    ledger = [path.name for path in Path(plan.budget_folder).rglob("*.json")]
    return {"files": files, "record": record, "ledger": ledger}


def case(plan: life.Plan, kill: Point | None, times: int) -> dict[str, Any]:
    life.prepare(plan)
    children = Children(plan.folder, kill, times)
    lived = life.live(plan, children)
    return {
        **asdict(lived),
        "kill": asdict(kill) if kill else None,
        "times": times,
        "crossed": [asdict(point) for point in children.crossed],
        "found": found(plan) if lived.success else None,
    }


def numbered(plan: life.Plan, number: int) -> life.Plan:
    name = f"{plan.name}_{number}"
    return replace(plan, name=name, folder=f"{plan.folder}/{name}")


def warm_up(folder: Path) -> None:
    """Live one life in this very process: what is imported on the way need not be imported in each child."""

    def run(part: str, work: Callable[[life.Cross], None]) -> bool:
        work(life.nothing)
        return True

    plan = life.Plan("warm", str(folder / "warm"), store="beside")
    life.prepare(plan)
    assert life.live(plan, run).success
    prepare_to_fork()


def main(folder: Path) -> None:
    share_certificates()
    life.shrink_waits()
    life.offer_kept()
    warm_up(folder)
    jobs: list[tuple[life.Plan, Point | None, int]] = []
    results = []
    for described in json.load(sys.stdin):
        rounds = (1, TWICE) if described.pop("twice") else (1,)
        base = life.Plan(**{**described, "folder": str(folder)})
        probe = case(numbered(base, 0), None, 0)
        results.append(probe)
        points = [Point(**one) for one in probe["crossed"]]
        for times in rounds:
            start = len(jobs) + 1
            jobs += [(numbered(base, start + n), point, times) for n, point in enumerate(points)]

    results += shared_out(folder, jobs, lambda job: case(*job), WORKERS)
    Path(folder, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
