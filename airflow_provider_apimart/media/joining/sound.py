"""Encodes the sound of one clip after the other, to the sample: 48 kHz stereo, silence where a clip has none."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter

from airflow_provider_apimart.media.errors import BadInput
from airflow_provider_apimart.media.joining.clip import Clip
from airflow_provider_apimart.media.joining.reading import decoded

RATE, LAYOUT, FORMAT = 48_000, "stereo", "fltp"
CHANNELS, SAMPLE_BYTES = 2, 4
BIT_RATE = 192_000
#: What an AAC encoder takes at once.
PACKET = 1024
#: Sound that says it comes so much later (or earlier) than it follows is moved there; less is rounding.
GAP = RATE // 20
#: Sound is held back by so much until it is certain that the pictures go on.
MARGIN = 2 * PACKET


class EncodedSound:
    """Encodes the sound of one clip after the other. The methods are those of :class:`.copying.CopiedSound`.

    :param fade_seconds: how long a crossfade takes; 0 for a cut.
    """

    def __init__(self, container: Any, fade_seconds: Fraction) -> None:
        self._container = container
        # The default search is ten times slower, and nobody hears a difference at this bit rate.
        self._stream = container.add_stream("aac", rate=RATE, options={"aac_coder": "fast"})
        self._stream.layout = LAYOUT
        self._stream.bit_rate = BIT_RATE
        self._fade = fade_seconds
        self._out = av.AudioFifo()
        self._sent = 0
        self._tail: Any = None

    def begin(self, clip: Clip, stream: Any, picture_start: Fraction, start: Fraction) -> None:
        """Begin with a clip.

        :param stream: its sound; ``None`` without.
        :param picture_start: when its first picture is shown, by its own clock.
        :param start: when that picture is shown in the joined video.
        """
        self._clip = clip
        self._silent = stream is None
        self._picture_start = picture_start
        self._start = start
        self._first_sample = round(start * RATE)
        self._resampler = av.AudioResampler(format=FORMAT, layout=LAYOUT, rate=RATE)
        self._waiting = av.AudioFifo()
        self._taken = self._given = 0
        self._head = av.AudioFifo()
        self._head_left = self._tail.samples if self._tail is not None else 0

    def packet(self, packet: Any) -> None:
        """Decode a packet.

        :raises BadInput: if it cannot be decoded.
        """
        for frame in decoded(packet, self._clip.number, "its sound"):
            self._see(frame)

    def _see(self, frame: Any) -> None:
        if frame.pts is not None and frame.time_base is not None:
            at = round((frame.pts * Fraction(frame.time_base) - self._picture_start) * RATE)
            if not self._taken or abs(at - self._taken) > GAP:
                self._move_to(at)
        frame.pts = None
        for fitted in self._resampler.resample(frame):
            self._take(fitted)

    def _move_to(self, at: int) -> None:
        """Go on at sample ``at`` of the clip: with silence up to there, or without what came before it."""
        if at > self._taken:
            # No clip lasts so long; a broken time must not fill the memory.
            if at - self._taken > 3600 * RATE:
                raise BadInput(self._clip.number, "its sound has a gap of more than an hour")
            for silence in _silence(at - self._taken):
                self._waiting.write(silence)
            self._taken = at
        else:
            self._drop = self._taken - at
            self._taken = at

    _drop = 0

    def _take(self, frame: Any) -> None:
        if self._drop:
            skipped = min(self._drop, frame.samples)
            self._drop -= skipped
            self._taken += skipped
            if skipped == frame.samples:
                return
            whole = av.AudioFifo()
            frame.pts = None
            whole.write(frame)
            whole.read(skipped)
            frame = whole.read()
        frame.pts = None
        self._waiting.write(frame)
        self._taken += frame.samples

    def flow(self, seconds: Fraction) -> None:
        """Encode what certainly belongs to the clip, whose pictures go on for at least ``seconds``."""
        held = round(self._fade * RATE)
        self._give(round((self._start + seconds) * RATE) - self._first_sample - held - MARGIN, pad=self._silent)

    def end(self, seconds: Fraction) -> None:
        """Encode the rest of a clip that is as long as this, but for what the next one fades in over."""
        if not self._silent:
            for fitted in self._resampler.resample(None):
                self._take(fitted)
        samples = round((self._start + seconds) * RATE) - self._first_sample
        # The next clip begins where its first picture does.
        held = samples - (round((self._start + seconds - self._fade) * RATE) - self._first_sample)
        self._give(samples - held, pad=True)
        tail = av.AudioFifo()
        for frame in self._read(held):
            tail.write(frame)
        self._tail = tail if held else None

    def close(self) -> None:
        """Encode what the last clip has left, and end."""
        if self._tail is not None:
            while frame := self._tail.read(PACKET, partial=True):
                self._put(frame)
            self._tail = None
        while frame := self._out.read(PACKET, partial=True):
            self._encode(frame)
        self._container.mux(self._stream.encode(None))

    def _give(self, until: int, *, pad: bool) -> None:
        """Pass on the clip's sound up to sample ``until``.

        :param pad: with silence where there is no more; else only as far as there is sound.
        """
        wanted = until - self._given
        if not pad:
            wanted = min(wanted, self._waiting.samples)
        if wanted <= 0:
            return
        self._given += wanted
        for frame in self._read(wanted):
            self._pass_on(frame)

    def _read(self, samples: int) -> Iterator[Any]:
        """Yield so many samples of the clip, with silence at the end if it has less."""
        while samples and self._waiting.samples:
            frame: Any = self._waiting.read(min(samples, self._waiting.samples, 16 * PACKET))
            samples -= frame.samples
            frame.pts = None
            yield frame
        yield from _silence(samples)

    def _pass_on(self, frame: Any) -> None:
        if not self._head_left:
            self._put(frame)
            return
        frame.pts = None
        self._head.write(frame)
        if self._head.samples < self._head_left:
            return
        head = self._head.read(self._head_left)
        for mixed in _faded(self._tail.read(), head):
            self._put(mixed)
        self._head_left, self._tail = 0, None
        if rest := self._head.read():
            self._put(rest)

    def _put(self, frame: Any) -> None:
        frame.pts = None
        self._out.write(frame)
        while whole := self._out.read(PACKET):
            self._encode(whole)

    def _encode(self, frame: Any) -> None:
        frame.pts, frame.time_base, frame.sample_rate = self._sent, Fraction(1, RATE), RATE
        self._sent += frame.samples
        self._container.mux(self._stream.encode(frame))


def _silence(samples: int) -> Iterator[Any]:
    while samples > 0:
        part = min(samples, 16 * PACKET)
        frame = av.AudioFrame(format=FORMAT, layout=LAYOUT, samples=part)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = RATE
        samples -= part
        yield frame


def _faded(before: Any, after: Any) -> Iterator[Any]:
    """Yield a crossfade of two frames of the same length. Its power stays the same, as ears expect it of two clips."""
    graph = av.filter.Graph()
    fade = graph.add("acrossfade", nb_samples=str(before.samples), c1="qsin", c2="qsin")
    sources = []
    for place in (0, 1):
        source = graph.add_abuffer(sample_rate=RATE, format=FORMAT, layout=LAYOUT, time_base=Fraction(1, RATE))
        source.link_to(fade, 0, place)
        sources.append(source)
    sink = graph.add("abuffersink")
    fade.link_to(sink)
    graph.configure()
    for source, frame in zip(sources, (before, after), strict=True):
        frame.pts, frame.time_base, frame.sample_rate = 0, Fraction(1, RATE), RATE
        source.push(frame)
        source.push(None)
    left = before.samples
    while left > 0:
        mixed: Any = sink.pull()
        left -= mixed.samples
        yield mixed
