"""``VideoCheckOperator``: what it takes, what it says, and what it leaves beside the video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException, AirflowSkipException
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.media import checking
from airflow_provider_apimart.media.check import DEFAULT_VERDICTS
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.media import VideoCheckOperator
from airflow_provider_apimart.operators.publish.webhook import WebhookPublishOperator
from tests.media.clips import make_clip
from tests.operators.conftest import Tries
from tests.operators.single import make


def check(video: Any, **arguments: Any) -> VideoCheckOperator:
    return VideoCheckOperator(task_id="check", video=video, **arguments)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4").read_bytes()


@pytest.fixture
def good(tmp_path: Path, clip: bytes) -> Path:
    path = tmp_path / "good.mp4"
    path.write_bytes(clip)
    return path


def test_a_video_of_ones_own(good: Path, tries: Tries) -> None:
    operator = check(str(good))
    context = tries.next(operator)
    result = operator.execute(context)
    assert (result["verdict"], result["path"], result["bytes"]) == ("ok", str(good), good.stat().st_size)
    # Nothing is known of what was asked for.
    assert {rule["rule"] for rule in result["rules"]} == set(DEFAULT_VERDICTS) - {
        "duration",
        "resolution",
        "aspect_ratio",
        "audio_track",
    }
    (video,) = result["videos"]
    assert video["sha256"] == result["sha256"] and video["has_audio"] is True and video["width"] == 320
    (report,) = context["ti"].pushed["check"]
    note = json.loads(Path(f"{good}.media.json").read_text())
    assert note["video_sha256"] == result["sha256"]
    assert note["check"]["rules"] == report["rules"] == result["rules"]
    assert note["check"]["facts"] == report["facts"]
    # The next task takes the check's output.
    WebhookPublishOperator(task_id="post", video=result)


def test_what_is_asked_for_here(good: Path, tries: Tries) -> None:
    operator = check(str(good), duration="8", aspect_ratio="9:16", resolution="1080p", audio="true")
    with pytest.raises(AirflowFailException) as failure:
        operator.execute(tries.next(operator))
    text = str(failure.value)
    assert "duration: 2.0 (wanted: 8 s" in text and "aspect_ratio: 320x180 (wanted: 9:16" in text
    assert "set 'duration', 'resolution', 'aspect_ratio' to 'warn' or 'off'" in text
    assert 'on_clear="regenerate"' in text and "nothing is paid for" in text


def test_measured_once_judged_by_any_rules(good: Path, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(str(good)).execute(tries.next(check(str(good))))
    monkeypatch.setattr(checking, "run_isolated", None)
    again = check(first, rules={"black": "off"}, limits='{"loudness_lufs": [-10, -5]}')
    result = again.execute(tries.next(again))
    assert result["verdict"] == "warn"
    assert result["facts"] == first["facts"]


@pytest.mark.parametrize(("verdict", "error"), [("fail", AirflowFailException), ("skip", AirflowSkipException)])
def test_a_file_that_is_no_video(tmp_path: Path, tries: Tries, verdict: str, error: type[Exception]) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("this is no video")
    operator = check(str(path), rules={"decode": verdict})
    context = tries.next(operator)
    with pytest.raises(error, match=r"a\.mp4 fails its check: decode: the file cannot be decoded"):
        operator.execute(context)
    assert context["ti"].pushed["check"][0]["facts"] is None
    assert json.loads(Path(f"{path}.media.json").read_text())["check"]["verdict"] == verdict


def test_what_the_generation_was_asked_for_comes_from_its_sidecar(
    emulator: Emulator, tries: Tries, no_waiting: list[float], tmp_path: Path
) -> None:
    generate = make(tmp_path, resolution="1080p", aspect_ratio="9:16")
    result = generate.execute(tries.next(generate))
    rules = dict.fromkeys(("black", "frozen", "silent", "loudness", "faststart"), "off")
    for video in (result, result["videos"][0], result["videos"][0]["path"]):
        operator = check(video, rules=rules)
        wanted = {rule["rule"]: rule["wanted"] for rule in operator.execute(tries.next(operator))["rules"]}
        assert wanted["duration"].startswith("4 s, as asked")
        assert (wanted["resolution"], wanted["aspect_ratio"]) == ("1080p, as asked", "9:16, as asked")
    operator = check(result, rules=rules, duration=6)
    with pytest.raises(AirflowFailException, match="wanted: 6 s"):
        operator.execute(tries.next(operator))


def test_a_folder_that_cannot_be_written_costs_the_note_only(
    good: Path, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(checking, "keep_check", full)
    operator = check(str(good))
    assert operator.execute(tries.next(operator))["verdict"] == "ok"


def test_the_report_goes_into_a_folder(good: Path, tmp_path: Path, tries: Tries) -> None:
    operator = check(str(good), output_path=f"{tmp_path}/reports/")
    sha256 = operator.execute(tries.next(operator))["sha256"]
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [f"good.mp4.{sha256[:10]}.media.json"]
    assert not Path(f"{good}.media.json").exists()


def test_a_changed_and_a_missing_file(good: Path, tries: Tries) -> None:
    operator = check({"path": str(good), "bytes": 1, "sha256": "0" * 64})
    with pytest.raises(AirflowFailException, match=r"has changed since. Nothing was paid"):
        operator.execute(tries.next(operator))
    good.unlink()
    with pytest.raises(Exception, match="is not on this machine") as failure:
        operator.execute(tries.next(operator))
    assert not isinstance(failure.value, AirflowFailException)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rules": {"blackness": "fail"}}, r"rules\['blackness'\]='fail': no such rule; allowed: decode"),
        ({"rules": "strict"}, "rules='strict': allowed: a dict"),
        ({"limits": {"black_share": "x"}}, "black_share='x': allowed: a number"),
        ({"duration": "long"}, "duration='long': allowed"),
        ({"resolution": "8K"}, "allowed: '720p' or"),
        ({"aspect_ratio": "wide"}, "aspect_ratio='wide': allowed: width:height"),
        ({"audio": "loud"}, "audio='loud': allowed: True or False"),
        ({"output_path": "/data/report.json"}, "allowed: a folder, such as '/data/report.json/'"),
        ({"output_path": "reports/"}, "has to be absolute"),
        ({"time_limit": 0}, "time_limit=0: allowed"),
        ({"time_limit": None}, "time_limit=None: allowed"),
        ({"memory_limit_mib": "much"}, "memory_limit_mib='much': allowed"),
        ({"video": "clip.mp4"}, "absolute path"),
        ({"video": {"videos": [{"path": "/a"}, {"path": "/b"}]}}, "has 2 videos; choose one"),
    ],
)
def test_wrong_arguments_are_refused_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=said):
        VideoCheckOperator(**{"task_id": "check", "video": "/data/clip.mp4", **arguments})


def test_all_problems_at_once() -> None:
    with pytest.raises(InvalidVeoArgument) as failure:
        check("clip.mp4", rules={"a": "b"}, duration="long")
    assert all(name in str(failure.value) for name in ("video=", "rules['a']", "duration="))


def test_a_bound_on_memory(good: Path, tries: Tries) -> None:
    operator = check(str(good), memory_limit_mib=1)
    with pytest.raises(AirflowFailException, match=r"needs more than 1 MiB of memory. Nothing was paid"):
        operator.execute(tries.next(operator))


@pytest.mark.parametrize("audio", [True, False])
def test_the_emulators_videos_are_good(emulator: Emulator, tries: Tries, tmp_path: Path, audio: bool) -> None:
    # The examples check them with the rules as they are.
    generate = make(tmp_path, generate_audio=audio)
    result = generate.execute(tries.next(generate))
    operator = check(result)
    assert operator.execute(tries.next(operator))["verdict"] in ("ok", "warn")
