"""Decodes a whole video once and measures its pictures and its sound. Runs in the child process (:mod:`.child`).

The measuring is FFmpeg's own: the filters ``blackdetect``, ``freezedetect``, ``silencedetect`` and ``ebur128``, with
their thresholds below. So anybody can check a verdict with the ``ffmpeg`` command.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
import av.filter

from airflow_provider_apimart.media.errors import raise_if_out_of_memory
from airflow_provider_apimart.media.facts import Span, VideoFacts
from airflow_provider_apimart.media.opening import (
    open_media,
    picture_stream,
    pixel_ratio,
    shown_size,
    sound_stream,
    told_seconds,
)

#: A picture is black if 98 % of its pixels are darker than 10 %. FFmpeg's own defaults.
BLACK = "pic_th=0.98:pix_th=0.10"
#: Shorter stretches are cuts, fades and holds, not defects.
MIN_SECONDS = 0.25
#: Two pictures are the same if they differ by less than this: below what an encoder changes in a still.
FREEZE_NOISE = "-60dB"
SILENCE_NOISE = "-60dB"
#: Samples from here on count as clipped.
FULL_SCALE = 0.999
#: ebur128 says this where nothing could be measured.
UNMEASURED_LUFS = -70.0
#: A damaged file can hold millions of broken packets. After so many the verdict is clear.
MAX_ERRORS = 10_000


def measure(path: str) -> dict[str, Any]:
    """Return the :class:`.VideoFacts` of a local file, as JSON.

    :raises av.error.FFmpegError: if the file cannot be opened.
    :raises ValueError: if it holds no picture.
    """
    with open_media(path) as container:
        picture = _Pictures(picture_stream(container))
        heard = sound_stream(container)
        sound = None if heard is None else _Sound(heard)
        meters = {meter.stream.index: meter for meter in (picture, sound) if meter is not None}
        for packet in _packets(container, picture, [meter.stream for meter in meters.values()]):
            meter = meters[packet.stream.index]
            try:
                for frame in packet.decode():
                    meter.see(frame)
            except av.error.FFmpegError as error:
                raise_if_out_of_memory(error)
                picture.errors += 1
                if picture.errors >= MAX_ERRORS:
                    break
        if not picture.frames:
            raise ValueError("no picture of it can be decoded")
        facts = VideoFacts(**picture.facts(), **(sound.facts() if sound else {}), faststart=_faststart(path))
    return facts.model_dump(mode="json")


def _packets(container: Any, picture: _Pictures, streams: list[Any]) -> Iterator[Any]:
    """Yield the packets of a file. A container that breaks off is an error of its own."""
    try:
        yield from container.demux(streams)
    except av.error.FFmpegError as error:
        raise_if_out_of_memory(error)
        picture.errors += 1


class _Pictures:
    def __init__(self, stream: Any) -> None:
        self.stream = stream
        stream.thread_type = "AUTO"
        self.frames = 0
        self.errors = 0
        self._first: float | None = None
        self._last = 0.0
        self._last_shown = 0
        self._frame: Any = None
        self._graph: Any = None
        self._shape: tuple[Any, ...] = ()
        self._black = _Spans("lavfi.black_start", "lavfi.black_end")
        self._frozen = _Spans("lavfi.freezedetect.freeze_start", "lavfi.freezedetect.freeze_end")

    def see(self, frame: Any) -> None:
        self.frames += 1
        self.errors += bool(frame.is_corrupt)
        time = frame.time if frame.time is not None else self._last
        if self._first is None:
            self._first, self._frame = time, frame
        shape = frame.width, frame.height, frame.format.name
        if shape != self._shape:
            # FFmpeg's filters cannot compare pictures of different shapes.
            self._drain()
            self._shape, self._graph = shape, self._graph_for(frame)
        if time >= self._last:
            self._last, self._last_shown = time, frame.duration or 0
        for seen in _through(self._graph, frame):
            self._note(seen)

    def _graph_for(self, frame: Any) -> Any:
        return _graph(
            lambda graph: graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=self.stream.time_base
            ),
            ("blackdetect", f"d={MIN_SECONDS}:{BLACK}"),
            ("freezedetect", f"n={FREEZE_NOISE}:d={MIN_SECONDS}"),
            sink="buffersink",
        )

    def _note(self, seen: Any) -> None:
        self._black.see(seen.metadata)
        self._frozen.see(seen.metadata)

    def _drain(self) -> None:
        if self._graph is not None:
            for seen in _through(self._graph, None):
                self._note(seen)

    def _last_seconds(self, usual: float) -> float:
        """Return how long the last picture is shown: in a video without a steady rate not as long as the others."""
        told = float(self._last_shown * self.stream.time_base)
        return told if 0 < told <= 10 * usual else usual

    def facts(self) -> dict[str, Any]:
        first = self._first or 0.0
        span = self._last - first
        guess = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        frame_seconds = span / (self.frames - 1) if self.frames > 1 and span > 0 else 1 / guess if guess else 0.0
        duration = span + self._last_seconds(frame_seconds)
        self._drain()
        width, height = shown_size(self._frame, pixel_ratio(self.stream))
        declared = told_seconds(self.stream, Fraction(duration))
        return {
            "duration_seconds": round(duration, 3),
            "declared_seconds": None if declared is None else round(float(declared), 3),
            "frames": self.frames,
            "frame_rate": round(1 / frame_seconds, 3) if frame_seconds else 0.0,
            "width": width,
            "height": height,
            "video_codec": self.stream.codec_context.codec.canonical_name,
            "pixel_format": self.stream.codec_context.pix_fmt,
            "decode_errors": self.errors,
            "black": self._black.all(first, duration),
            "frozen": self._frozen.all(first, duration),
        }


class _Sound:
    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._graph: Any = None
        self._shape: tuple[Any, ...] = ()
        self._silent = _Spans("lavfi.silence_start", "lavfi.silence_end")
        self._loudness: float | None = None
        self._seconds = 0.0
        self._samples = 0
        self._clipped = 0.0
        self._peak = 0.0
        self._rate = 0
        self._first: float | None = None

    def see(self, frame: Any) -> None:
        if self._first is None:
            self._first = frame.time or 0.0
        shape = frame.sample_rate, frame.format.name, frame.layout.name
        if shape != self._shape:
            self._drain()
            self._rate = self._rate or frame.sample_rate
            self._shape, self._graph = shape, self._graph_for(frame)
        for seen in _through(self._graph, frame):
            self._hear(seen)

    def _graph_for(self, frame: Any) -> Any:
        return _graph(
            lambda graph: graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format,
                layout=frame.layout.name,
                time_base=frame.time_base or self.stream.time_base,
            ),
            # In this order: ebur128 drops what a filter before it has written to a frame.
            ("ebur128", "metadata=1"),
            ("silencedetect", f"n={SILENCE_NOISE}:d={MIN_SECONDS}"),
            ("aformat", "sample_fmts=flt"),
            sink="abuffersink",
        )

    def _drain(self) -> None:
        if self._graph is not None:
            for seen in _through(self._graph, None):
                self._hear(seen)

    def _hear(self, frame: Any) -> None:
        self._silent.see(frame.metadata)
        told = frame.metadata.get("lavfi.r128.I")
        if told is not None and math.isfinite(float(told)):
            self._loudness = float(told)
        channels = len(frame.layout.channels)
        samples = array("f", bytes(frame.planes[0])[: 4 * frame.samples * channels])
        # (ebur128 may have changed the rate.)
        self._seconds += frame.samples / frame.sample_rate
        self._samples += frame.samples
        top = max(max(samples, default=0.0), -min(samples, default=0.0))
        self._peak = max(self._peak, top)
        if top >= FULL_SCALE:
            self._clipped += sum(abs(sample) >= FULL_SCALE for sample in samples) / channels

    def facts(self) -> dict[str, Any]:
        if self._graph is None:
            return {"audio_codec": self.stream.codec_context.codec.canonical_name, "audio_seconds": 0.0}
        self._drain()
        seconds = self._seconds
        quiet = self._loudness is None or self._loudness <= UNMEASURED_LUFS
        return {
            "audio_codec": self.stream.codec_context.codec.canonical_name,
            "audio_seconds": round(seconds, 3),
            "sample_rate": self._rate,
            "channels": self.stream.codec_context.channels,
            "silent": self._silent.all(self._first or 0.0, seconds),
            "loudness_lufs": None if quiet else self._loudness,
            "peak_dbfs": round(20 * math.log10(self._peak), 2) if self._peak > 0 else None,
            "clipped_share": round(self._clipped / self._samples, 6) if self._samples else None,
        }


class _Spans:
    """Collects the stretches that a filter reports: a start on one frame, an end on a later one, or none at the end."""

    def __init__(self, start: str, end: str) -> None:
        self._names = start, end
        self._open: float | None = None
        self._spans: list[tuple[float, float]] = []

    def see(self, metadata: dict[str, str]) -> None:
        start, end = (metadata.get(name) for name in self._names)
        if start is not None:
            self._open = float(start)
        if end is not None and self._open is not None:
            self._spans.append((self._open, float(end)))
            self._open = None

    def all(self, first: float, seconds: float) -> tuple[Span, ...]:
        """Return the spans from the first frame's time on. One that is still open lasts to the end."""
        found = list(self._spans)
        if self._open is not None:
            found.append((self._open, first + seconds))
        cut = ((max(0.0, start - first), min(seconds, end - first)) for start, end in found)
        return tuple(Span(start=round(start, 3), end=round(end, 3)) for start, end in cut if end > start)


def _graph(source: Any, *filters: tuple[str, str], sink: str) -> Any:
    graph = av.filter.Graph()
    last = source(graph)
    for name, arguments in filters:
        following = graph.add(name, arguments)
        last.link_to(following)
        last = following
    last.link_to(graph.add(sink))
    graph.configure()
    return graph


def _through(graph: Any, frame: Any) -> Iterator[Any]:
    """Push a frame (or the end) through a graph, and yield what comes out."""
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except (BlockingIOError, EOFError, av.error.BlockingIOError, av.error.EOFError):
            return


def _faststart(path: str) -> bool | None:
    """Return whether ``moov`` comes before ``mdat``; ``None`` if neither is found at the top level."""
    with open(path, "rb") as file:
        size, at = file.seek(0, 2), 0
        while size - at >= 8:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind in (b"moov", b"mdat"):
                return bool(kind == b"moov")
            if length == 1 and size - at >= 16:
                length = struct.unpack(">Q", file.read(8))[0]
            if length < 8:
                return None
            at += length
    return None
