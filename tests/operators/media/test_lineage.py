"""What the media operators tell of their files: to the events of their outlets, and to OpenLineage's provider."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.utils.state import TaskInstanceState

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.operators.media import VideoCheckOperator, VideoProvenanceOperator, VideoRenditionOperator
from airflow_provider_apimart.operators.media.base import MediaOperator
from airflow_provider_apimart.operators.media.frame import VideoFrameOperator
from airflow_provider_apimart.operators.media.join import VideoJoinOperator
from airflow_provider_apimart.operators.videos import find
from tests.media.clips import make_clip
from tests.operators.conftest import Tries
from tests.operators.told import context_of, extracted, names

LIBRARY, ALIAS = Asset("library"), AssetAlias("clips")
TALL = {"name": "tall", "width": 90, "height": 160, "effort": "ultrafast"}
WIDE = {"name": "wide", "width": 160, "height": 90, "effort": "ultrafast"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=1)


def generated(path: Path, generation_id: str = "gen-1") -> dict[str, Any]:
    """Return the XCom of the generation that a clip may come from."""
    video = {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)}
    return {"generation_id": generation_id, "videos": [video]}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(operator: MediaOperator, tries: Tries) -> tuple[dict[str, Any], Any]:
    context = context_of(tries, operator)
    result: dict[str, Any] = operator.execute(context)  # type: ignore[arg-type]
    return result, context["outlet_events"]


def test_renditions(clip: Path, tries: Tries, tmp_path: Path) -> None:
    operator = VideoRenditionOperator(
        task_id="renditions",
        video=generated(clip),
        shapes=[TALL, WIDE],
        output_path=f"{tmp_path}/",
        outlets=[LIBRARY, ALIAS],
    )
    assert names(extracted(operator, TaskInstanceState.RUNNING).inputs) == [f"file {clip}"]
    result, events = run(operator, tries)
    extra = events[LIBRARY].extra
    assert {name: extra[name] for name in ("generation_id", "cost_usd", "map_index", "images")} == {
        "generation_id": "gen-1",
        "cost_usd": 0.0,
        "map_index": -1,
        "images": [],
    }
    outputs = result["outputs"]
    assert extra["videos"] == [
        {
            "name": name,
            "kind": "rendition",
            "uri": f"file://{outputs[name]['path']}",
            "made_of": [sha256(clip)],
            **{key: outputs[name][key] for key in ("path", "bytes", "sha256")},
        }
        for name in ("tall", "wide")
    ]
    told = [(event.dest_asset_key.uri, event.extra["videos"]) for event in events[ALIAS].asset_alias_events]
    assert told == [(video["uri"], [video]) for video in extra["videos"]]
    # What an event tells is a ``video=`` of the operators.
    place, video = find(json.loads(json.dumps(extra)), 2)
    assert video is not None and (place.path, video.generation_id) == (outputs["wide"]["path"], "gen-1")

    seen = extracted(operator)
    assert names(seen.inputs) == [f"file {clip}"]
    assert names(seen.outputs) == [f"file {outputs[name]['path']}" for name in ("tall", "wide")]
    assert [one.outputFacets["outputStatistics"].size for one in seen.outputs] == [
        outputs[name]["bytes"] for name in ("tall", "wide")
    ]
    # Nothing was paid.
    assert seen.run_facets == {}


def test_what_was_made_before_is_told_of_again(clip: Path, tries: Tries, tmp_path: Path) -> None:
    operator = VideoRenditionOperator(
        task_id="renditions", video=str(clip), shapes=[TALL], output_path=f"{tmp_path}/", outlets=[LIBRARY]
    )
    (first, before), (second, after) = run(operator, tries), run(operator, tries)
    assert first == second and before[LIBRARY].extra == after[LIBRARY].extra
    assert before[LIBRARY].extra["generation_id"] is None


class Lazy:
    """The outputs of a mapped task, which Airflow fetches one by one."""

    def __init__(self, *items: Any) -> None:
        self.items, self.fetched = items, 0

    def __iter__(self) -> Any:
        self.fetched += 1
        return iter(self.items)


def test_a_join_names_its_clips(clip: Path, tries: Tries, tmp_path: Path) -> None:
    clips = Lazy(generated(clip), generated(clip, "gen-2"))
    operator = VideoJoinOperator(task_id="join", videos=["/x.mp4"], output_path=f"{tmp_path}/", outlets=[LIBRARY])
    operator.videos = clips
    # Before the task has run, nothing is fetched for OpenLineage.
    before = clips.fetched
    assert extracted(operator, TaskInstanceState.RUNNING).inputs == [] and clips.fetched == before
    result, events = run(operator, tries)
    extra = events[LIBRARY].extra
    assert (extra["generation_id"], extra["generation_ids"]) == (None, ["gen-1", "gen-2"])
    (video,) = extra["videos"]
    assert (video["name"], video["kind"], video["sha256"]) == ("join", "join", result["sha256"])
    assert video["made_of"] == [sha256(clip)] * 2
    told = extracted(operator)
    assert (names(told.inputs), names(told.outputs)) == ([f"file {clip}"], [f"file {result['path']}"])


def test_an_event_of_a_long_join_stays_small(clip: Path, tries: Tries, tmp_path: Path) -> None:
    clips = [generated(clip, f"task_{number:026}") for number in range(20)]
    operator = VideoJoinOperator(task_id="join", videos=clips, output_path=f"{tmp_path}/", outlets=[LIBRARY])
    _, events = run(operator, tries)
    assert len(events[LIBRARY].extra["generation_ids"]) == 5
    assert len(json.dumps(events[LIBRARY].extra)) < 2000


def test_a_picture_is_no_video(clip: Path, tries: Tries, tmp_path: Path) -> None:
    operator = VideoFrameOperator(
        task_id="frame", video=generated(clip), output_path=f"{tmp_path}/", outlets=[LIBRARY, ALIAS]
    )
    result, events = run(operator, tries)
    extra = events[LIBRARY].extra
    (image,) = extra["images"]
    assert (extra["videos"], extra["generation_id"]) == ([], "gen-1")
    assert (image["path"], image["sha256"], image["made_of"]) == (result["path"], result["sha256"], [sha256(clip)])
    (event,) = events[ALIAS].asset_alias_events
    assert (event.dest_asset_key.uri, event.extra) == (image["uri"], extra)


def test_a_marked_video(clip: Path, tries: Tries, tmp_path: Path) -> None:
    operator = VideoProvenanceOperator(
        task_id="mark",
        video=generated(clip),
        source_type="trainedAlgorithmicMedia",
        output_path=f"{tmp_path}/",
        outlets=[LIBRARY],
    )
    result, events = run(operator, tries)
    (video,) = events[LIBRARY].extra["videos"]
    assert (video["name"], video["path"], video["sha256"]) == ("video", result["path"], result["sha256"])
    assert names(extracted(operator).outputs) == [f"file {result['path']}"]


def test_a_check_tells_of_the_video_that_has_passed(clip: Path, tries: Tries, tmp_path: Path) -> None:
    operator = VideoCheckOperator(
        task_id="check", video=generated(clip), output_path=f"{tmp_path}/", outlets=[LIBRARY, ALIAS]
    )
    result, events = run(operator, tries)
    extra = events[LIBRARY].extra
    assert (extra["verdict"], extra["generation_id"]) == ("ok", "gen-1")
    (video,) = extra["videos"]
    assert (video["path"], video["sha256"]) == (str(clip), result["sha256"])
    assert [event.dest_asset_key.uri for event in events[ALIAS].asset_alias_events] == [f"file://{clip}"]
    told = extracted(operator)
    assert (names(told.inputs), told.outputs) == ([f"file {clip}"], [])


def test_a_check_that_fails_tells_nothing(clip: Path, tries: Tries, tmp_path: Path) -> None:
    operator = VideoCheckOperator(
        task_id="check", video=generated(clip), duration=8, output_path=f"{tmp_path}/", outlets=[LIBRARY]
    )
    context = context_of(tries, operator)
    with pytest.raises(AirflowFailException):
        operator.execute(context)  # type: ignore[arg-type]
    assert context["outlet_events"][LIBRARY].extra == {}
