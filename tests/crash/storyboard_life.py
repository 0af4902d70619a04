"""Lives a storyboard again and again; each of its tasks is killed with SIGKILL, at another boundary each time.

Run as ``python -m tests.crash.storyboard_life FOLDER`` with how many shots it has, and whether it is killed everywhere,
as JSON on standard input; leaves ``results.json``. A process of its own, with Airflow loaded once and no threads,
because children are forked from it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from airflow_provider_apimart.media import workshop
from tests.crash.boundaries import Boundaries, Point, share_certificates
from tests.crash.children import forked, prepare_to_fork, shared_out
from tests.crash.life import FileStateStore, nothing, shrink_waits, write_json
from tests.operators.films import Run, film, in_order

WORKERS = 2
MOST_TRIES = 4
#: Where a shot is killed in any case: around what is paid, what says so, and what lands. The frames, the plan and the
#: join are killed everywhere.
OF_A_SHOT = (
    *("before:record.save", "after:record.save", "before:upload", "after:upload"),
    *("before:submission", "answering:POST videos", "after:submission", "after:status request"),
    *("before:chunk", "os.rename", "before:xcom", "after:xcom"),
)


def prompts(name: str, shots: int) -> list[str]:
    return [f"shot {number} of {name}" for number in range(1, shots + 1)]


def storyboard_of(folder: Path, name: str, shots: int) -> Run:
    """Return the run, with what its tasks have returned so far."""
    path = folder / "xcoms.json"
    group = film(prompts(name, shots), folder / "out", duration=4, max_cost_usd=10)
    return Run(group, json.loads(path.read_text()) if path.exists() else {})


def task_names(run: Run) -> list[str]:
    return [task.task_id.rpartition(".")[2] for task in in_order(run.group)]


def one_try(
    folder: Path, name: str, shots: int, task: str, number: int, cross: Callable[[str], None] = nothing
) -> None:
    """Run one try of a task to its end, and keep its XCom as Airflow would."""
    run = storyboard_of(folder, name, shots)
    run.stores[task], run.numbers[task] = FileStateStore(folder / f"{task}.json"), number - 1
    operator, context = run.rendered(task)
    context["ti"].dag_id = f"crash_{name}"
    result = operator.execute(context)
    cross("before:xcom")
    write_json(folder / "xcoms.json", {**run.xcoms, operator.task_id: result})
    cross("after:xcom")


def life(folder: Path, name: str, shots: int, kills: Sequence[Point]) -> dict[str, Any]:
    """Run each task until a try of it gets through.

    :param kills: where the first tries of the tasks are killed, at most one of each task.
    """
    folder.mkdir(parents=True)
    (folder / "out").mkdir()
    crossed: list[Point] = []
    codes: dict[str, list[int]] = {}
    for task in task_names(storyboard_of(folder, name, shots)):
        for number in range(1, MOST_TRIES + 1):

            def child(task: str = task, number: int = number) -> None:
                kill = next((point for point in kills if point.part == task and number == 1), None)
                boundaries = Boundaries(task, kill)
                workshop.run_isolated = boundaries._around("media", workshop.run_isolated)
                workshop._delivered = boundaries._around("delivery", workshop._delivered)
                workshop.keep_outputs = boundaries._around("note", workshop.keep_outputs)
                boundaries.install(str(folder / "out"))
                one_try(folder, name, shots, task, number, boundaries.cross)
                write_json(folder / "trace.json", [asdict(point) for point in boundaries.crossed])

            codes.setdefault(task, []).append(forked(child))
            if codes[task][-1] == 0:
                crossed += [Point(**one) for one in json.loads((folder / "trace.json").read_text())]
                break
        else:
            break
    path = folder / "xcoms.json"
    return {
        "name": name,
        "kills": [asdict(kill) for kill in kills],
        "codes": codes,
        "xcoms": json.loads(path.read_text()) if path.exists() else {},
        "files": sorted(each.name for each in (folder / "out").rglob("*") if each.is_file()),
        "crossed": [] if kills else [asdict(point) for point in crossed],
    }


def chosen(points: Sequence[Point], *, everywhere: bool) -> list[tuple[Point, ...]]:
    """Return where the tasks are killed in each life: all tasks in all lives, until no boundary is left."""
    tasks: dict[str, list[Point]] = {}
    for point in points:
        if everywhere or (point.occurrence == 0 and (not point.part.startswith("shot_") or point.label in OF_A_SHOT)):
            tasks.setdefault(point.part, []).append(point)
    return [tuple(point for point in row if point is not None) for row in zip_longest(*tasks.values())]


def main(folder: Path) -> None:
    asked = json.load(sys.stdin)
    shots: int = asked["shots"]
    share_certificates()
    shrink_waits()
    # What is imported on the way need not be imported in each child.
    warm = folder / "warm"
    (warm / "out").mkdir(parents=True)
    for task in task_names(storyboard_of(warm, "warm", shots)):
        one_try(warm, "warm", shots, task, 1)
    prepare_to_fork()
    probe = life(folder / "probe", "probe", shots, ())
    lives = chosen([Point(**one) for one in probe["crossed"]], everywhere=asked["everywhere"])

    def live(job: tuple[int, tuple[Point, ...]]) -> dict[str, Any]:
        number, kills = job
        name = f"kill{number}"
        return life(folder / name, name, shots, kills)

    results = [probe, *shared_out(folder, list(enumerate(lives)), live, WORKERS)]
    Path(folder, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
