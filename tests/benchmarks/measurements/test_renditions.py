"""The commands of both sides say the same; nothing is encoded here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_apimart.media.renditions.output import KEY_SECONDS
from benchmarks.__main__ import parser
from benchmarks.measurements import renditions


def test_without_ffmpeg_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert renditions.run(parser().parse_args([])) == {"skipped": "there is no ffmpeg on PATH"}


@pytest.mark.parametrize("row", list(renditions.CASES))
def test_both_are_told_the_same(row: str) -> None:
    shapes = renditions.CASES[row]
    order = json.loads(renditions.our_order(Path("/in.mp4"), shapes, Path("/out")))
    command = renditions.ffmpeg_command("ffmpeg", Path("/in.mp4"), shapes, Path("/out"))
    for number, output in enumerate(order["arguments"]["outputs"]):
        shape = output["parameters"]["shape"]
        at = [place for place, word in enumerate(command) if word == "-map"][2 * number]
        told = command[at : command.index(f"/out/ffmpeg-{shape['name']}.mp4")]
        options = dict(zip(told[::2], told[1::2], strict=True))
        assert (options["-preset"], float(options["-crf"])) == (shape["effort"], shape["crf"])
        assert options["-maxrate"] == options["-bufsize"] == str(shape["video_bitrate"])
        assert options["-b:a"] == str(shape["audio_bitrate"])
        assert options["-g"] == str(KEY_SECONDS * renditions.RATE)
        assert f"{shape['width']}:{shape['height']}" in command[command.index("-filter_complex") + 1]


def test_ratios_are_medians_of_the_rounds() -> None:
    rounds = [
        {"ours": {"seconds": ours, "megabytes": 100.0}, "ffmpeg": {"seconds": 8.0, "megabytes": 125.0}}
        for ours in (10.0, 8.0, 16.0)
    ]
    line = renditions.line_of(rounds)
    assert (line["speed"], line["memory"], line["ours_seconds"]) == (0.8, 0.8, 10.0)
