"""``VideoJoinOperator`` and ``VideoFrameOperator``: what they take, what they return, and what they leave undone."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from pathlib import Path
from typing import Any

import av
import pytest
from airflow.sdk import DAG, task

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.media import VideoFrameOperator, VideoJoinOperator
from airflow_provider_apimart.operators.publish.webhook import WebhookPublishOperator
from tests.media.joining.marked import decoded, marked_clip
from tests.operators.conftest import Tries
from tests.operators.single import make


def join(videos: Any, **arguments: Any) -> VideoJoinOperator:
    return VideoJoinOperator(task_id="join", videos=videos, **arguments)


def frame(video: Any, **arguments: Any) -> VideoFrameOperator:
    return VideoFrameOperator(task_id="frame", video=video, **arguments)


def run(operator: Any) -> Any:
    return operator.execute(Tries().next(operator))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    marked_clip(folder / "one.mp4", frames=24, flash=6)
    marked_clip(folder / "two.mp4", frames=48, flash=12)
    return folder


@pytest.fixture
def clips(shelf: Path, tmp_path: Path) -> list[str]:
    found = []
    for source in sorted(shelf.iterdir()):
        (tmp_path / source.name).write_bytes(source.read_bytes())
        found.append(str(tmp_path / source.name))
    return found


def test_clips_are_joined_once(clips: list[str], tmp_path: Path) -> None:
    result = run(join(clips))
    path = Path(result["path"])
    assert path.parent == tmp_path and path.name == f"one.join-{result['fingerprint'][:10]}.mp4"
    assert (result["kind"], result["width"], result["height"], result["has_audio"]) == ("join", 160, 90, True)
    assert result["duration_seconds"] == 3 and decoded(path)[0] == 72
    assert hashlib.sha256(path.read_bytes()).hexdigest() == result["sha256"] == result["videos"][0]["sha256"]
    written = path.stat().st_mtime_ns
    assert run(join(clips)) == result and path.stat().st_mtime_ns == written
    # Another order is another video.
    assert run(join(clips[::-1]))["path"] != result["path"]
    WebhookPublishOperator(task_id="post", video=result)


def test_what_does_not_matter_gives_no_other_file(clips: list[str]) -> None:
    assert run(join(clips, fade_seconds=1.5))["path"] == run(join(clips, fade_seconds="0.3"))["path"]


def test_shots_of_the_provider_into_a_folder(
    emulator: Emulator, no_waiting: list[float], tmp_path: Path, tries: Tries
) -> None:
    one = make(tmp_path / "shots", generate_audio=True)
    landed = one.execute(tries.next(one))
    result = run(join([landed, landed["videos"][0]], output_path=f"{tmp_path}/films/", transition="fade"))
    assert Path(result["path"]).parent == tmp_path / "films" and result["has_audio"]
    assert result["duration_seconds"] == pytest.approx(7.5, abs=0.05)
    assert len(emulator.state()["generations"]) == 1


def test_outputs_of_a_mapped_task_and_their_json(clips: list[str]) -> None:
    with DAG("films", schedule=None):

        @task
        def clip() -> str:
            return ""

        # Known when it runs.
        VideoJoinOperator(task_id="join", videos=clip.expand_kwargs([{}, {}]))
    # As the outputs of a mapped task are: no list, and read when they are asked for.
    assert run(join(deque(clips)))["path"] == run(join(json.dumps(clips)))["path"]


def test_all_problems_at_once() -> None:
    with pytest.raises(InvalidVeoArgument) as refused:
        join(
            ["clip.mp4", {"videos": []}, 3],
            **{"transition": "spin", "fade_seconds": 9, "size": "1x1", "frame_rate": 500, "crf": 99},
            **{"encode": "sometimes", "preset": "best", "output_path": "/films/a.mp4"},
        )
    for part in (
        *("videos[0]='clip.mp4'", "videos[1]", "videos[2]=3", "transition='spin'", "fade_seconds=9", "size='1x1'"),
        *("frame_rate=500", "crf=99", "encode='sometimes'", "preset='best'", "output_path='/films/a.mp4'"),
    ):
        assert part in str(refused.value), part


@pytest.mark.parametrize("videos", [[], "clip.mp4", None, {"path": "/a.mp4"}, ["/a.mp4"] * 401])
def test_no_list_of_clips(videos: Any) -> None:
    with pytest.raises(InvalidVeoArgument, match="allowed: a list of 1 to 400 videos"):
        join(videos)


def test_a_damaged_and_a_missing_clip_are_named(clips: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(Path(clips[1]).read_bytes()[:2000])
    with pytest.raises(AirflowFailException, match=r"broken\.mp4: .*Nothing was paid"):
        run(join([clips[0], str(broken)]))
    broken.unlink()
    # It may be on another worker, so a retry may find it.
    with pytest.raises(LandingError, match=r"broken\.mp4 is not on this machine"):
        run(join([clips[0], str(broken)]))
    assert [path.name for path in tmp_path.iterdir() if "join" in path.name] == []


def test_what_cannot_be_copied_is_refused_on_request(clips: list[str], tmp_path: Path) -> None:
    marked_clip(tmp_path / "wide.mp4", frames=24, size=(320, 90))
    with pytest.raises(
        AirflowFailException, match=r'encode="never".*clip 2 has another size \(320x90; the first has 160x90\)'
    ):
        run(join([clips[0], str(tmp_path / "wide.mp4")], encode="never"))


@pytest.mark.parametrize(("which", "kind", "light"), [("first", "first_frame", 60), ("last", "last_frame", 60)])
@pytest.mark.parametrize(("picture_format", "suffix"), [("png", ".png"), ("jpeg", ".jpg")])
def test_frames(clips: list[str], which: Any, kind: str, light: int, picture_format: Any, suffix: str) -> None:
    result = run(frame(clips[0], frame=which, picture_format=picture_format))
    assert (result["kind"], result["width"], result["height"]) == (kind, 160, 90)
    assert "videos" not in result and result["path"].endswith(suffix)
    with av.open(result["path"]) as container:
        picture = next(container.decode(video=0)).reformat(format="gray")
    # The clip's pictures are grey but for the flash.
    assert picture.planes[0].buffer_size and abs(bytes(picture.planes[0])[0] - (light - 16) * 255 / 219) < 6
    assert run(frame(clips[0], frame=which, picture_format=picture_format)) == result


def test_frame_problems() -> None:
    with pytest.raises(InvalidVeoArgument) as refused:
        frame("clip.mp4", frame="middle", picture_format="gif")
    for part in ("video='clip.mp4'", "frame='middle': allowed: 'first' or 'last'", "picture_format='gif'"):
        assert part in str(refused.value), part
