"""``dag.test()`` and ``airflow dags test``: how people try out a DAG. Airflow drops the kwargs of a deferral there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import Emulator
from tests.operators.dag_test_run import DAG_FILE

FILM = ("plan", "shot_1", "frame_1", "shot_2", "join")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(job_seconds=0.05) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def results(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("dag_test")
    (folder / "dags").mkdir()
    (folder / "dags" / "everything.py").write_text(DAG_FILE)
    connection = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
    done = subprocess.run(
        [sys.executable, "-m", "tests.operators.dag_test_run", str(folder)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(connection),
        },
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_everything_that_can_be_deferred_ends_well(results: dict[str, Any]) -> None:
    names = ["balance", "single", "decorated", "batch", "sync", "mapped[0]", "mapped[1]", "products"]
    names += [f"film.storyboard.{name}[{row}]" for name in FILM for row in range(2)]
    assert {name: found["state"] for name, found in results.items()} == dict.fromkeys(names, "success")


@pytest.mark.parametrize("name", ["single", "decorated"])
def test_a_generation_is_landed(results: dict[str, Any], name: str) -> None:
    (video,) = results[name]["result"]["videos"]
    assert Path(video["path"]).stat().st_size == video["bytes"]
    assert Path(video["path"]).parent.name == name
    assert json.loads(Path(f"{video['path']}.json").read_text())["request"]["prompt"] == name


@pytest.mark.parametrize("name", ["batch", "sync", "mapped[0]", "mapped[1]"])
def test_a_batch_has_its_manifest_and_says_the_same_on_each_path(results: dict[str, Any], name: str) -> None:
    result = results[name]["result"]
    assert (result["rows"], result["landed"], result["failed"], result["left"]) == (2, 2, 0, 0)
    found = [json.loads(text) for text in Path(result["manifest"]).read_text().splitlines()]
    assert [line["outcome"] for line in found] == ["landed", "landed"]
    for line in found:
        assert line["labels"]["sku"] == line["request"]["prompt"].replace(" ", "-")
        assert Path(line["path"]).parent == Path(result["manifest"]).parent
        assert Path(line["path"]).is_file()


def test_a_storyboard_is_mapped_over_a_table(results: dict[str, Any], emulator: Emulator) -> None:
    frames = set()
    for row, name in enumerate(("kettle", "lamp")):
        plan, one, frame, two, film = (results[f"film.storyboard.{each}[{row}]"]["result"] for each in FILM)
        assert plan["cost_usd"] == pytest.approx(sum(each["cost_usd"] for each in (one, two)))
        for shot, text in ((one, f"{name} opens"), (two, f"{name} {{{{ ends }}}}")):
            sidecar = json.loads(Path(f"{shot['videos'][0]['path']}.json").read_text())
            assert sidecar["request"]["prompt"] == text
        # The last frame is that of the same row's first shot.
        assert sidecar["request"]["first_frame_image"] == frame["path"]
        assert frame["path"].startswith(one["videos"][0]["path"].removesuffix(".mp4"))
        assert film["duration_seconds"] == pytest.approx(8, abs=0.05) and Path(film["path"]).is_file()
        frames.add(frame["sha256"])
    assert len(frames) == 2


def test_each_is_paid_for_once(results: dict[str, Any], emulator: Emulator) -> None:
    names = ("batch", "sync", "mapped-a", "mapped-b")
    wanted = ["single", "decorated", *(f"{name} {number}" for name in names for number in range(2))]
    wanted += [f"{name} {end}" for name in ("kettle", "lamp") for end in ("opens", "{{ ends }}")]
    assert Counter(one["prompt"] for one in emulator.state()["generations"]) == Counter(wanted)
