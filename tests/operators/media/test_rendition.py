"""VideoRenditionOperator: what it refuses while the DAG is parsed, what it makes, and that it makes it once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from PIL import Image

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.media import workshop
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.media import VideoRenditionOperator
from airflow_provider_apimart.operators.videos import find
from tests.media.clips import make_clip

TALL = {"name": "tall", "width": 90, "height": 160, "effort": "ultrafast"}
WIDE = {"name": "wide", "width": 160, "height": 90, "effort": "ultrafast"}


class FakeTi:
    """The part of a task instance that the operator uses."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", seconds=1)


def run(video: Any, **arguments: Any) -> tuple[dict[str, Any], FakeTi]:
    ti = FakeTi()
    task = VideoRenditionOperator(**{"task_id": "renditions", "video": video, "shapes": [TALL], **arguments})
    return task.execute({"ti": ti}), ti


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_makes_each_shape_once_and_every_consumer_takes_it(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, ti = run(str(clip), shapes=[TALL, WIDE])
    assert list(result["outputs"]) == ["tall", "wide"] and ti.pushed == result["outputs"]
    for name, size in (("tall", (90, 160)), ("wide", (160, 90))):
        output = result["outputs"][name]
        made = Path(output["path"])
        assert made.name == f"clip.{name}-{output['fingerprint'][:10]}.mp4" and made.parent == clip.parent
        assert output["kind"] == "rendition" and (output["width"], output["height"]) == size
        assert output["sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
        assert output["bytes"] == made.stat().st_size and output["has_audio"] is True
        with av.open(str(made)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.codec_context.name) == (*size, "h264")
        # As ``video=renditions.output[name]``, or by its number in the whole result.
        place, video = find(output)
        assert place.path == str(made) and video is not None and video.sha256 == output["sha256"]
    assert find(result, 2)[0].path == result["outputs"]["wide"]["path"]

    monkeypatch.setattr(workshop, "run_isolated", None)
    assert run(str(clip), shapes=[TALL, WIDE])[0] == result


def test_a_further_shape_makes_only_itself(clip: Path) -> None:
    first, _ = run(str(clip))
    before = Path(first["outputs"]["tall"]["path"]).stat().st_mtime_ns
    both, _ = run(str(clip), shapes=[TALL, WIDE])
    assert both["outputs"]["tall"] == first["outputs"]["tall"]
    assert Path(both["outputs"]["tall"]["path"]).stat().st_mtime_ns == before


def test_another_logo_under_the_same_name_is_another_rendition(clip: Path, tmp_path: Path) -> None:
    made = []
    for colour in ("red", "blue", "red"):
        Image.new("RGBA", (20, 10), colour).save(tmp_path / "logo.png")
        made.append(run(str(clip), logo=str(tmp_path / "logo.png"))[0]["outputs"]["tall"]["path"])
    assert made[0] == made[2] != made[1]
    # Parameters name what a file holds and not where it lies; the inputs beside them say where.
    output = run(str(clip), logo=tmp_path / "logo.png")[0]["outputs"]["tall"]
    assert str(tmp_path) not in str(output["parameters"])


def test_into_a_folder(clip: Path, tmp_path: Path) -> None:
    result, _ = run(str(clip), output_path=f"{tmp_path}/made/")
    assert Path(result["outputs"]["tall"]["path"]).parent == tmp_path / "made"
    assert files(tmp_path) == ["clip.mp4", "made"]


def test_templates_may_give_objects(clip: Path) -> None:
    task = VideoRenditionOperator(
        task_id="renditions", video="{{ v }}", shapes="{{ shapes | tojson }}", loudness="{{ lufs }}"
    )
    task.render_template_fields({"v": str(clip), "shapes": [TALL], "lufs": -16})
    assert list(task.execute({"ti": FakeTi()})["outputs"]) == ["tall"]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ({"shapes": "reel"}, ["shapes", "'reel'", "youtube, shorts, reels, tiktok, square, feed"]),
        ({"shapes": None}, ["shapes=None", "a preset"]),
        ({"shapes": [{"preset": "reels", "fit": "stretch"}]}, ["shapes.0.fit='stretch'", "'pad', 'crop' or 'blur'"]),
        ({"shapes": [{"preset": "reels", "frame_rate": 12}]}, ["frame_rate 12", "reels takes 23 to 60", "https://"]),
        ({"shapes": [{"preset": "reels", "video_bitrate": 30_000_000}]}, ["at most 25000000"]),
        ({"shapes": [{"name": "a", "width": 641, "height": 360}]}, ["shapes.0.width=641", "multiple of 2"]),
        ({"shapes": ["reels", "reels"]}, ["each output its own name", "reels, reels"]),
        ({"shapes": [{"name": "../a", "width": 640, "height": 360}]}, ["shapes.0.name='../a'"]),
        ({"logo": "logo.png"}, ["logo.path='logo.png'", "absolute path"]),
        ({"logo": {"path": "/a.png", "opacity": 2, "margin": 1}}, ["logo.opacity=2", "logo.margin=1"]),
        ({"captions": {"text": "a", "path": "/a.srt"}}, ["captions", "either path or text"]),
        ({"captions": {"text": "a", "colour": "red"}}, ["captions.colour='red'"]),
        ({"captions": {"text": "a", "fonts": ["a.ttf"]}}, ["captions.fonts='a.ttf'", "absolute"]),
        ({"end_card": {"seconds": 3}}, ["end_card", "path, text, or both"]),
        ({"music": {"path": "/a.mp3", "volume": 3}}, ["music.volume=3", "not permitted"]),
        ({"loudness": 3}, ["loudness.lufs=3", "-5"]),
        ({"video": "clip.mp4"}, ["video='clip.mp4'"]),
        ({"output_path": "made/"}, ["output_path"]),
    ],
)
def test_refuses_while_the_dag_is_parsed(arguments: dict[str, Any], texts: list[str]) -> None:
    with pytest.raises(InvalidVeoArgument) as refusal:
        VideoRenditionOperator(**{"task_id": "renditions", "video": "/a.mp4", "shapes": [TALL], **arguments})
    for text in texts:
        assert text in str(refusal.value)


