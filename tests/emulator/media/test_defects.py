"""Clips with something wrong, as the faults of other services are asked for. The check of the provider sees it."""

from __future__ import annotations

import pytest

from tests.emulator.conftest import OFFICIAL
from tests.emulator.media.test_videos import measured

SOUND = {"generate_audio": True}


def seconds(fact):
    """Return how long something lasts."""
    return sum(one["end"] - one["start"] for one in fact) if isinstance(fact, list) else fact


def about(wanted):
    return pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize(
    ("kind", "mark", "fact", "found"),
    [
        ("clip_black", "[[black]]", "black", 4),
        ("clip_frozen", "[[Frozen]]", "frozen", 4),
        ("clip_silent", "[[silent]]", "silent", 4),
        ("clip_length", "[[short]]", "duration_seconds", 2),
    ],
)
def test_defects_by_fault_and_by_mark(tmp_path, submit, api, plain, emulator, kind, mark, fact, found):
    emulator.fault("submit", kind)
    assert seconds(measured(tmp_path, submit, api, plain, SOUND)[fact]) == about(found)
    assert seconds(measured(tmp_path, submit, api, plain, {**SOUND, "prompt": f"a dog {mark}"})[fact]) == about(found)
    assert seconds(measured(tmp_path, submit, api, plain, SOUND)[fact]) != about(found)


@pytest.mark.parametrize(
    ("kind", "fact"), [("clip_black", "black"), ("clip_frozen", "frozen"), ("clip_silent", "silent")]
)
def test_a_defect_of_so_many_seconds(tmp_path, submit, api, plain, emulator, kind, fact):
    emulator.fault("submit", kind, seconds=1.5)
    facts = measured(tmp_path, submit, api, plain, SOUND)
    assert facts[fact][0]["start"] == 0 and facts[fact][-1]["end"] == about(1.5)
    assert seconds(facts[fact]) == about(1.5)
    assert facts["duration_seconds"] == pytest.approx(4, abs=0.05)


def test_a_clip_of_another_length(tmp_path, submit, api, plain, emulator):
    emulator.fault("submit", "clip_length", seconds=5.5)
    facts = measured(tmp_path, submit, api, plain, SOUND)
    assert facts["duration_seconds"] == about(5.5)


def test_a_corrupt_clip_is_whole_as_a_file(tmp_path, submit, api, plain, emulator):
    emulator.fault("submit", "clip_corrupt")
    facts = measured(tmp_path, submit, api, plain, SOUND)
    assert facts["decode_errors"] > 0 and facts["duration_seconds"] == pytest.approx(4, abs=0.3)


def test_a_defect_costs_what_a_good_video_costs(submit, emulator):
    """A service bills what it has made, whatever it looks like."""
    emulator.fault("submit", "clip_black")
    submit(OFFICIAL)
    submit(OFFICIAL)
    assert len({one["charged_usd"] for one in emulator.state()["generations"]}) == 1
    assert [one.get("defect") for one in emulator.state()["generations"]] == ["black", None]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"route": "media", "kind": "clip_black"}, "fault of a submission: route submit or remix, not media"),
        ({"route": "submit", "kind": "clip_length", "seconds": 0}, "above 0 and at most 60, not 0"),
        ({"route": "submit", "kind": "clip_length", "seconds": 600}, "at most 60"),
    ],
)
def test_defects_that_cannot_be(emulator, options, text):
    with pytest.raises(ValueError, match=text):
        emulator.faults(options)
