"""Joined clips: bit by bit where they agree, to the frame and to the sample where they do not."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from airflow_provider_apimart.generation.landing.mp4.verdict import read_mp4
from airflow_provider_apimart.media.errors import BadInput, Refused
from airflow_provider_apimart.media.joining.join import join
from tests.media.joining.marked import clicks, decoded, flashes, marked_clip, payloads

QUICK = {"preset": "ultrafast"}
#: An encoder smears the beginning of a click over a millisecond or two.
SMEARED = 0.003


def joined(clips: list[Path], folder: Path, **parameters: Any) -> tuple[Path, dict[str, Any]]:
    out = folder / "joined.mp4"
    facts = join([str(clip) for clip in clips], [{"name": "one", "path": str(out), "parameters": parameters}])
    return out, facts["one"]


def check_sync(path: Path, times: list[Fraction], *, naive: float = 0.01) -> None:
    """Check that the clips flash when they should, and that each click comes with its flash."""
    seen = flashes(path)
    assert seen == times
    for by_time, most in ((True, SMEARED), (False, naive)):
        heard = clicks(path, by_time=by_time)
        assert len(heard) == len(seen)
        off = [abs(click - float(flash)) for click, flash in zip(heard, seen, strict=True)]
        assert max(off) < most, (by_time, off)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def clip(shelf: Path, name: str, **options: Any) -> Path:
    path = shelf / f"{name}.mp4"
    return path if path.exists() else marked_clip(path, **options)


@pytest.mark.parametrize(
    ("frames", "rate"),
    # 2 s are 93.75 packets of sound, 4 s 187.5, 128 frames exactly 250; the others are odd.
    [(48, 48_000), (96, 48_000), (128, 48_000), (97, 48_000), (48, 44_100)],
)
def test_twenty_equal_clips_are_copied_and_stay_in_sync(tmp_path: Path, shelf: Path, frames: int, rate: int) -> None:
    one = clip(shelf, f"{frames}-{rate}", frames=frames, rate=rate)
    out, facts = joined([one] * 20, tmp_path, encode="never")
    seconds = Fraction(frames * 20, 24)
    assert decoded(out) == (frames * 20, seconds)
    assert facts == {
        "width": 160, "height": 90, "duration_seconds": pytest.approx(float(seconds), abs=0.001), "has_audio": True,
    }  # fmt: skip
    check_sync(out, [Fraction(frames * number + 24, 24) for number in range(20)])
    assert payloads(out, "video") == payloads(one, "video") * 20


def test_sound_whose_packets_meet_is_copied_too(tmp_path: Path, shelf: Path) -> None:
    one = clip(shelf, "128-48000", frames=128)
    out, _ = joined([one] * 3, tmp_path)
    own, found = payloads(one, "audio"), payloads(out, "audio")
    assert set(found) <= set(own) and len(found) == 3 * 250 + 1


def test_clips_of_different_lengths(tmp_path: Path, shelf: Path) -> None:
    lengths = [97, 48, 31, 128, 60, 96, 25, 73]
    clips = [clip(shelf, f"flash-{frames}", frames=frames, flash=12) for frames in lengths]
    out, _ = joined(clips, tmp_path, encode="never")
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    assert decoded(out)[0] == sum(lengths)
    check_sync(out, [Fraction(start + 12, 24) for start in starts])
    assert payloads(out, "video") == [packet for one in clips for packet in payloads(one, "video")]


def test_a_clip_whose_sound_ends_early_moves_nothing(tmp_path: Path, shelf: Path) -> None:
    short = clip(shelf, "short-sound", sound_ends_early=0.7)
    whole = clip(shelf, "96-48000")
    out, _ = joined([short, whole, short, whole], tmp_path, encode="never")
    check_sync(out, [Fraction(96 * number + 24, 24) for number in range(4)])


def test_silence_where_a_clip_has_no_sound(tmp_path: Path, shelf: Path) -> None:
    silent, heard = clip(shelf, "silent", sound=False), clip(shelf, "96-48000")
    out, facts = joined([silent, heard, silent, heard, silent], tmp_path, encode="never")
    assert facts["has_audio"] and decoded(out)[0] == 5 * 96
    found = clicks(out, by_time=False)
    assert [round(time, 2) for time in found] == [5.0, 13.0]
    with av.open(str(out)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(20 * 48_000, abs=1024)


def test_clips_without_sound(tmp_path: Path, shelf: Path) -> None:
    silent = clip(shelf, "silent", sound=False)
    out, facts = joined([silent, silent], tmp_path)
    assert not facts["has_audio"] and decoded(out) == (192, 8)
    with av.open(str(out)) as container:
        assert not container.streams.audio


def test_unequal_clips_take_the_shape_of_the_first(tmp_path: Path, shelf: Path) -> None:
    first = clip(shelf, "96-48000")
    upright = clip(shelf, "upright", frames=75, flash=25, fps=Fraction(25), size=(90, 160), rate=44_100, layout="mono")
    film = clip(shelf, "film", frames=60, flash=30, fps=Fraction(30_000, 1001), size=(320, 180))
    out, facts = joined([first, upright, film, first], tmp_path, **QUICK)
    # 4 s, 3 s, 2.002 s, 4 s.
    assert decoded(out) == (312, 13)
    assert (facts["width"], facts["height"], facts["duration_seconds"]) == (160, 90, 13.0)
    seen = flashes(out)
    assert seen == [Fraction(24, 24), 4 + Fraction(24, 24), Fraction(192, 24), Fraction(240, 24)]
    for by_time in (True, False):
        heard = clicks(out, by_time=by_time)
        # Half a frame: other frame rates have their flash between two frames of this one.
        assert [abs(click - float(flash)) < 1 / 48 for click, flash in zip(heard, seen, strict=True)] == [True] * 4
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
    bars = bytes(frames[110].planes[0])
    assert bars[frames[110].planes[0].line_size * 45 + 5] < 20, "the upright clip has black bars beside it"


def test_another_size_and_rate_on_request(tmp_path: Path, shelf: Path) -> None:
    out, facts = joined([clip(shelf, "96-48000")] * 2, tmp_path, size=[320, 240], frame_rate=30, **QUICK)
    assert (facts["width"], facts["height"]) == (320, 240)
    assert decoded(out) == (240, 8)


@pytest.mark.parametrize("transition", ["fade", "fadeblack", "fadewhite", "wipeleft", "slideleft"])
def test_transitions_overlap_the_clips(tmp_path: Path, shelf: Path, transition: str) -> None:
    clips = [clip(shelf, f"flash48-{grey}", flash=48, grey=grey) for grey in (60, 120)]
    out, facts = joined([*clips, clips[0]], tmp_path, transition=transition, fade_seconds=0.5, **QUICK)
    frames = 3 * 96 - 2 * 12
    assert decoded(out) == (frames, Fraction(frames, 24))
    assert facts["duration_seconds"] == frames / 24
    marks = [Fraction(48 + (96 - 12) * number, 24) for number in range(3)]
    heard = clicks(out, by_time=False)
    assert [abs(click - float(mark)) < SMEARED for click, mark in zip(heard, marks, strict=True)] == [True] * 3
    assert set(marks) <= set(flashes(out))


def test_a_fade_goes_from_the_one_to_the_other(tmp_path: Path, shelf: Path) -> None:
    clips = [clip(shelf, f"flash48-{grey}", flash=48, grey=grey) for grey in (60, 120)]
    out, _ = joined(clips, tmp_path, transition="fade", fade_seconds=0.5, **QUICK)
    with av.open(str(out)) as container:
        shades = [bytes(frame.planes[0])[0] for frame in container.decode(video=0)][80:100]
    assert shades[0] == pytest.approx(60, abs=3) and shades[-1] == pytest.approx(120, abs=3)
    assert shades == sorted(shades) and len(set(shades)) > 8


def test_clips_that_are_too_short_for_a_fade_are_refused(tmp_path: Path, shelf: Path) -> None:
    short = clip(shelf, "flash-25", frames=25, flash=12)
    with pytest.raises(Refused, match=r"clip 2 has 1\.042 s"):
        joined([clip(shelf, "96-48000"), short, short], tmp_path, transition="fade", fade_seconds=1.0, **QUICK)


@pytest.mark.parametrize(("other", "why"), [("upright", "another"), ("grey", None)])
def test_never_encode(tmp_path: Path, shelf: Path, other: str, why: str | None) -> None:
    clip(shelf, "upright", frames=75, flash=25, fps=Fraction(25), size=(90, 160), rate=44_100, layout="mono")
    clip(shelf, "grey", grey=100)
    clips = [clip(shelf, "96-48000"), shelf / f"{other}.mp4"]
    if why is None:
        joined(clips, tmp_path, encode="never")
        return
    with pytest.raises(Refused, match=rf'encode="never".*clip 2 has {why}'):
        joined(clips, tmp_path, encode="never")
    with pytest.raises(Refused, match="transition"):
        joined([clips[0]] * 2, tmp_path, encode="never", transition="fade")


def test_always_encode(tmp_path: Path, shelf: Path) -> None:
    one = clip(shelf, "96-48000")
    out, _ = joined([one, one], tmp_path, encode="always", **QUICK)
    assert payloads(out, "video") != payloads(one, "video") * 2
    check_sync(out, [Fraction(24, 24), Fraction(120, 24)])


@pytest.mark.parametrize("encode", ["never", "always"])
def test_the_index_comes_first_and_the_container_is_whole(tmp_path: Path, shelf: Path, encode: str) -> None:
    out, _ = joined([clip(shelf, "96-48000")] * 2, tmp_path, encode=encode, **QUICK)
    data = out.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    with out.open("rb") as file:
        found = read_mp4(file, len(data))
    assert found.duration_seconds == pytest.approx(8.0, abs=0.05) and found.has_audio


@pytest.mark.parametrize("encode", ["auto", "always"])
def test_a_damaged_clip_is_named(tmp_path: Path, shelf: Path, encode: str) -> None:
    whole = clip(shelf, "96-48000")
    cut = tmp_path / "cut.mp4"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 3])
    nothing = tmp_path / "nothing.mp4"
    nothing.write_bytes(b"this is no video")
    for bad in (cut, nothing):
        with pytest.raises(BadInput) as error:
            joined([whole, bad, whole], tmp_path, encode=encode, **QUICK)
        assert error.value.number == 1


def test_the_end_of_a_clip_is_missing(tmp_path: Path, shelf: Path) -> None:
    # The index is whole and promises more than there is.
    out, _ = joined([clip(shelf, "96-48000")], tmp_path)
    cut = tmp_path / "cut.mp4"
    data = out.read_bytes()
    cut.write_bytes(data[: data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2])
    for encode in ("auto", "always"):
        with pytest.raises(BadInput) as error:
            joined([clip(shelf, "96-48000"), cut], tmp_path, encode=encode, **QUICK)
        assert error.value.number == 1


MEASURE = """
import json, resource, sys
from airflow_provider_apimart.media.joining.join import join
clip, out, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
join([clip] * count, [{"name": "one", "path": out, "parameters": {"encode": "never"}}])
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def test_copying_takes_the_same_memory_for_any_length(tmp_path: Path, shelf: Path) -> None:
    one = clip(shelf, "128-48000", frames=128)
    used = []
    for count in (2, 60):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(one), str(tmp_path / "out.mp4"), str(count)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        used.append(json.loads(done.stdout))
    assert used[1] - used[0] < 24 * 1024