def test_refuses_all_at_once() -> None:
    with pytest.raises(InvalidVeoArgument) as refusal:
        VideoRenditionOperator(task_id="renditions", video="a", shapes="b", logo="c", loudness=1)
    assert all(f"{name}" in str(refusal.value) for name in ("video=", "shapes", "logo.path", "loudness.lufs"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"shapes": "reels"}, r"reels: the rendition would be 1\.00 s long; reels takes 3 to 900 s"),
        ({"captions": {"text": "\U0001f9ff\ue123"}}, r"captions: no font has .*U\+E123"),
        ({"logo": "{tmp}/clip.mp4"}, "logo: the picture cannot be read as PNG, JPEG or WebP"),
        ({"music": "{tmp}/note.txt"}, "music: the file cannot be read"),
        ({"captions": "{tmp}/note.srt"}, "captions: no cue with times"),
        ({"captions": "{tmp}/latin.txt"}, "captions: the file is not UTF-8"),
        ({"memory_limit_mib": 10}, "needs more than 10 MiB"),
        ({"video": "{tmp}/note.txt"}, "note.txt: the file cannot be decoded"),
    ],
)
def test_what_cannot_be_made_fails_for_good_and_leaves_nothing(
    clip: Path, tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    (tmp_path / "note.txt").write_text("not a video")
    (tmp_path / "note.srt").write_text("not captions")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    before = files(tmp_path)
    given = {
        name: value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
    with pytest.raises(AirflowFailException, match=text):
        run(given.pop("video", str(clip)), **given)
    assert files(tmp_path) == before


def test_a_file_that_is_not_there_is_named(clip: Path) -> None:
    with pytest.raises(LandingError, match=r"nothing\.png is not on this machine"):
        run(str(clip), logo="/nothing.png")


KILLED = """
import os, signal, sys
from airflow_provider_apimart.media import workshop
from airflow_provider_apimart.media.renditions import order
from airflow_provider_apimart.media.renditions.look import wanted
from tests.storage.places import local

def dies(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(work):
    def run(*args, **kwargs):
        work(*args, **kwargs)
        dies()
    return run

when = sys.argv[2]
if when == "before the work":
    workshop.run_isolated = dies
elif when == "after the work":
    workshop.run_isolated = dies_after(workshop.run_isolated)
elif when == "after the delivery":
    workshop.keep_outputs = dies
asked, _ = wanted([{"name": "tall", "width": 90, "height": 160, "effort": "ultrafast"}])
workshop.make(order.order_of(workshop.Source(local(sys.argv[1])), asked, None, tuple))
"""


@pytest.mark.parametrize("when", ["before the work", "after the work", "after the delivery"])
def test_killed_anywhere_it_is_whole_or_absent(clip: Path, when: str) -> None:
    """The workshop's own tests kill it at every step; here it is real work that dies."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(clip), when],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    left = list(clip.parent.glob("clip.tall-*.mp4"))
    assert len(left) == (1 if when == "after the delivery" else 0)
    result, _ = run(str(clip))
    made = Path(result["outputs"]["tall"]["path"])
    assert left in ([], [made])
    with av.open(str(made)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24


def test_a_rendition_keeps_the_generation_that_it_is_of(clip: Path) -> None:
    data = clip.read_bytes()
    entry = {"path": str(clip), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    result, ti = run({"generation_id": "task_1", "videos": [entry]})
    assert result["outputs"]["tall"]["generation_id"] == ti.pushed["tall"]["generation_id"] == "task_1"
    assert "generation_id" not in run(str(clip))[0]["outputs"]["tall"]
