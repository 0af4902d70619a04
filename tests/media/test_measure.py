"""What is measured in clips with known defects."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import psutil
import pytest

from airflow_provider_apimart.media import child
from airflow_provider_apimart.media.child import run_isolated
from airflow_provider_apimart.media.errors import MediaBoundsError, MediaToolError, UndecodableVideoError
from airflow_provider_apimart.media.facts import VideoFacts
from airflow_provider_apimart.media.measure import measure
from tests.media.clips import make_clip


def _facts(path: Path) -> VideoFacts:
    return VideoFacts.model_validate(measure(str(path)))


def test_a_good_clip(tmp_path: Path) -> None:
    facts = _facts(make_clip(tmp_path / "a.mp4"))
    assert (facts.duration_seconds, facts.frames, facts.frame_rate) == (2.0, 48, 24.0)
    assert (facts.width, facts.height) == (320, 180)
    assert (facts.video_codec, facts.pixel_format, facts.audio_codec) == ("h264", "yuv420p", "aac")
    assert facts.audio_seconds == pytest.approx(1.984)
    assert facts.faststart is True
    assert facts.decode_errors == 0
    assert facts.black == facts.frozen == facts.silent == ()
    # A sine at 0.1 on both channels: -23 LUFS + 3 dB for the second channel, within the filter's accuracy.
    assert facts.loudness_lufs == pytest.approx(-20.7, abs=0.3)
    assert facts.clipped_share == 0


@pytest.mark.parametrize(("encoder", "name"), [("libsvtav1", "av1"), ("libx265", "hevc"), ("libvpx-vp9", "vp9")])
def test_a_codec_has_its_own_name_and_not_its_decoders(tmp_path: Path, encoder: str, name: str) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(encoder, rate=24)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(3):
            frame = av.VideoFrame(160, 96, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert _facts(path).video_codec == name


def test_black_is_also_frozen(tmp_path: Path) -> None:
    facts = _facts(make_clip(tmp_path / "a.mp4", picture="black"))
    assert facts.black_share == 1
    assert facts.frozen_share == 1


def test_black_from_the_middle_to_the_end(tmp_path: Path) -> None:
    facts = _facts(make_clip(tmp_path / "a.mp4", black_from=1.0))
    assert [(span.start, span.end) for span in facts.black] == [(1.0, 2.0)]
    assert facts.black_share == pytest.approx(0.5)


def test_a_still_picture(tmp_path: Path) -> None:
    facts = _facts(make_clip(tmp_path / "a.mp4", picture="still"))
    assert facts.black_share == 0
    assert facts.frozen_share == 1


def test_silence(tmp_path: Path) -> None:
    facts = _facts(make_clip(tmp_path / "a.mp4", sound="silent"))
    assert facts.silent_share == 1
    assert facts.loudness_lufs is None
    assert facts.peak_dbfs is None


def test_clipped_sound(tmp_path: Path) -> None:
    facts = _facts(make_clip(tmp_path / "a.mp4", sound="clipped"))
    assert facts.clipped_share is not None
    assert facts.clipped_share > 0.001


def test_no_sound(tmp_path: Path) -> None:
    facts = _facts(make_clip(tmp_path / "a.mp4", sound=None))
    assert facts.audio_codec is None
    assert facts.audio_seconds is None
    assert facts.silent_share == 0


def test_the_index_at_the_end(tmp_path: Path) -> None:
    assert _facts(make_clip(tmp_path / "a.mp4", faststart=False)).faststart is False


def test_damaged_pictures_are_counted(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 2000
    data[start : start + 1500] = bytes(1500)
    path.write_bytes(data)
    assert _facts(path).decode_errors > 0


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\0" * 4096, b"\0\0\0\x18ftypmp42" + b"\0" * 100])
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(UndecodableVideoError, match="cannot be decoded") as caught:
        run_isolated("measure", {"path": str(path)})
    assert str(tmp_path) not in str(caught.value)


def test_the_child_gives_the_same_facts(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    assert run_isolated("measure", {"path": str(path)}) == measure(str(path))


def test_a_bound_on_time(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    with pytest.raises(MediaBoundsError, match=r"within 0\.01 s"):
        run_isolated("measure", {"path": str(path)}, seconds=0.01)


def test_a_bound_on_memory(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=0.2, size=(3840, 2160), sound=None)
    with pytest.raises(MediaBoundsError, match="more than 16 MiB"):
        run_isolated("measure", {"path": str(path)}, memory_bytes=16 * 1024**2)


def test_a_crash_of_the_decoder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashing_child.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "_MODULE", "crashing_child")
    with pytest.raises(UndecodableVideoError, match=r"made the decoder crash \(SIGSEGV\)"):
        run_isolated("measure", {"path": "any"})


def test_a_child_that_says_nothing_is_no_verdict_on_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "silent_child.py").write_text("raise SystemExit('no space left')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "_MODULE", "silent_child")
    with pytest.raises(MediaToolError, match="no space left"):
        run_isolated("measure", {"path": "any"})


def test_a_playlist_in_disguise_opens_no_other_file(tmp_path: Path) -> None:
    secret = make_clip(tmp_path / "secret.mp4")
    for content in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
    ):
        (tmp_path / "a.mp4").write_text(content)
        with pytest.raises(UndecodableVideoError, match="cannot be decoded"):
            run_isolated("measure", {"path": str(tmp_path / "a.mp4")})


def test_what_ends_before_its_index_says_is_not_complete(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    facts = _facts(path)
    assert facts.declared_seconds == 2.0
    assert facts.duration_seconds < 1.5


def test_square_pixels_and_turned(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 240, 180, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame(240, 180, "yuv420p")))
        container.mux(stream.encode(None))
    facts = _facts(path)
    assert (facts.width, facts.height, facts.frames) == (320, 180, 1)
    data = path.read_bytes()
    start = data.index(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:start] + turned + data[start + 36 :])
    facts = _facts(path)
    assert (facts.width, facts.height) == (180, 320)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000)
        stream.layout = "stereo"
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UndecodableVideoError, match="no picture"):
        run_isolated("measure", {"path": str(path)})


def test_pictures_that_change_their_size(tmp_path: Path) -> None:
    wide, narrow = (  # One stream after the other, as a recorder that was switched writes it.
        make_clip(tmp_path / f"{w}", size=(w, 180), seconds=1, sound=None, container_format="mpegts")
        for w in (320, 160)
    )
    path = tmp_path / "a.ts"
    path.write_bytes(wide.read_bytes() + narrow.read_bytes())
    facts = _facts(path)
    assert (facts.frames, facts.decode_errors, facts.width) == (48, 0, 320)


def test_damaged_files_never_crash_or_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_clip(tmp_path / "whole.mp4", seconds=0.5)
    monkeypatch.setattr(child, "_MODULE", "tests.media.damage")
    found = run_isolated("damage", {"path": str(whole), "folder": str(tmp_path), "seeds": list(range(48))}, seconds=120)
    assert found["unexpected"] == []
    assert found["measured"] > 0 and found["refused"] > 0
    assert found["measured"] + found["refused"] == 48


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "slow_child.py").write_text(
        "import json, pathlib, sys, time\n"
        "from airflow_provider_apimart.media import child\n"
        "order = json.load(sys.stdin)\n"
        "child._end_with(order['parent'], order['seconds'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(__import__('os').getpid()))\n"
        "time.sleep(60)\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from airflow_provider_apimart.media import child\n"
        "child._MODULE = 'slow_child'\n"
        "child.run_isolated('measure', {'path': 'any'})\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    pid = tmp_path / "pid"
    _until(lambda: pid.exists() and bool(pid.read_text()))
    parent.kill()
    parent.wait()
    _until(lambda: not psutil.pid_exists(int(pid.read_text())))


def _until(done: Callable[[], bool]) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_the_child_gets_no_secret_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", "a secret")
    (tmp_path / "telling_child.py").write_text("import json, os; print(json.dumps({'result': dict(os.environ)}))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "_MODULE", "telling_child")
    assert "a secret" not in str(run_isolated("measure", {"path": "any"}))


def test_a_child_that_was_stopped_is_no_verdict_on_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "killed_child.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "_MODULE", "killed_child")
    with pytest.raises(MediaToolError, match="SIGKILL"):
        run_isolated("measure", {"path": "any"})
