"""Writes one output: filters, H.264 and AAC encoders, the MP4. Each output has a thread of its own."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import av.error

from airflow_provider_apimart.media.renditions.captions import Cue
from airflow_provider_apimart.media.renditions.pictures import Pictures
from airflow_provider_apimart.media.renditions.plan import Plan
from airflow_provider_apimart.media.renditions.sound import RATE

#: Decoded pictures that wait for an output: enough to keep it busy, and constant.
WAITING = 4
#: x264 takes one and a half threads a core by itself; beyond this they cost memory and bring nothing.
MAX_THREADS = 24
#: Seconds between key frames: networks want closed groups of pictures, and players want to seek.
KEY_SECONDS = 2
BT709_TAG = 1
LIMITED_RANGE = 1
#: Soft captions are timed in milliseconds.
CAPTION_BASE = Fraction(1, 1000)
#: An ASS header, which FFmpeg's encoder of caption tracks reads its style from.
_ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\nPlayResX: 384\nPlayResY: 288\n\n[V4+ Styles]\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    b"Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, "
    b"MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\n\n[Events]\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


class Output:
    """One output, written by a thread of its own while the source is decoded.

    :param card: the end card's frame; ``None`` without one.
    :param soft: cues of a caption track, and its language.
    """

    def __init__(self, plan: Plan, pictures: Pictures, card: Any, soft: tuple[Sequence[Cue], str] | None) -> None:
        self._plan = plan
        self._pictures = pictures
        self._card = card
        self._soft = soft
        self._waiting: queue.Queue[tuple[str, Any] | None] = queue.Queue(WAITING)
        self._failed: BaseException | None = None
        self._last: Any = None
        self._made = 0
        self._thread = threading.Thread(target=self._run, name=f"rendition-{plan.shape.name}", daemon=True)
        self._thread.start()

    @property
    def samples(self) -> int:
        """How many samples of sound it takes; 0 without sound."""
        return self._plan.samples

    def put(self, kind: str, frame: Any) -> None:
        """Hand over a decoded ``picture`` or a frame of the mixed ``sound``.

        :raises BaseException: what the thread failed with.
        """
        self._put((kind, frame))

    def close(self) -> None:
        """Say that nothing more comes, and wait until the file is whole."""
        self._put(None)
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _put(self, what: tuple[str, Any] | None) -> None:
        while True:
            if self._failed is not None:
                raise self._failed
            try:
                return self._waiting.put(what, timeout=0.5)
            except queue.Full:
                continue

    def _run(self) -> None:
        try:
            with av.open(self._plan.path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
                self._write(container)
        except BaseException as error:  # Raised again in the thread that decodes.
            self._failed = error

    def _write(self, container: Any) -> None:
        plan = self._plan
        self._container = container
        self._video = _video_stream(container, plan)
        self._audio = _audio_stream(container, plan) if plan.samples else None
        self._add_captions(container)
        while (what := self._waiting.get()) is not None:
            kind, frame = what
            if kind == "picture":
                self._see(frame)
            elif self._audio is not None:
                self._container.mux(self._audio.encode(frame))
        self._see(None)
        while self._last is not None and self._made < plan.pictures:
            # Damaged pictures at the end are missing. Sound and picture stay of the same length.
            self._encode(self._last)
        if not self._made:
            raise ValueError("no picture of it can be decoded")
        self._last = None
        for _ in range(plan.card_pictures):
            self._encode(self._card)
        container.mux(self._video.encode(None))
        if self._audio is not None:
            container.mux(self._audio.encode(None))

    def _see(self, frame: Any) -> None:
        for made in self._pictures.through(frame):
            if self._made < self._plan.pictures:
                self._encode(made)
                self._last = made

    def _encode(self, frame: Any) -> None:
        frame.pts, frame.time_base = self._made, 1 / self._plan.frame_rate
        self._made += 1
        self._container.mux(self._video.encode(frame))

    def _add_captions(self, container: Any) -> None:
        """Add the caption track. Its packets are few and small, so they go first; the muxer interleaves them."""
        if self._soft is None:
            return
        cues, language = self._soft
        stream = container.add_stream("mov_text")
        stream.metadata["language"] = language
        context = stream.codec_context
        context.subtitle_header = _ASS_HEADER
        context.time_base = CAPTION_BASE
        for cue in cues:
            packet = context.encode_subtitle(_event(cue))
            packet.stream = stream
            packet.time_base = CAPTION_BASE
            packet.pts = packet.dts = round(cue.start * 1000)
            packet.duration = round((cue.end - cue.start) * 1000)
            container.mux(packet)


def _event(cue: Cue) -> Any:
    from av.subtitles.subtitle import SubtitleSet

    # Braces and backslashes would be read as formatting.
    text = cue.text.replace("\\", "/").replace("{", "(").replace("}", ")").replace("\n", "\\N")
    length = round((cue.end - cue.start) * 1000)
    return SubtitleSet.create(f"0,0,Default,,0,0,0,,{text}".encode(), 0, length)


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_THREADS, max(1, cores * 3 // 2))


def _video_stream(container: Any, plan: Plan) -> Any:
    shape = plan.shape
    options = {
        "preset": shape.effort,
        "crf": f"{shape.crf:g}",
        "profile": "high",
        "maxrate": str(plan.video_bitrate),
        "bufsize": str(plan.video_bitrate),
        "g": str(max(1, round(plan.frame_rate * KEY_SECONDS))),
        "flags": "+cgop",
    }
    stream = container.add_stream("libx264", rate=plan.frame_rate, options=options)
    stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / plan.frame_rate
    context.thread_count = _threads()
    context.color_primaries = context.color_trc = context.colorspace = BT709_TAG
    context.color_range = LIMITED_RANGE
    return stream


def _audio_stream(container: Any, plan: Plan) -> Any:
    stream = container.add_stream("aac", rate=RATE, layout="stereo")
    stream.bit_rate = plan.shape.audio_bitrate
    return stream
