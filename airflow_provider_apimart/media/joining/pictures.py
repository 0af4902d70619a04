"""Encodes the pictures of one clip after the other: one size, one frame rate, cuts or crossfades.

A crossfade needs the end of one clip and the beginning of the next, and no more of them is held in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
from av.video.frame import PictureType

from airflow_provider_apimart.media.errors import BadInput, Refused
from airflow_provider_apimart.media.joining.clip import Clip
from airflow_provider_apimart.media.joining.reading import decoded

PIXELS = "yuv420p"
#: FFmpeg's filters that turn a picture, by the degrees counterclockwise that a player turns it.
TURNS: dict[int, tuple[tuple[str, dict[str, str]], ...]] = {
    0: (),
    90: (("transpose", {"dir": "cclock"}),),
    180: (("hflip", {}), ("vflip", {})),
    270: (("transpose", {"dir": "clock"}),),
}


@dataclass(frozen=True)
class Look:
    """What the joined pictures look like.

    :param fade: FFmpeg's name of the transition between two clips.
    :param fade_frames: how many frames it takes; 0 for a cut.
    :param crf: the quality: lower is better and larger.
    """

    size: tuple[int, int]
    rate: Fraction
    fade: str
    fade_frames: int
    crf: int
    preset: str


class EncodedPictures:
    """Encodes the pictures of one clip after the other. The methods are those of :class:`.copying.CopiedPictures`."""

    def __init__(self, container: Any, look: Look) -> None:
        self._container = container
        self._look = look
        options = {"crf": str(look.crf), "preset": look.preset}
        self._stream = container.add_stream("libx264", rate=look.rate, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = *look.size, PIXELS
        self._stream.codec_context.gop_size = max(1, round(2 * look.rate))
        self._sent = 0
        #: The last frames of the clip before, if a fade follows.
        self._tail: deque[Any] = deque()
        self._head: list[Any] = []

    def begin(self, clip: Clip, stream: Any, start: Fraction) -> None:
        """Begin with a clip at ``start``, in seconds."""
        self._clip = clip
        stream.thread_type = "AUTO"
        self._usual = 1 / clip.pictures.rate
        self._start = start
        self._first_frame = self._next_frame = round(start * self._look.rate)
        self._fitted = _Fitted(clip, self._look.size)
        self._begin_time: Fraction | None = None
        self._end = Fraction(0)
        self._shown: Any = None
        self._fade_left = len(self._tail)

    def packet(self, packet: Any) -> None:
        """Decode a packet, and encode what it shows.

        :raises BadInput: if it cannot be decoded.
        """
        for frame in decoded(packet, self._clip.number, "a picture"):
            self._see(frame)

    def _see(self, frame: Any) -> None:
        if frame.pts is None or frame.time_base is None:
            raise BadInput(self._clip.number, "a picture has no time")
        time = frame.pts * Fraction(frame.time_base)
        if self._begin_time is None:
            self._begin_time = time
        time -= self._begin_time
        self._fill(time)
        self._shown = self._fitted.fit(frame)
        length = frame.duration * Fraction(frame.time_base) if frame.duration else self._usual
        self._end = max(self._end, time + (length if 0 < length <= 10 * self._usual else self._usual))

    def _fill(self, until: Fraction) -> None:
        """Give the frame that is shown to each frame of the joined video that comes before ``until``."""
        while self._shown is not None:
            # Half a frame's leeway: many containers round their times to milliseconds.
            if self._next_frame / self._look.rate - self._start + 1 / (2 * self._look.rate) > until:
                return
            self._next_frame += 1
            self._give(self._shown)

    def _give(self, frame: Any) -> None:
        if self._fade_left:
            self._head.append(frame)
            self._fade_left -= 1
            if not self._fade_left:
                for mixed in _faded(list(self._tail), self._head, self._look):
                    self._send(mixed)
                self._tail.clear()
                self._head = []
            return
        self._tail.append(frame)
        while len(self._tail) > self._look.fade_frames:
            self._send(self._tail.popleft())

    def _send(self, frame: Any) -> None:
        frame.pts, frame.time_base = self._sent, 1 / self._look.rate
        # Else the encoder would make the keyframes that the clip had.
        frame.pict_type = PictureType.NONE
        self._sent += 1
        self._container.mux(self._stream.encode(frame))

    @property
    def seconds(self) -> Fraction:
        """How much of the clip there is so far."""
        return self._end

    def end(self) -> Fraction:
        """End the clip, and return how long it is in seconds.

        :raises Refused: if it is shorter than its fades.
        """
        if self._shown is None:
            raise BadInput(self._clip.number, "no picture of it can be decoded")
        last = max(self._first_frame + 1, round((self._start + self._end) * self._look.rate))
        while self._next_frame < last:
            self._next_frame += 1
            self._give(self._shown)
        if self._fade_left or len(self._tail) < self._look.fade_frames:
            raise Refused(
                f"clip {self._clip.number + 1} has {float(self._end):.3f} s, which is shorter than its fades: choose a "
                "shorter fade_seconds or cuts"
            )
        return self._end

    def close(self) -> None:
        """Encode what the last clip has left, and end."""
        while self._tail:
            self._send(self._tail.popleft())
        self._container.mux(self._stream.encode(None))

    @property
    def total(self) -> Fraction:
        """How long the joined video is, in seconds."""
        return self._sent / self._look.rate


class _Fitted:
    """Brings the pictures of a clip to the size of the joined video: whole, with black bars where they are needed."""

    def __init__(self, clip: Clip, size: tuple[int, int]) -> None:
        self._clip = clip
        self._size = size
        self._shape: tuple[Any, ...] | None = None
        self._source: Any = None
        self._sink: Any = None
        self._graph: Any = None

    def fit(self, frame: Any) -> Any:
        shape = (frame.width, frame.height, frame.format.name)
        if shape != self._shape:
            self._build(frame)
            self._shape = shape
        self._source.push(frame)
        return self._sink.pull()

    def _build(self, frame: Any) -> None:
        graph = av.filter.Graph()
        self._source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format.name, time_base=Fraction(frame.time_base)
        )
        wide, high = self._size
        shape = self._clip.pictures.pixel_shape
        turned = self._clip.pictures.rotation % 180 == 90
        shown = (frame.height, frame.width * shape) if turned else (frame.width * shape, Fraction(frame.height))
        factor = min(wide / Fraction(shown[0]), high / Fraction(shown[1]))
        inner = tuple(
            max(2, min(most, round(side * factor / 2) * 2)) for side, most in zip(shown, self._size, strict=True)
        )
        last = self._source
        for name, arguments in (
            *TURNS.get(self._clip.pictures.rotation, ()),
            ("scale", {"w": str(inner[0]), "h": str(inner[1])}),
            (
                "pad",
                {"w": str(wide), "h": str(high), "x": str((wide - inner[0]) // 2), "y": str((high - inner[1]) // 2)},
            ),
            ("setsar", {"sar": "1"}),
            ("format", {"pix_fmts": PIXELS}),
            ("buffersink", {}),
        ):
            node = graph.add(name, **arguments)
            last.link_to(node)
            last = node
        graph.configure()
        # Its parts do not keep it alive.
        self._sink, self._graph = last, graph


def _faded(before: list[Any], after: list[Any], look: Look) -> Iterator[Any]:
    """Yield the frames of a transition, as many as there are in each list."""
    graph = av.filter.Graph()
    wide, high = look.size
    fade = graph.add("xfade", transition=look.fade, duration=str(float(len(before) / look.rate)), offset="0")
    sources = []
    for place in (0, 1):
        source = graph.add_buffer(width=wide, height=high, format=av.VideoFormat(PIXELS), time_base=1 / look.rate)
        # The transition needs to know that the frame rate is steady.
        steady = graph.add("fps", fps=f"{look.rate.numerator}/{look.rate.denominator}")
        source.link_to(steady)
        steady.link_to(fade, 0, place)
        sources.append(source)
    sink = graph.add("buffersink")
    fade.link_to(sink)
    graph.configure()
    for source, frames in zip(sources, (before, after), strict=True):
        # The filter keeps the last frame back, so it gets one more.
        for number, frame in enumerate([*frames, frames[-1]]):
            frame.pts, frame.time_base = number, 1 / look.rate
            source.push(frame)
        source.push(None)
    for _ in before:
        yield sink.pull()
