"""``VideoPosterOperator``: what it takes, what it returns, and that it makes nothing twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from PIL import Image

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.media import workshop
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.media import VideoPosterOperator
from tests.media.clips import make_clip
from tests.operators.conftest import Tries
from tests.operators.told import context_of


def poster(video: Any, **arguments: Any) -> VideoPosterOperator:
    return VideoPosterOperator(task_id="poster", video=video, **arguments)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", seconds=1)


def test_everything_at_once_and_only_once(clip: Path, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = poster(
        str(clip), poster_format="webp", width="100", preview="true", frames=["last", "first"], outlets=[Asset("a")]
    )
    context = context_of(tries, operator)
    result = operator.execute(context)  # type: ignore[arg-type]
    sha256 = hashlib.sha256(clip.read_bytes()).hexdigest()
    assert result["video"] == {"path": str(clip), "sha256": sha256}
    sizes = {"poster": (100, 56), "preview": (320, 180), "first_frame": (320, 180), "last_frame": (320, 180)}
    for kind, size in sizes.items():
        made = result[kind]
        assert (made["kind"], made["width"], made["height"]) == (kind, *size)
        data = Path(made["path"]).read_bytes()
        assert (made["bytes"], made["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        with Image.open(made["path"]) as picture:
            assert picture.size == size
    assert {image["name"] for image in context["outlet_events"][Asset("a")].extra["images"]} == set(sizes)
    note = json.loads(Path(f"{clip}.media.json").read_text())
    assert {output["kind"] for output in note["outputs"]} == set(sizes)

    monkeypatch.setattr(workshop, "run_isolated", None)
    again = poster(result["video"], poster_format="webp", width=100, preview=True, frames=["last", "first"])
    assert again.execute(tries.next(again)) == result


def test_a_poster_alone(clip: Path, tries: Tries, tmp_path: Path) -> None:
    operator = poster(str(clip), output_path=f"{tmp_path}/out/")
    result = operator.execute(tries.next(operator))
    assert Path(result["poster"]["path"]).parent == tmp_path / "out"
    assert result["preview"] is result["first_frame"] is result["last_frame"] is None


def test_what_is_no_video(tmp_path: Path, tries: Tries) -> None:
    (tmp_path / "clip.mp4").write_text("<!DOCTYPE html>" * 20)
    operator = poster(str(tmp_path / "clip.mp4"))
    with pytest.raises(AirflowFailException, match=r"clip\.mp4: the file cannot be decoded.*Nothing was paid"):
        operator.execute(tries.next(operator))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"poster_format": "gif", "quality": 0}, "poster_format='gif'.*quality=0"),
        ({"width": 0}, "width=0: allowed: a whole number"),
        ({"preview": "perhaps"}, "preview='perhaps': allowed: True or False"),
        ({"frames": "first"}, "frames='first': allowed: None, or a list"),
        ({"frame_format": "webp"}, "frame_format='webp'"),
        ({"output_path": "pictures/"}, "output_path='pictures/'"),
    ],
)
def test_what_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=said):
        poster("/data/clip.mp4", **arguments)
