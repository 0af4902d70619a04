"""Copies packets from clips into one file, as they are: only their times change.

The pictures follow each other to the tick. Sound comes in packets of 1,024 samples, and a clip is hardly ever a whole
number of them. So each packet keeps its exact time, and which packets are left out at a cut is chosen so that a player
that ignores these times and plays the packets back to back is off by less than 10 ms, however many clips there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

from airflow_provider_apimart.media.errors import BadInput
from airflow_provider_apimart.media.joining.clip import Clip

#: How many samples an AAC packet holds.
PACKET = 1024
#: How far sound may be off in a player that ignores its times.
MAX_OFF_SECONDS = Fraction(98, 10_000)


class NotCopyable(Exception):
    """The packets cannot be copied, for a reason that only they could show."""


class SoundNotCopyable(NotCopyable):
    """The same of the sound alone."""


class CopiedPictures:
    """Copies the pictures of one clip after the other.

    :param put: takes a packet (or a sample of :mod:`.tables`), when it is shown and when it is decoded.
    """

    def __init__(self, put: Callable[[Any, int, int], None], time_base: Fraction) -> None:
        self._put = put
        self._time_base = time_base
        self._at = 0
        self._last_dts: int | None = None
        self._usual = 1
        self._first = True
        self._shift = self._end = self._shown_last = 0

    def begin(self, clip: Clip, stream: Any, start: Fraction) -> None:
        """Begin with a clip at ``start``, in seconds."""
        self._at = round(start / self._time_base)
        self._usual = max(1, round(1 / clip.pictures.rate / self._time_base))
        self._first = True
        self._shift = self._at - round(clip.start / self._time_base)
        self._shown_last = self._end = self._at

    def packet(self, packet: Any) -> None:
        """Copy a packet.

        :raises NotCopyable: if it does not stand for itself.
        """
        if packet.dts is None:
            return
        if packet.pts is None or packet.is_discard or (self._first and not packet.is_keyframe):
            raise NotCopyable("a clip does not begin with a keyframe, or shows only a part of its pictures")
        self._first = False
        pts, dts = packet.pts + self._shift, packet.dts + self._shift
        if self._last_dts is not None and dts <= self._last_dts:
            # Clips whose decoders look ahead by different numbers of pictures.
            dts = self._last_dts + 1
            if dts > pts:
                raise NotCopyable("the order of the pictures at a cut cannot be kept")
        self._last_dts = dts
        if pts >= self._shown_last:
            # Of pictures that are not decoded in the order in which they are shown, containers tell how long decoding
            # goes on. Only of the last one that is the time for which it is shown.
            self._shown_last, self._end = pts, pts + (packet.duration or self._usual)
        self._put(packet, pts, dts)

    @property
    def seconds(self) -> Fraction:
        """How much of the clip there is so far."""
        return (self._end - self._at) * self._time_base

    def end(self) -> Fraction:
        """End the clip, and return how long it is in seconds."""
        return self.seconds

    def close(self) -> None:
        """End the last clip."""


class CopiedSound:
    """Copies the sound of one clip after the other.

    :param put: as for :class:`CopiedPictures`.
    :param shift: how much later than its packets the sound of the first clip begins in a player that ignores the times,
        in samples; see :func:`best_shift`.
    """

    def __init__(self, put: Callable[[Any, int, int], None], rate: int, shift: int) -> None:
        self._put_on = put
        self._rate = rate
        self._most_off = int(MAX_OFF_SECONDS * rate)
        self._shift = shift
        self._next: int | None = None
        self._start = self._offset = 0
        self._waiting: deque[Any] = deque()
        self._last: int | None = None

    def begin(self, clip: Clip, stream: Any, picture_start: Fraction, start: Fraction) -> None:
        """Begin with a clip.

        :param picture_start: when its first picture is shown, by its own clock.
        :param start: when that picture is shown in the joined video.
        """
        self._start = round(start * self._rate)
        self._offset = self._start - round(picture_start * self._rate)
        self._waiting.clear()

    def packet(self, packet: Any) -> None:
        """Take a packet."""
        if packet.dts is not None and packet.pts is not None:
            self._waiting.append(packet)

    def flow(self, seconds: Fraction) -> None:
        """Copy what certainly belongs to the clip, whose pictures go on for at least ``seconds``."""
        self._copy(self._start + round(seconds * self._rate))

    def end(self, seconds: Fraction) -> None:
        """Copy the rest of a clip that is as long as this.

        :raises SoundNotCopyable: if its sound ends before.
        """
        end = self._start + round(seconds * self._rate)
        self._copy(end)
        if self._next is None or end - self._next > PACKET // 2 + 1:
            raise SoundNotCopyable("the sound of a clip ends before its pictures")
        self._waiting.clear()

    def close(self) -> None:
        """End the last clip."""

    def _copy(self, end: int) -> None:
        while self._waiting:
            packet = self._waiting[0]
            at = packet.pts + self._offset
            if at + PACKET // 2 >= end:
                return
            self._waiting.popleft()
            if self._next is None:
                # The first packet only prepares the decoder. How long it lasts moves all that follows.
                self._next = at - self._shift
                self._put(packet, at - self._shift)
            elif at > self._next - PACKET // 2:
                if abs(self._next - at) > self._most_off or packet.duration not in (0, PACKET):
                    raise SoundNotCopyable("the packets of the sound do not meet at a cut")
                self._put(packet, at)

    def _put(self, packet: Any, at: int) -> None:
        if self._last is not None and at <= self._last:
            raise SoundNotCopyable("the packets of the sound are not in order")
        self._last = at
        self._next = PACKET + (at if self._next is None else self._next)
        self._put_on(packet, at, at)


def best_shift(clips: Sequence[Clip]) -> int | None:
    """Return the shift of the first packet that keeps all clips closest to their times; ``None`` if one is too far off.

    :param clips: one after the other, all of known length.
    """
    rate = clips[0].sound.rate if clips[0].sound else 0
    starts = accumulate((clip.seconds or Fraction(0) for clip in clips[:-1]), initial=Fraction(0))
    places = sorted(
        {(round(start * rate) + clip.sound_lead) % PACKET for clip, start in zip(clips, starts, strict=True)}
    )
    base = clips[0].sound_lead % PACKET
    gaps = [(after - before, before) for before, after in zip(places, [*places[1:], places[0] + PACKET], strict=True)]
    gap, before = max(gaps)
    spread = PACKET - gap
    if spread / 2 > MAX_OFF_SECONDS * rate:
        return None
    # The middle of the arc that holds all places.
    middle = before + gap + spread // 2
    shift = (base - middle + PACKET // 2) % PACKET - PACKET // 2
    return shift


def check_whole(clip: Clip, seconds: Fraction) -> None:
    """Check that a clip did not end before its container says.

    :raises BadInput: if it did.
    """
    # Some containers count from the beginning of their clock, and not from the first picture.
    if clip.seconds is not None and seconds + max(clip.start, Fraction(0)) < clip.seconds - 2 / clip.pictures.rate:
        text = f"it ends after {float(seconds):.3f} s, although it says that it has {float(clip.seconds):.3f} s"
        raise BadInput(clip.number, text)
