"""What the operators tell of their videos and posts: to the events of their outlets, and to OpenLineage's provider."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import Asset
from airflow.utils.state import TaskInstanceState

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import GenerationParkedError
from airflow_provider_apimart.emulator.media import videos as emulated
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks import publishers
from airflow_provider_apimart.hooks.reports import lineage
from airflow_provider_apimart.operators.batch import VeoGenerateBatchOperator
from airflow_provider_apimart.operators.remix import VeoRemixOperator
from tests.operators.batches import batch, prompts
from tests.operators.conftest import Tries
from tests.operators.publish import fake
from tests.operators.publish.conftest import land
from tests.operators.publish.fake import FakePublishOperator, Network
from tests.operators.single import make, run_trigger
from tests.operators.told import context_of, extracted, names

pytestmark = pytest.mark.usefixtures("no_waiting")
LIBRARY = Asset("library")
FRAMES = Path(__file__).parents[2] / "example_dags" / "frames"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_generation_tells_of_its_videos(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    arguments: dict[str, Any] = {
        "outlets": [LIBRARY],
        "sample_count": 2,
        "first_frame_image": str(FRAMES / "dawn.png"),
        "deferrable": deferrable,
    }
    operator = make(tmp_path, **arguments)
    assert names(extracted(operator, TaskInstanceState.RUNNING).inputs) == [f"file {FRAMES / 'dawn.png'}"]
    context = context_of(tries, operator)
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context)
        event = run_trigger(deferred.value.trigger, monkeypatch)
        # Another process resumes, and a template gives another value by then.
        operator = make(tmp_path, **{**arguments, "prompt": "what it renders to now"})
        tries.number -= 1
        context = context_of(tries, operator)
        kwargs = json.loads(json.dumps(deferred.value.kwargs))
        result = operator.resume_execution(deferred.value.method_name, {**kwargs, "event": event}, context)
    else:
        result = operator.execute(context)

    extra = context["outlet_events"][LIBRARY].extra
    assert extra["prompt"] == "a cat"
    assert (extra["generation_id"], extra["cost_usd"], extra["map_index"]) == (
        result["generation_id"],
        result["cost_usd"],
        -1,
    )
    assert extra["videos"] == [
        {"uri": f"file://{video['path']}", **{name: video[name] for name in ("path", "bytes", "sha256")}}
        for video in result["videos"]
    ]
    text = json.dumps(extra)
    assert emulator.api_key not in text and "http" not in text
    assert len(text) < 4000

    told = extracted(operator)
    assert names(told.inputs) == [f"file {FRAMES / 'dawn.png'}"]
    assert names(told.outputs) == [f"file {video['path']}" for video in result["videos"]]
    assert [one.outputFacets["outputStatistics"].size for one in told.outputs] == [
        video["bytes"] for video in result["videos"]
    ]
    facet = told.run_facets["apimart_generation"]
    assert (facet.generationIds, facet.models, facet.costUsd) == (
        [result["generation_id"]],
        [result["model"]],
        result["cost_usd"],
    )


def test_a_video_that_was_landed_before_is_told_of_again(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, outlets=[LIBRARY])
    first, second = context_of(tries, operator), context_of(tries, operator)
    operator.execute(first)
    operator.execute(second)
    assert emulator.state()["paid"] == 1
    assert first["outlet_events"][LIBRARY].extra == second["outlet_events"][LIBRARY].extra


def test_the_next_task_can_post_what_an_event_tells(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    from airflow_provider_apimart.operators.videos import resolve

    operator = make(tmp_path, outlets=[LIBRARY])
    context = context_of(tries, operator)
    result = operator.execute(context)
    found = resolve(json.loads(json.dumps(context["outlet_events"][LIBRARY].extra))).video
    assert (found.sha256, found.generation_id) == (result["videos"][0]["sha256"], result["generation_id"])


def test_a_parked_generation_is_named_by_the_try_that_failed(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("task", "task_status", value="processing", times=-1)
    operator = make(tmp_path, timeout=1)
    with pytest.raises(GenerationParkedError):
        operator.execute(context_of(tries, operator))
    told = extracted(operator, TaskInstanceState.FAILED)
    facet = told.run_facets["apimart_generation"]
    assert (facet.generationIds, facet.costUsd, told.outputs) == ([operator.generation_id], None, [])


def test_a_mismatch_that_fails_the_task_still_names_the_video(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = emulated.make_video
    monkeypatch.setattr(emulated, "make_video", lambda spec, path: made(dataclasses.replace(spec, seconds=6), path))
    operator = make(tmp_path, on_mismatch="fail")
    with pytest.raises(AirflowFailException):
        operator.execute(context_of(tries, operator))
    told = extracted(operator, TaskInstanceState.FAILED)
    assert len(told.outputs) == 1 and told.run_facets["apimart_generation"].costUsd > 0


def test_what_cannot_be_told_fails_no_paid_task(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no names today")

    monkeypatch.setattr(lineage, "named", broken)
    operator = make(tmp_path, outlets=[LIBRARY])
    assert operator.execute(context_of(tries, operator))["status"] == "completed"


def test_a_remix_reads_its_source(tmp_path: Path) -> None:
    source = {"generation_id": "gen-1", "model": "veo3.1-fast", "videos": [{"path": f"{tmp_path}/a.mp4"}]}
    for given in (source, json.dumps(source)):
        operator = VeoRemixOperator(task_id="extend", prompt="on", source=given)
        assert names(extracted(operator, TaskInstanceState.RUNNING).inputs) == [f"file {tmp_path}/a.mp4"]
    bare = VeoRemixOperator(task_id="extend", prompt="on", source="gen-1", model="veo3.1-fast")
    assert extracted(bare, TaskInstanceState.RUNNING).inputs == []


@pytest.mark.usefixtures("quick")
def test_a_batch_tells_of_its_manifest_and_its_folder(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(3), outlets=[LIBRARY])
    context = context_of(tries, operator)
    result = operator.execute(context)
    extra = context["outlet_events"][LIBRARY].extra
    assert extra == {
        **result,
        "uri": f"file://{result['manifest']}",
        "map_index": -1,
        "models": ["veo3.1-fast-official"],
    }
    told = extracted(operator)
    assert names(told.outputs) == [f"file {result['manifest']}", f"file {tmp_path}/out"]
    files = list((tmp_path / "out").glob("*.mp4"))
    statistics = told.outputs[1].outputFacets["outputStatistics"]
    assert (statistics.size, statistics.fileCount) == (sum(file.stat().st_size for file in files), 3)
    facet = told.run_facets["apimart_generation"]
    assert sorted(facet.generationIds) == sorted(file.stem for file in files)
    assert facet.costUsd == result["cost_usd"]


@pytest.mark.usefixtures("quick")
def test_a_batch_that_fails_still_names_what_it_landed(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("submit", "content_rejected", prompt_contains="row 1", times=1)
    operator = batch(tmp_path, prompts(2))
    with pytest.raises(AirflowFailException):
        operator.execute(context_of(tries, operator))
    told = extracted(operator, TaskInstanceState.FAILED)
    assert [one.outputFacets["outputStatistics"].fileCount for one in told.outputs] == [1, 1]
    assert told.run_facets["apimart_generation"].generations == 1


def test_a_dry_run_says_that_there_is_no_manifest(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(2), outlets=[LIBRARY], dry_run=True)
    context = context_of(tries, operator)
    operator.execute(context)
    extra = context["outlet_events"][LIBRARY].extra
    assert (extra["manifest"], extra["rows"], extra["cost_usd"]) == (None, 2, 0.0)
    assert extracted(operator).outputs == []


def test_a_batch_reads_its_table(tmp_path: Path) -> None:
    operator = VeoGenerateBatchOperator(
        task_id="videos", table="s3://conn@tables/prompts.csv", output_path=f"{tmp_path}/"
    )
    assert names(extracted(operator, TaskInstanceState.RUNNING).inputs) == ["s3://tables prompts.csv"]
    query = VeoGenerateBatchOperator(
        task_id="query", sql="SELECT prompt FROM t", sql_conn_id="no_such_conn", output_path=f"{tmp_path}/"
    )
    # The hook of this connection does not say what its database is called.
    assert extracted(query, TaskInstanceState.RUNNING).inputs == []


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setitem(publishers.HOOKS, "fake", f"{fake.__name__}.FakeHook")
    yield from fake.network()


def test_a_post_tells_where_it_is(network: Network, tries: Tries, tmp_path: Path) -> None:
    landed = land(tmp_path)
    operator = FakePublishOperator(task_id="post", video=landed, outlets=[LIBRARY])
    assert names(extracted(operator, TaskInstanceState.RUNNING).inputs) == [f"file {tmp_path}/gen-1.mp4"]
    context = context_of(tries, operator)
    result = operator.execute(context)
    extra = context["outlet_events"][LIBRARY].extra
    assert (extra["url"], extra["post_id"]) == ("https://fake.example/draft-1", "post-draft-1")
    assert (extra["generation_id"], extra["sha256"], extra["map_index"]) == ("gen-1", result["video"]["sha256"], -1)
    told = extracted(operator)
    assert names(told.inputs) == [f"file {tmp_path}/gen-1.mp4"]
    assert names(told.outputs) == ["fake://account-1 post-draft-1"]
    assert told.run_facets["apimart_post"].state == "public"


WITHOUT = """
import importlib, pkgutil, sys

