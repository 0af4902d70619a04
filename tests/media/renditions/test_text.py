"""Captions, fonts and directions: what is drawn, where it is broken, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.media.errors import Refused
from airflow_provider_apimart.media.renditions.captions import Cue, cues_of
from airflow_provider_apimart.media.renditions.direction import base_direction, levels, visual_order
from airflow_provider_apimart.media.renditions.drawn import CaptionStrip
from airflow_provider_apimart.media.renditions.fonts import Font, check_drawable, clusters, font_for
from airflow_provider_apimart.media.renditions.look import Captions, Shape, wanted
from airflow_provider_apimart.media.renditions.text import Pen, _fonts_for, _lines, break_lines, draw_text
from tests.media.renditions.made import make_font

ARABIC, HEBREW = "سلام", "שלום"


@pytest.mark.parametrize(
    ("text", "cues"),
    [
        (
            "1\n00:00:01,000 --> 00:00:02,500\n<i>one</i>, two\nthree {x}\n",
            [Cue(1.0, 2.5, "one, two\nthree {x}")],
        ),
        ("\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\nend of line\r\n", [Cue(1.0, 2.0, "end of line")]),
        ("WEBVTT\n\n00:01.000 --> 00:02.500 align:start\n<v Bob>you &amp; me\n", [Cue(1.0, 2.5, "you & me")]),
        ("first\n\nsecond\nline", [Cue(0.0, 4.0, "first"), Cue(4.0, 8.0, "second\nline")]),
        # Cut at the end of the video, and at the next cue; what begins after the end is left out.
        (
            "1\n00:00:05,000 --> 00:00:07,000\na\n\n2\n00:00:06,000 --> 00:00:20,000\nb\n\n"
            "3\n00:00:09,000 --> 00:00:10,000\nc\n",
            [Cue(5.0, 6.0, "a"), Cue(6.0, 8.0, "b")],
        ),
        # Two at once are shown together.
        (
            "1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:01,000 --> 00:00:03,000\nb\n",
            [Cue(1.0, 3.0, "a\nb")],
        ),
        ("{{ conn.secret.password }}", [Cue(0.0, 8.0, "{{ conn.secret.password }}")]),
    ],
)
def test_captions_are_read(text: str, cues: list[Cue]) -> None:
    assert cues_of(Captions(text=text), 8.0) == cues


@pytest.mark.parametrize(
    ("captions", "text"),
    [
        ({"text": "no times", "format": "srt"}, "no cue with times"),
        ({"text": "  \n \n"}, "no text between 0 and 8.000 s"),
        ({"text": "1\n00:01:01,000 --> 00:01:02,500\nlate\n"}, "no text between"),
    ],
)
def test_captions_that_say_nothing_are_refused(captions: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused, match=text):
        cues_of(Captions(**captions), 8.0)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("text", "x" * 200_001, "at most 200000 characters"),
        ("text", "00:00 --> 00:01\n" * 20_001, "at most 200000 characters"),
        ("text", "-->" * 20_001, "20001 captions; at most 20000"),
        ("text", "a\n\n" * 20_001, "20001 captions; at most 20000"),
    ],
    ids=["characters", "times", "arrows", "paragraphs"],
)
def test_captions_that_are_too_long_are_refused_before_any_work(field: str, value: str, allowed: str) -> None:
    asked, problems = wanted("youtube", captions={field: value})
    assert asked is None
    (text,) = [str(problem) for problem in problems]
    assert text.startswith(f"captions.{field}='") and allowed in text and len(text) < 250


def test_a_hostile_file_of_captions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.srt"
    one = "1\n00:00:01,000 --> 00:00:02,000\na\n\n"
    path.write_text(one * (10 * 1024**2 // len(one)))
    with pytest.raises(Refused, match=r"captions: 1048\d+ bytes; at most 4194304"):
        cues_of(Captions(path=str(path)), 8.0)
    path.write_text(one * 20_001)
    with pytest.raises(Refused, match="captions: 20001 cues; at most 20000"):
        cues_of(Captions(path=str(path)), 8.0)
    # All at once: they would be shown together.
    path.write_text("".join(one.replace("a", f"{number:05}") for number in range(19_999)))
    with pytest.raises(Refused, match=r"captions: the text at 1\.000 s has 2003 characters; at most 2000"):
        cues_of(Captions(path=str(path)), 8.0)


# Each of these once took time with the square of its length: minutes.
@pytest.mark.parametrize("text", ["\n" * 150_000, " \n" * 70_000], ids=["lines", "spaces"])
def test_empty_lines_are_passed_over_at_once(text: str) -> None:
    assert cues_of(Captions(text=f"{text}end"), 8.0) == [Cue(0.0, 8.0, "end")]


@pytest.mark.parametrize("text", ["1" * 150_000, "1:1\n" * 40_000], ids=["digits", "times"])
def test_one_caption_that_nobody_could_read_is_refused_at_once(text: str) -> None:
    with pytest.raises(Refused, match=r"the text at 0\.000 s has 1\d{5} characters; at most 2000"):
        cues_of(Captions(text=text), 8.0)


def test_braces_that_never_close_are_text() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n" + "{\\" * 900 + "\n"
    (cue,) = cues_of(Captions(text=text), 8.0)
    assert cue.start == 1.0


def test_what_a_reader_sees_as_one_character() -> None:
    assert clusters("e\u0301👨‍👩‍👧🇰🇷한") == ["e\u0301", "👨‍👩‍👧", "🇰🇷", "한"]


@pytest.fixture
def fonts(tmp_path: Path) -> tuple[Font, ...]:
    def font(name: str, characters: str) -> Font:
        return Font(make_font(tmp_path / name, characters), name)

    return font("latin.ttf", "abcdefgh .,!"), font("korean.ttf", "가나다라"), font("arabic.ttf", ARABIC + " .")


def test_each_character_has_the_first_font_that_has_it(fonts: tuple[Font, ...]) -> None:
    assert [font_for(each, fonts) for each in "a가س"] == list(fonts)
    # A letter and its mark are never torn apart.
    assert font_for("a\u0301", fonts) is None and font_for("a\u200d", fonts) is fonts[0]
    check_drawable("captions", "ab 가나\nسلام\u200f", fonts)  # noqa: RUF001
    with pytest.raises(Refused, match=r"captions: no font has z \(U\+007A\), 🎉 \(U\+1F389\) \(tried: latin.ttf, ko"):
        check_drawable("captions", "az🎉z", fonts)


def test_lines_are_broken_at_spaces_and_between_ideographs(tmp_path: Path) -> None:
    font = Font(make_font(tmp_path / "all.ttf", "abcdefgh 가나다라日本語。"), "all.ttf")
    pen = Pen((font,), 10, "#ffffff")  # Each character is 8 pixels wide.
    assert list(break_lines("abc def gh", pen, 64)) == ["abc def", "gh"]
    assert list(break_lines("가나 다라 가나", pen, 48)) == ["가나 다라", "가나"]
    assert list(break_lines("日本語日本語。", pen, 50)) == ["日本語日本", "語。"]
    assert list(break_lines("abcdefgh", pen, 24)) == ["abc", "def", "gh"]
    assert list(break_lines("", pen, 24)) == [""]


def test_a_text_that_does_not_fit_is_drawn_smaller(fonts: tuple[Font, ...]) -> None:
    pen = Pen(fonts, 40, "#ffffff", "#000000")
    small = draw_text("abc def gh abc def gh abc def gh", pen, 200, 80)
    assert small.width <= 200 and small.height <= 80 and small.getbbox() is not None


def test_a_text_that_is_too_long_is_refused_and_not_cut(fonts: tuple[Font, ...]) -> None:
    with pytest.raises(Refused, match=r"a text of 4000 characters does not fit into 200x80 pixels"):
        draw_text("abc " * 1000, Pen(fonts, 40, "#ffffff"), 200, 80)


@pytest.mark.parametrize("length", range(1, 12))
def test_a_caption_is_drawn_as_it_was_measured(fonts: tuple[Font, ...], length: int) -> None:
    look = Captions(text="any", size=0.07)
    text = "abc de"[:length] + " gh" * (length // 3)
    strip = CaptionStrip(Shape(name="small", width=176, height=320), look, [Cue(0, 1, text)], fonts)
    assert strip._draw(text).size == draw_text(text, strip._pen, 158, 128).size


def ordered(text: str) -> str:
    """Return the characters from left to right."""
    parts = clusters(text)
    return "".join(parts[at] for at in visual_order(levels(parts, base_direction(text))))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("abc 12", "abc 12"),
        (HEBREW, HEBREW[::-1]),
        (f"{HEBREW} 12:30", f"12:30 {HEBREW[::-1]}"),
        (f"{HEBREW} 50% a", f"a 50% {HEBREW[::-1]}"),
        # After an Arabic word the percent sign stands at the left, as in every browser; a date keeps its order.
        (f"{ARABIC} 50%", f"%50 {ARABIC[::-1]}"),
        (f"{ARABIC} 12:30 a", f"a 12:30 {ARABIC[::-1]}"),
        (f"{HEBREW} Veo 3.1 {HEBREW}", f"{HEBREW[::-1]} Veo 3.1 {HEBREW[::-1]}"),
        (f"abc {HEBREW} def", f"abc {HEBREW[::-1]} def"),
        (f"{HEBREW} 🎉 {HEBREW}", f"{HEBREW[::-1]} 🎉 {HEBREW[::-1]}"),
        (f"abc, {HEBREW} {HEBREW}!", f"abc, {HEBREW[::-1]} {HEBREW[::-1]}!"),
    ],
)
def test_order_of_a_line(text: str, seen: str) -> None:
    assert ordered(text) == seen


def test_a_line_in_two_fonts_runs_from_right_to_left(fonts: tuple[Font, ...]) -> None:
    """The Latin word follows the Arabic one, so it stands at its left, drawn from left to right."""
    (line,) = _lines(f"{ARABIC} abc", Pen(fonts, 10, "#ffffff"), 1000)
    assert [(run.text.strip(), run.direction, run.font.name) for run in line] == [
        ("abc", "L", "latin.ttf"),
        (ARABIC, "R", "arabic.ttf"),
    ]


def test_an_emoji_is_drawn_in_colour_though_the_font_before_it_has_it(tmp_path: Path) -> None:
    from functools import cached_property

    outlines = Font(make_font(tmp_path / "signs.ttf", "abc ☕."), "signs.ttf")

    class Coloured(Font):
        @cached_property
        def _tables(self) -> tuple[frozenset[int], int | None]:
            return frozenset(map(ord, "☕0")), 109

    colour = Coloured(outlines.path, "colour.ttf")
    (line,) = _lines("a ☕.", Pen((outlines,), 10, "#ffffff"), 1000)
    assert [run.font.name for run in line] == ["signs.ttf"]
    assert _fonts_for(["a", " ", "☕", "."], (outlines, colour)) == [outlines, outlines, colour, outlines]


def test_a_paragraph_keeps_its_direction_where_it_is_broken(fonts: tuple[Font, ...]) -> None:
    """The second line begins with a Latin word, which still stands at the right."""
    pen = Pen(fonts, 10, "#ffffff")
    lines = _lines(f"{ARABIC} {ARABIC} abc {ARABIC}\nabc {ARABIC}", pen, 80)
    assert [[run.text.strip() for run in line if run.text.strip()] for line in lines] == [
        [f"{ARABIC} {ARABIC}"],
        [ARABIC, "abc"],
        ["abc", ARABIC],
    ]
