"""What ``video=`` may be, and what is refused before anything is sent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException, ObjectStoragePath
from airflow_provider_apimart.client.errors import InvalidParameterError, LandingError
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.videos import resolve
from airflow_provider_apimart.publishing.errors import VideoChangedError
from tests.operators.conftest import Tries
from tests.operators.publish.conftest import CONTENT, land, make
from tests.receiver import Receiver

SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_every_way_to_name_a_landed_video_names_the_same(landed: dict[str, Any]) -> None:
    entry = landed["videos"][0]
    row = {"row": 3, "outcome": "landed", "generation_id": "gen-1", "path": entry["path"], "videos": [entry]}
    ways = (
        landed,
        json.dumps(landed),
        landed["videos"],
        {"generation_id": "gen-1", **entry},
        row,
        entry["path"],
        Path(entry["path"]),
        ObjectStoragePath(entry["path"]),
        f"file://{entry['path']}",
    )
    for way in ways:
        video = resolve(way).video
        assert (video.bytes, video.sha256, video.duration_seconds, video.width) == (len(CONTENT), SHA256, 8.0, 720)
        assert video.generation_id == (None if way is landed["videos"] else "gen-1")
        assert video.uri.removeprefix("file://") == entry["path"]


def test_a_video_of_ones_own_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "own.mov"
    path.write_bytes(CONTENT)
    video = resolve(str(path)).video
    assert (video.bytes, video.sha256, video.duration_seconds, video.generation_id) == (
        len(CONTENT),
        SHA256,
        None,
        None,
    )


@pytest.mark.parametrize("sidecar", ["", "no json", "[]", '{"video": 1}', '{"video": {"bytes": "1"}}'])
def test_another_file_beside_it_is_no_sidecar(tmp_path: Path, sidecar: str) -> None:
    path = tmp_path / "own.mp4"
    path.write_bytes(CONTENT)
    Path(f"{path}.json").write_text(sidecar)
    assert resolve(str(path)).video.sha256 == SHA256


def test_one_of_several_videos_has_to_be_chosen(tmp_path: Path) -> None:
    result = land(tmp_path)
    result["videos"] = [{**result["videos"][0], "path": str(tmp_path / f"{number}.mp4")} for number in (1, 2)]
    with pytest.raises(InvalidParameterError, match=r'has 2 videos; choose one: sample=1 to 2, or video=\.\.\.\["vid'):
        resolve(result)
    assert resolve(result, 2).video.uri.endswith("2.mp4")
    assert resolve(result, "1").video.uri.endswith("1.mp4")
    with pytest.raises(InvalidParameterError, match="allowed: 1 to 2"):
        resolve(result, 3)


@pytest.mark.parametrize(
    ("video", "said"),
    [
        (None, "allowed: a generate task's output"),
        ("", "allowed: a generate task's output"),
        ("clips/one.mp4", "absolute path"),
        ("/data/clips/", "absolute path"),
        ("https://cdn.example.com/x.mp4?sig=secret", "taken from storage"),
        ({}, "allowed: a generate task's output"),
        ({"videos": []}, "has no video"),
        ({"videos": [{"url": "https://cdn.example.com/x.mp4", "path": None}]}, "give the task.*an output_path"),
        ({"path": None}, "give the task.*an output_path"),
        ({"row": 7, "outcome": "failed", "error": "rejected", "videos": []}, "rejected"),
        ("{'path': 'one'}", "tojson"),
        (7, "allowed: a generate task's output"),
    ],
)
def test_what_names_no_video_is_refused_when_the_dag_is_parsed(video: Any, said: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=said) as failure:
        make(video)
    assert "secret" not in str(failure.value)


def test_a_password_in_a_path_is_not_shown() -> None:
    with pytest.raises(Exception, match="never a user and a password") as failure:
        resolve("s3://key:hunter22@bucket/clip.mp4")
    assert "hunter22" not in str(failure.value)


def test_a_file_that_is_missing_or_has_changed_is_never_sent(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    path = Path(landed["videos"][0]["path"])
    path.write_bytes(CONTENT[:-1] + b"x")
    operator = make(landed)
    with pytest.raises(AirflowFailException, match=r"has changed since.*Nothing of it was made public"):
        operator.execute(tries.next(operator))
    path.unlink()
    # Another worker may have it: this is worth a retry.
    with pytest.raises(LandingError, match=r"is not on this machine"):
        operator.execute(tries.next(operator))
    path.write_bytes(CONTENT)
    operator.execute(tries.next(operator))
    assert len(receiver.attempts) == 1


def test_an_own_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(LandingError, match=r"missing\.mp4 is not on this machine"):
        resolve(f"{tmp_path}/missing.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(VideoChangedError, match=r"folder\.mp4 does not exist"):
        resolve(f"{tmp_path}/folder.mp4")


def test_a_template_is_checked_once_it_is_rendered(receiver: Receiver, tries: Tries) -> None:
    operator = make("{{ params.path }}")
    operator.video = "not/absolute.mp4"
    with pytest.raises(InvalidVeoArgument, match="absolute path"):
        operator.execute(tries.next(operator))
