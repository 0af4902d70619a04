"""A video that a person has not approved stays unpublished, whatever the DAG's author forgot."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.hooks import decisions as decided
from airflow_provider_apimart.hooks.decisions import decisions_of
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.sidecar import MadeOf, Output, beside, keep_outputs, now
from tests.operators.conftest import Tries
from tests.operators.publish.conftest import decide, land, make
from tests.receiver import Receiver


def publish(tries: Tries, video: Any, **more: Any) -> Any:
    operator = make(video, **more)
    return operator.execute(tries.next(operator))


def refused(tries: Tries, match: str, video: Any, **more: Any) -> None:
    with pytest.raises(AirflowFailException, match=match):
        publish(tries, video, **more)


@pytest.mark.parametrize("verdict", ["rejected", "another_take", "timeout"])
def test_a_video_that_was_not_approved_is_refused_for_good(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, verdict: str
) -> None:
    decide(landed, verdict)
    refused(tries, r"is not approved.*This try has posted nothing", landed)
    # A path alone is refused as well.
    refused(tries, r"is not approved", landed["videos"][0]["path"])
    assert receiver.attempts == []


def test_the_refusal_names_who_rejected_it_and_when(receiver: Receiver, landed: dict[str, Any], tries: Tries) -> None:
    decide(landed, "rejected")
    refused(tries, r"rejected by Ada \(id 7\) at 20.* UTC in ads\.approve, run monday", landed)


def test_an_approved_video_is_posted(receiver: Receiver, landed: dict[str, Any], tries: Tries) -> None:
    decide(landed, "rejected", run_id="sunday")
    decide(landed, "approved")
    publish(tries, landed, require_approval=True)
    assert len(receiver.effects) == 1
    assert [line["decision"] for line in decisions_of(landed["videos"][0]["path"])] == ["rejected", "approved"]


@pytest.mark.parametrize("value", [True, "true"])
def test_an_approval_can_be_required(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, value: bool | str
) -> None:
    refused(tries, r"nobody has decided", landed, require_approval=value)
    assert receiver.attempts == []


def test_a_damaged_file_of_decisions_is_no_approval(receiver: Receiver, landed: dict[str, Any], tries: Tries) -> None:
    Path(f"{landed['videos'][0]['path']}.decision.json").write_text("{")
    operator = make(landed)
    with pytest.raises(Exception, match=r"counts as not approved"):
        operator.execute(tries.next(operator))
    assert receiver.attempts == []


def test_what_is_public_stays_known_when_it_is_rejected_later(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    operator = make(landed)
    first = operator.execute(tries.next(operator))
    decide(landed, "rejected")
    assert operator.execute(tries.next(operator)) == first
    assert len(receiver.attempts) == 1


def test_a_rejection_of_one_video_says_nothing_about_another(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    decide(landed, "rejected")
    publish(tries, land(tmp_path, "gen-2.mp4", b"another content"))
    assert len(receiver.effects) == 1


# --- what was made of a video -----------------------------------------------------------------------------------------


def made_of(
    landed: dict[str, Any], *others: dict[str, Any], name: str = "square", kind: str = "rendition", suffix: str = ".mp4"
) -> dict[str, Any]:
    """Note something that was made of videos, as the workshop does; its content is another video."""
    sources = [each["videos"][0] for each in (landed, *others)]
    first = Path(sources[0]["path"])
    content = first.read_bytes() + (8).to_bytes(4, "big") + b"free"
    path = first.with_name(f"{first.stem}.{name}-0123456789{suffix}")
    path.write_bytes(content)
    output = Output(
        kind=kind,
        path=str(path),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        fingerprint="0123456789",
        parameters={},
        made_of=tuple(MadeOf(path=each["path"], sha256=each["sha256"]) for each in sources),
        made_at=now(),
    )
    place = file_of(str(first), "video")
    keep_outputs(beside(place), sources[0]["sha256"], [output])
    return {"path": str(path), "bytes": output.bytes, "sha256": output.sha256}


@pytest.mark.parametrize("verdict", ["rejected", "another_take", "timeout"])
@pytest.mark.parametrize("whole", [True, False], ids=["as a result", "as a path"])
def test_what_was_made_of_a_rejected_video_is_refused(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, verdict: str, whole: bool
) -> None:
    rendition = made_of(landed)
    decide(landed, verdict)
    refused(tries, r"is not approved", rendition if whole else rendition["path"])
    assert receiver.attempts == []


def test_an_approval_of_the_source_is_one_of_what_was_made_of_it(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    rendition = made_of(landed)
    refused(tries, "nobody has decided about", rendition, require_approval=True)
    decide(landed, "approved")
    publish(tries, rendition, require_approval=True)
    assert len(receiver.effects) == 1


def test_an_approval_of_what_was_made_is_enough_unless_a_source_was_rejected(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    rendition = made_of(landed)
    decide({"videos": [rendition]}, "approved")
    decide(landed, "rejected", task_id="look_at_raw")
    refused(tries, r"rejected by Ada .*look_at_raw", rendition, require_approval=True)
    decide(landed, "approved", task_id="look_at_raw")
    publish(tries, rendition, require_approval=True)
    assert len(receiver.effects) == 1


def test_a_join_needs_all_its_clips_approved(
    receiver: Receiver, landed: dict[str, Any], tmp_path: Path, tries: Tries
) -> None:
    other_path = tmp_path / "other.mp4"
    other_path.write_bytes(Path(landed["videos"][0]["path"]).read_bytes() + (12).to_bytes(4, "big") + b"freeabcd")
    checksum = hashlib.sha256(other_path.read_bytes()).hexdigest()
    other = {"videos": [{"path": str(other_path), "bytes": other_path.stat().st_size, "sha256": checksum}]}
    join = made_of(landed, other, name="join")
    decide(landed, "approved")
    refused(tries, r"nobody has decided about .*other\.mp4", join, require_approval=True)
    decide(other, "approved")
    publish(tries, join, require_approval=True)
    assert len(receiver.effects) == 1


def copy(landed: dict[str, Any], path: Path, more: bytes = b"another") -> dict[str, Any]:
    """Put another video beside it: the same one, and something at its end that no player looks at."""
    content = Path(landed["videos"][0]["path"]).read_bytes() + (8 + len(more)).to_bytes(4, "big") + b"free" + more
    path.write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    return {"videos": [{"path": str(path), "bytes": len(content), "sha256": checksum}]}


def test_a_rendition_stays_refused_when_another_video_takes_the_source_s_name(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    rendition = made_of(landed)
    decide(landed, "rejected")
    another = copy(landed, Path(landed["videos"][0]["path"]))
    made_of(another, name="vertical")
    refused(tries, "is not approved", rendition)
    another = copy(landed, Path(landed["videos"][0]["path"]), b"a third one")
    made_of(another, name="vertical")
    refused(tries, "is not approved", rendition)
    assert receiver.attempts == []


def test_a_source_s_name_may_have_no_suffix(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    source = copy(landed, tmp_path / "clip")
    rendition = made_of(source)
    decide(source, "rejected")
    refused(tries, "is not approved", rendition)
    assert receiver.attempts == []


def test_a_picture_of_a_rejected_video_is_not_shown_in_another_one(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    other = copy(landed, tmp_path / "other.mp4")
    frame = {"videos": [made_of(landed, name="last_frame", kind="last_frame", suffix=".png")]}
    rendition = made_of(other, frame)
    decide(other, "approved")
    # Nobody has decided about the video that the picture is from.
    refused(tries, "nobody has decided about", rendition, require_approval=True)
    decide(landed, "rejected")
    refused(tries, "is not approved", rendition)
    decide(landed, "approved", at=datetime.now(UTC))
    publish(tries, rendition, require_approval=True)
    assert len(receiver.effects) == 1


def test_a_logo_and_music_need_no_approval(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    logo, music = copy(landed, tmp_path / "logo.png"), copy(landed, tmp_path / "music.mp3")
    rendition = made_of(landed, logo, music)
    decide(landed, "approved")
    publish(tries, rendition, require_approval=True)
    assert len(receiver.effects) == 1


def test_one_clip_in_two_parts_needs_one_approval(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    left, right = made_of(landed, name="left"), made_of(landed, name="right")
    join = made_of({"videos": [left]}, {"videos": [right]}, name="join")
    refused(tries, "nobody has decided about", join, require_approval=True)
    decide(landed, "approved")
    publish(tries, join, require_approval=True)
    assert len(receiver.effects) == 1


def test_notes_that_name_each_other_are_no_approval(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    rendition = made_of(landed)
    source = landed["videos"][0]
    # The source, too, is said to be made: of the rendition.
    circle = Path(rendition["path"])
    named = circle.with_name(f"{circle.stem}.back-0123456789.mp4")
    Path(source["path"]).rename(named)
    back = {"path": str(named), "sha256": source["sha256"]}
    for place, made, of in ((circle, back, rendition), (named, rendition, back)):
        output = Output(
            kind="rendition",
            path=made["path"],
            bytes=1,
            sha256=made["sha256"],
            fingerprint="0123456789",
            made_of=(MadeOf(path=of["path"], sha256=of["sha256"]),),
            made_at=now(),
        )
        keep_outputs(beside(file_of(str(place), "video")), of["sha256"], [output])
    first = Path(source["path"]).with_name(f"{Path(source['path']).name}.media.json")
    first.write_text(first.read_text().replace(str(source["path"]), str(named)))
    refused(tries, "nobody has decided about", rendition, require_approval=True)
    decide({"videos": [back]}, "rejected")
    refused(tries, "is not approved", rendition)
    assert receiver.attempts == []


def test_more_than_can_be_looked_at_is_refused(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = landed
    for number in range(4):
        last = {"videos": [made_of(last, name=f"step{number}")]}
    for name, most in (("MOST_STEPS", 3), ("MOST_FILES", 4)):
        with monkeypatch.context() as patch:
            patch.setattr(decided, name, most)
            refused(tries, "cannot be told", last)
    publish(tries, last)
    assert len(receiver.effects) == 1