# What the provider's entry point itself loads, where it is installed.
INFO = ("airflow.providers.openlineage", "airflow.providers.openlineage.get_provider_info")

def is_openlineage(name):
    return name not in INFO and name.startswith(("openlineage", "airflow.providers.openlineage"))

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if is_openlineage(name):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Blocked())
import airflow_provider_apimart
for room in ("operators", "hooks", "sensors", "triggers", "decorators"):
    package = importlib.import_module(f"airflow_provider_apimart.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name != "airflow_provider_apimart.hooks.reports.openlineage":
            importlib.import_module(module.name)
from pathlib import Path
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow_provider_apimart.emulator.server import Emulator
from tests.operators.conftest import Tries
from tests.operators.single import make
import os, json
with Emulator(job_seconds=0) as emulator:
    connection = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
    os.environ["AIRFLOW_CONN_APIMART_DEFAULT"] = json.dumps(connection)
    operator = make(Path(sys.argv[1]), outlets=[Asset("library")], poll_interval=1)
    context = {**Tries().next(operator, store=False), "outlet_events": OutletEventAccessors()}
    operator.execute(context)
print(json.dumps(context["outlet_events"][Asset("library")].extra))
print([name for name in sys.modules if is_openlineage(name)])
"""


def test_nothing_of_openlineage_is_needed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    extra, loaded = done.stdout.strip().splitlines()[-2:]
    assert json.loads(extra)["videos"][0]["bytes"] > 0
    assert loaded == "[]"
