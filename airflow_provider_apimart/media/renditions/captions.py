"""Reads captions: SRT and WebVTT with FFmpeg's own parsers, and plain text."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error

from airflow_provider_apimart.media.errors import Refused
from airflow_provider_apimart.media.renditions.look import MAX_CUES, Captions

MAX_BYTES = 4 * 1024**2
#: Of what is shown at once. More could not be read.
MAX_CUE_CHARACTERS = 2_000
#: A line with the times of an SRT cue.
_SRT_TIMES = re.compile(r"^[ \t]*(?:\d+:)?\d\d?:\d\d[,.]\d{1,3}\s*-->\s*(?:\d+:)?\d\d?:\d\d[,.]\d{1,3}", re.MULTILINE)
#: ASS's own signs, which FFmpeg's parsers speak: overrides in braces, and its line breaks.
_OVERRIDES = re.compile(r"\{\\[^{}]*\}")


@dataclass(frozen=True)
class Cue:
    """What is shown from when to when, in seconds from the start of the video."""

    start: float
    end: float
    text: str


def cues_of(captions: Captions, video_seconds: float) -> list[Cue]:
    """Return the cues within the video, in order. Where two overlap, the earlier ends as the later begins.

    :raises Refused: if the captions cannot be read, or if none of them is within the video.
    """
    text, kind = _text_of(captions)
    cues = _plain(text, video_seconds) if kind is None else _parsed(text, kind)
    _check_count(len(cues))
    kept: list[Cue] = []
    for cue in sorted(cues, key=lambda cue: cue.start):
        if not cue.text or cue.start >= video_seconds or cue.end <= cue.start:
            continue
        if kept and kept[-1].end > cue.start:
            before = kept.pop()
            if before.start < cue.start:
                kept.append(Cue(before.start, cue.start, before.text))
            else:
                cue = Cue(cue.start, max(cue.end, before.end), f"{before.text}\n{cue.text}")
        if len(cue.text) > MAX_CUE_CHARACTERS:
            text = f"the text at {cue.start:.3f} s has {len(cue.text)} characters; at most {MAX_CUE_CHARACTERS}"
            raise Refused(f"captions: {text}")
        kept.append(Cue(cue.start, min(cue.end, video_seconds), cue.text))
    if not kept:
        raise Refused(f"captions: no text between 0 and {video_seconds:.3f} s, where the video is")
    return kept


def _check_count(cues: int) -> None:
    if cues > MAX_CUES:
        raise Refused(f"captions: {cues} cues; at most {MAX_CUES}")


def _text_of(captions: Captions) -> tuple[str, str | None]:
    """Return the text and FFmpeg's name of its format; ``None`` for a plain text."""
    text = captions.text if captions.text is not None else _read(Path(captions.path or ""))
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    kind = captions.format
    if kind is None:
        kind = "vtt" if text.lstrip().startswith("WEBVTT") else "srt" if _SRT_TIMES.search(text) else "text"
    return text, {"vtt": "webvtt", "srt": "srt", "text": None}[kind]


def _read(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Refused(f"captions: {size} bytes; at most {MAX_BYTES}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"captions: the file is not UTF-8 (byte {error.start}): save it as UTF-8") from None


def _parsed(text: str, kind: str) -> list[Cue]:
    times = len(_SRT_TIMES.findall(text))
    if not times:
        raise Refused(f"captions: no cue with times in it, such as 00:00:01,000 --> 00:00:02,500 ({kind})")
    _check_count(times)
    found = []
    try:
        with av.open(io.BytesIO(text.encode()), mode="r", format=kind) as container:
            stream: Any = container.streams.subtitles[0]
            for packet in container.demux(stream):
                if packet.pts is None or not packet.size:
                    continue
                shown = "\n".join(_dialogue(each) for each in packet.decode())
                start = float(packet.pts * packet.time_base)
                found.append(Cue(start, start + float((packet.duration or 0) * packet.time_base), shown.strip()))
    except (av.error.FFmpegError, IndexError) as error:
        raise Refused(f"captions: they cannot be read as {kind}: {error}") from None
    return found


def _dialogue(subtitle: Any) -> str:
    """Return the text of an ASS event: what comes after its eight commas, without its formatting."""
    text = subtitle.ass.decode("utf-8", "replace").split(",", 8)[-1]
    return _OVERRIDES.sub("", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")


def _plain(text: str, seconds: float) -> list[Cue]:
    parts = [part.strip() for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]
    share = seconds / len(parts) if parts else 0
    return [Cue(share * number, share * (number + 1), part) for number, part in enumerate(parts)]
