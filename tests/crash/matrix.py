"""Lives one task again and again, killed with SIGKILL at another boundary each time, and looks at what is left.

Run as ``python -m tests.crash.matrix FOLDER`` with plans as JSON on standard input; leaves ``results.json``. A process
of its own, with Airflow loaded once and no threads, because children are forked from it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from asgiref.sync import SyncToAsync

from tests.crash import life
from tests.crash.boundaries import Boundaries, Point, share_certificates

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


def forked(action: Callable[[], None]) -> int:
    """Run ``action`` in a child and return how it ended: 0, an exit code, or minus a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def found(plan: life.Plan) -> dict[str, Any]:
    """Return what is in storage, by name, and what the record says."""
    paths = [path for path in plan.out.rglob("*") if path.is_file()]
    files = {str(path.relative_to(plan.out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    if plan.store == "task_state":
        record = next(iter(json.loads((plan.db / "state.json").read_text()).values()), None)
    else:
        record = json.loads(next(path for path in paths if ".apimart-records" in str(path)).read_text())
    return {"files": files, "record": record}


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
    # The thread in which asgiref runs what would block a loop, once for all loops; the children make their own.
    SyncToAsync.single_thread_executor.shutdown()
    SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
    if threading.active_count() > 1:
        raise RuntimeError(f"children cannot be forked beside threads: {threading.enumerate()}")
    gc.collect()
    gc.freeze()


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

    def work(first: int) -> None:
        with Path(folder, f"results-{first}.jsonl").open("w") as file:
            for plan, kill, times in jobs[first::WORKERS]:
                print(json.dumps(case(plan, kill, times)), file=file)

    children = []
    for first in range(WORKERS):
        child = os.fork()
        if not child:
            code = 1
            try:
                work(first)
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        raise RuntimeError(f"workers ended with {codes}")
    for first in range(WORKERS):
        results += [json.loads(line) for line in Path(folder, f"results-{first}.jsonl").read_text().splitlines()]
    Path(folder, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
