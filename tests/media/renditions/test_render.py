"""Whole renditions: what is in the file that a channel gets."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from airflow_provider_apimart.media.errors import BadInput, Refused
from airflow_provider_apimart.media.measure import measure
from tests.media.clips import make_clip
from tests.media.renditions.made import SMALL, make, make_colour, make_font, near, pictures

RED, BLUE = (200, 40, 40), (20, 60, 220)


def shape(name: str = "small", **more: Any) -> dict[str, Any]:
    return {"name": name, **SMALL, **more}


def streams(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        return {stream.type: (stream, stream.codec_context) for stream in container.streams}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_colour(tmp_path / "clip.mp4", colour=RED, sound=0.1)


def test_is_what_every_network_takes(clip: Path) -> None:
    made = make(clip, shape(effort="veryfast"))["small"]
    facts = measure(str(made))
    assert (facts["video_codec"], facts["pixel_format"], facts["audio_codec"]) == ("h264", "yuv420p", "aac")
    assert (facts["width"], facts["height"], facts["frames"], facts["frame_rate"]) == (90, 160, 24, 24.0)
    assert facts["faststart"] is True and facts["decode_errors"] == 0
    with av.open(str(made)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        context = video.codec_context
        tags = context.color_primaries, context.color_trc, context.colorspace, context.color_range
        assert [int(tag) for tag in tags] == [1, 1, 1, 1]
        assert context.profile == "High" and (audio.rate, audio.layout.name) == (48_000, "stereo")
        assert float(video.duration * video.time_base) == float(audio.duration * audio.time_base) == 1.0
        assert video.start_time == 0


@pytest.mark.parametrize("fit", ["pad", "crop", "blur"])
def test_fits(tmp_path: Path, fit: str) -> None:
    """The left half is red and the right half is blue, so that a crop and a blur can be told."""
    source = tmp_path / "halves.mp4"
    picture = Image.new("RGB", (320, 180), RED)
    picture.paste(BLUE, (160, 0, 320, 180))
    picture.save(tmp_path / "halves.png")
    made = make(
        make_colour(source, size=(320, 180)), shape(), end_card={"path": str(tmp_path / "halves.png"), "seconds": 1}
    )
    assert near(pictures(made["small"])[30].getpixel((20, 80)), RED)

    wide = make_colour(tmp_path / "wide.mp4", colour=RED, size=(320, 180))
    middle = pictures(make(wide, shape(fit=fit, background="#1440dc"))["small"])[10]
    assert middle.size == (90, 160) and near(middle.getpixel((45, 80)), RED)
    bar = {"pad": (20, 64, 220), "crop": RED, "blur": RED}[fit]
    assert near(middle.getpixel((45, 10)), bar) and near(middle.getpixel((45, 150)), bar)


def test_keeps_a_shape_that_fits(tmp_path: Path) -> None:
    tall = make_colour(tmp_path / "tall.mp4", colour=RED, size=(180, 320))
    last = pictures(make(tall)["small"])[-1]
    assert all(near(last.getpixel(place), RED) for place in ((1, 1), (88, 1), (1, 158), (88, 158)))


def test_one_decode_for_all_outputs(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_apimart.media.renditions import render

    readers: list[Any] = []

    class Counted(render.Reader):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            readers.append(self)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(render, "Reader", Counted)
    made = make(clip, shape("one"), shape("two", width=160, height=90), shape("three", frame_rate=12))
    assert len(readers) == 1
    assert [measure(str(path))["frames"] for path in made.values()] == [24, 24, 12]


def test_a_silent_source_stays_silent(tmp_path: Path) -> None:
    made = make(make_colour(tmp_path / "mute.mp4"), loudness=-14)["small"]
    assert list(streams(made)) == ["video"]


def test_digital_silence_is_not_made_louder(tmp_path: Path) -> None:
    facts = measure(str(make(make_colour(tmp_path / "silent.mp4", sound=0.0), loudness=-14)["small"]))
    assert facts["loudness_lufs"] is None and facts["silent"] == [{"start": 0.0, "end": pytest.approx(1.0, abs=0.05)}]


@pytest.mark.parametrize("amplitude", [0.02, 0.1, 0.7])
def test_loudness(tmp_path: Path, amplitude: float) -> None:
    source = make_colour(tmp_path / "clip.mp4", frames=48, sound=amplitude)
    facts = measure(str(make(source, loudness=-16)["small"]))
    assert facts["loudness_lufs"] == pytest.approx(-16, abs=0.5)


def test_the_limiter_keeps_the_peak(tmp_path: Path) -> None:
    source = make_colour(tmp_path / "clip.mp4", frames=48, sound=0.5)
    facts = measure(str(make(source, loudness={"lufs": -5, "true_peak_db": -6})["small"]))
    assert facts["peak_dbfs"] <= -5.5 and facts["clipped_share"] == 0


def test_music_is_repeated_and_yields_to_the_voice(tmp_path: Path) -> None:
    music = make_colour(tmp_path / "music.mp4", frames=12, sound=0.2)
    mute = make_colour(tmp_path / "mute.mp4", frames=72)
    alone = measure(
        str(make(mute, shape("alone"), music={"path": str(music), "volume_db": 0, "fade_seconds": 0})["alone"])
    )
    assert alone["audio_seconds"] == pytest.approx(3, abs=0.03) and alone["silent"] == []

    def loudness(**more: Any) -> float:
        look = {"path": str(music), "volume_db": 0, "fade_seconds": 0, **more}
        return float(measure(str(make(talking, music=look)["small"]))["loudness_lufs"])

    talking = make_colour(tmp_path / "talking.mp4", frames=72, sound=0.2)
    assert loudness(ducking=True) < loudness(ducking=False) - 2


def test_music_fades_out_with_the_end_card(tmp_path: Path) -> None:
    music = make_colour(tmp_path / "music.mp4", frames=24, sound=0.2)
    source = make_colour(tmp_path / "clip.mp4", frames=24, sound=0.0)
    card = tmp_path / "card.png"
    Image.new("RGB", (90, 160), BLUE).save(card)
    made = make(source, music=str(music), end_card={"path": str(card), "seconds": 1.5})["small"]
    facts = measure(str(made))
    assert facts["duration_seconds"] == 2.5 and facts["audio_seconds"] == pytest.approx(2.5, abs=0.03)
    shown = pictures(made)
    assert len(shown) == 60 and near(shown[23].getpixel((45, 80)), RED) and near(shown[24].getpixel((45, 80)), BLUE)


@pytest.mark.parametrize(
    ("position", "inside", "outside"),
    [("top-left", (12, 12), (70, 140)), ("bottom-right", (75, 148), (12, 12)), ("center", (45, 80), (12, 12))],
)
def test_logo(clip: Path, tmp_path: Path, position: str, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    Image.new("RGBA", (40, 20), (0, 255, 0, 255)).save(tmp_path / "logo.png")
    look = {"path": str(tmp_path / "logo.png"), "position": position, "width": 0.3, "opacity": 0.5}
    shown = pictures(make(clip, shape(fit="crop"), logo=look)["small"])
    for picture in (shown[0], shown[-1]):
        assert near(picture.getpixel(inside), (100, 148, 20), 30) and near(picture.getpixel(outside), RED)


SRT = "1\n00:00:00,250 --> 00:00:00,500\nA\n\n2\n00:00:00,750 --> 00:00:03,000\nA\n"


def test_captions_are_burnt_in_at_their_times(clip: Path, tmp_path: Path) -> None:
    font = make_font(tmp_path / "a.ttf", "A")
    look = {"text": SRT, "fonts": [font], "size": 0.3, "outline": "#000000", "margin": 0.1}
    shown = pictures(make(clip, shape(fit="crop"), captions=look)["small"])
    white = [any(min(picture.getpixel((45, y))) > 200 for y in range(100, 150)) for picture in shown]
    assert white == [False] * 6 + [True] * 6 + [False] * 6 + [True] * 6


def test_soft_captions_are_a_track(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,250 --> 00:00:00,500\n안녕 {1}\n둘째 🎉\n", encoding="utf-8")
    look = {"path": str(tmp_path / "a.srt"), "mode": "soft", "language": "kor"}
    with av.open(str(make(clip, captions=look)["small"])) as container:
        stream = container.streams.subtitles[0]
        assert stream.codec_context.name == "mov_text" and stream.metadata["language"] == "kor"
        found = [(float(p.pts * p.time_base), bytes(p)[2:].decode()) for p in container.demux(stream) if p.size > 2]
    assert found == [(0.25, "안녕 (1)\n둘째 🎉")]


def test_a_latin_text_needs_no_font(clip: Path) -> None:
    card = pictures(make(clip, end_card={"text": "OO", "size": 0.3, "seconds": 0.5})["small"])[-1]
    across = [card.getpixel((x, 80))[0] > 128 for x in range(90)]
    # Two rings are crossed in four places.
    assert sum(now and not before for before, now in pairwise(across)) == 4


def test_a_text_that_no_font_has_is_refused(clip: Path, tmp_path: Path) -> None:
    font = make_font(tmp_path / "latin.ttf", "ABC ")
    with pytest.raises(Refused, match=r"captions: no font has 한 \(U\+D55C\), 글 \(U\+AE00\) \(tried: latin.ttf\)"):
        make(clip, captions={"text": "AB 한글", "fonts": [font]})
    with pytest.raises(Refused, match=r"end_card: no font has D"):
        make(clip, end_card={"text": "ABCD", "fonts": [font]})
    with pytest.raises(Refused, match=r"captions: no font has 한 \(U\+D55C\) \(tried: Pillow's own\)"):
        make(clip, captions={"text": "A 한"})
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    with pytest.raises(Refused, match=r"fonts: broken.ttf cannot be read as a font"):
        make(clip, captions={"text": "A", "fonts": [str(tmp_path / "broken.ttf")]})


@pytest.mark.parametrize(("rate", "made"), [(10, 30), (25, 25), (120, 60)])
def test_frame_rates_are_brought_within_the_presets(tmp_path: Path, rate: int, made: int) -> None:
    source = make_colour(tmp_path / "clip.mp4", frames=rate * 3, fps=rate)
    reels = {"preset": "reels", **SMALL}
    assert measure(str(make(source, reels)["reels"]))["frame_rate"] == made


def test_the_networks_durations(tmp_path: Path) -> None:
    source = make_colour(tmp_path / "clip.mp4", frames=48)
    with pytest.raises(Refused, match=r"reels: the rendition would be 2.00 s long; reels takes 3 to 900 s .*facebook"):
        make(source, {"preset": "reels", **SMALL})
    assert not (tmp_path / "made-reels.mp4").exists()
    card = tmp_path / "card.png"
    Image.new("RGB", (9, 16)).save(card)
    make(source, {"preset": "reels", **SMALL}, end_card={"path": str(card), "seconds": 1})


def test_a_turned_and_a_stretched_video(tmp_path: Path) -> None:
    from fractions import Fraction

    stretched = make_colour(
        tmp_path / "stretched.mp4", colour=RED, size=(160, 90), sample_aspect_ratio=Fraction(81, 256)
    )
    # 160 x 90 pixels, each 81/256 as wide as it is high, fill 9:16.
    last = pictures(make(stretched)["small"])[-1]
    assert near(last.getpixel((45, 2)), RED) and near(last.getpixel((2, 80)), RED)


def test_sound_is_as_long_as_the_picture(tmp_path: Path) -> None:
    for name, frames in (("short", 12), ("long", 48)):
        sound = make_colour(tmp_path / f"{name}-sound.mp4", frames=frames, sound=0.1)
        source = tmp_path / f"{name}.mp4"
        with (
            av.open(str(make_colour(tmp_path / "picture.mp4", frames=24))) as picture,
            av.open(str(sound)) as heard,
            av.open(str(source), "w") as container,
        ):
            pairs = [(picture, picture.streams.video[0]), (heard, heard.streams.audio[0])]
            copies = [container.add_stream_from_template(stream) for _, stream in pairs]
            for (opened, stream), copy in zip(pairs, copies, strict=True):
                for packet in opened.demux(stream):
                    if packet.dts is not None:
                        packet.stream = copy
                        container.mux(packet)
        with av.open(str(make(source)["small"])) as made:
            assert {float(stream.duration * stream.time_base) for stream in made.streams} == {1.0}


def test_a_damaged_video_is_refused_and_not_hidden(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", seconds=1)
    data = bytearray(source.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    source.write_bytes(data)
    with pytest.raises(BadInput, match="damaged"):
        make(source)
    source.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(BadInput, match=r"ends after 0\.\d\d of 1\.00 s|damaged"):
        make(source)


def test_one_picture_that_is_shown_for_a_second_is_whole(tmp_path: Path) -> None:
    still = make_colour(tmp_path / "still.mp4", frames=1, fps=1)
    assert measure(str(make(still)["small"]))["duration_seconds"] == pytest.approx(1.0, abs=0.05)


def silent_track(path: Path, packet: bytes | None) -> Path:
    """Write fragments with a track of sound that holds one packet, or nothing at all."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "empty_moov+frag_keyframe"}) as container:
        video: Any = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "bf": "0"})
        video.width, video.height, video.pix_fmt = 160, 90, "yuv420p"
        audio: Any = container.add_stream("aac", rate=48_000, layout="stereo")
        container.start_encoding()
        if packet is not None:
            sound = av.Packet(packet)
            sound.stream, sound.pts, sound.dts, sound.duration, sound.time_base = audio, 0, 0, 1024, Fraction(1, 48_000)
            container.mux(sound)
        for number in range(24):
            frame = av.VideoFrame(160, 90, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def test_a_track_of_sound_without_any(tmp_path: Path) -> None:
    source = silent_track(tmp_path / "clip.mp4", None)
    with av.open(str(source)) as container:
        assert container.streams.audio[0].codec_context.sample_rate == 48_000
    with av.open(str(make(source, loudness=-14)["small"])) as container:
        assert not container.streams.audio


def test_sound_of_which_nothing_can_be_decoded_is_refused(tmp_path: Path) -> None:
    source = silent_track(tmp_path / "clip.mp4", b"\x7e" * 40)
    with pytest.raises(BadInput, match="nothing of its sound can be decoded"):
        make(source)
