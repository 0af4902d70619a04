"""Reads a video: what it is, without trusting its index, and then its pictures and sounds in the file's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error

from airflow_provider_apimart.media.errors import BadInput, Refused, raise_if_out_of_memory
from airflow_provider_apimart.media.opening import frames_of, open_media, told_seconds

#: Frame rates that channels and players expect. A video of an uneven rate gets the nearest.
USUAL_RATES = tuple(map(Fraction, (24, 25, 30, 48, 50, 60))) + tuple(
    Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60)
)
#: FFmpeg's numbers of the transfer curves of HDR: PQ and HLG.
HDR_CURVES = (16, 18)
UNSPECIFIED = 2


@dataclass(frozen=True)
class Source:
    """What a video is.

    :param start: when its first picture is shown, in seconds of the file's clock.
    :param seconds: from the first picture to the end of the last.
    :param frame_rate: pictures a second.
    :param width: of the stored picture, in pixels.
    :param height: of the stored picture, in pixels.
    :param pixel_aspect: the width of a pixel in its heights.
    :param time_base: the unit of its pictures' times, in seconds.
    :param turned: how far a player turns the picture, in quarters of a circle counterclockwise.
    """

    path: str
    start: Fraction
    seconds: Fraction
    frame_rate: Fraction
    width: int
    height: int
    pixel_format: str
    pixel_aspect: Fraction
    colorspace: int
    color_range: int
    turned: int
    time_base: Fraction
    has_sound: bool

    @property
    def shown(self) -> tuple[Fraction, Fraction]:
        """Width and height as a player shows them."""
        wide, high = self.width * self.pixel_aspect, Fraction(self.height)
        return (high, wide) if self.turned % 2 else (wide, high)


def scan(path: str) -> Source:
    """Read all packets of a video and decode its first picture.

    :raises ValueError: if it holds no picture.
    :raises Refused: for HDR.
    """
    with open_media(path) as container:
        if not container.streams.video:
            raise ValueError("it holds no picture")
        stream = container.streams.video[0]
        first, count, low, high, span = None, 0, None, None, 0
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(frames_of(packet)), None)
            if packet.pts is None or packet.is_discard:
                continue
            count += 1
            low = packet.pts if low is None or packet.pts < low else low
            if high is None or packet.pts >= high:
                high, span = packet.pts, packet.duration or span
        if first is None or low is None or high is None:
            raise ValueError("no picture of it can be decoded")
        _refuse_hdr(stream)
        _refuse_cut(stream, (high - low + span) * (stream.time_base or 0))
        base = Fraction(stream.time_base or Fraction(1, 1000))
        rate = _rate(stream, count, (high - low) * base)
        last = span * base if 0 < span * base < 10 else 1 / rate
        return Source(
            path=path,
            start=low * base,
            seconds=(high - low) * base + last,
            frame_rate=rate,
            width=first.width,
            height=first.height,
            pixel_format=first.format.name,
            pixel_aspect=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
            colorspace=int(first.colorspace),
            color_range=int(first.color_range),
            turned=round((getattr(first, "rotation", 0) or 0) / 90) % 4,
            time_base=base,
            has_sound=any(each.codec_context.sample_rate for each in container.streams.audio[:1]),
        )


def _refuse_hdr(stream: Any) -> None:
    if int(stream.codec_context.color_trc or UNSPECIFIED) in HDR_CURVES:
        raise Refused("video: it is HDR (PQ or HLG); renditions are SDR: bring it to BT.709 before")


def _refuse_cut(stream: Any, found: Any) -> None:
    told = told_seconds(stream, Fraction(found)) or Fraction(0)
    if told - found > max(0.5, told / 20):
        raise BadInput(0, f"it ends after {float(found):.2f} of {float(told):.2f} s: it is not whole")


def _rate(stream: Any, count: int, span: Fraction) -> Fraction:
    """Return the frame rate: as measured, or the usual or stated one that is within two percent of it."""
    told = Fraction(stream.average_rate or stream.guessed_rate or 24)
    measured = (count - 1) / span if count > 1 and span > 0 else told
    near = [rate for rate in (told, *USUAL_RATES) if rate > 0 and abs(rate / measured - 1) <= Fraction(2, 1000)]
    near += [rate for rate in USUAL_RATES if abs(rate / measured - 1) <= Fraction(2, 100)]
    return near[0] if near else min(USUAL_RATES, key=lambda rate: abs(rate - measured)) if measured > 20 else measured


class Reader:
    """Decodes a video's pictures and its sound in the order of the file. Times start at its first picture."""

    def __init__(self, source: Source, *, pictures: bool = True, sound: bool = True) -> None:
        self._source = source
        self._pictures = pictures
        self._sound = sound and source.has_sound
        #: Packets that could not be decoded, and pictures that are marked as damaged.
        self.errors = 0

    def __iter__(self) -> Iterator[Any]:
        """Yield the frames that can be decoded."""
        with open_media(self._source.path) as container:
            streams: list[Any] = list(container.streams.video[:1]) if self._pictures else []
            streams += container.streams.audio[:1] if self._sound else []
            for stream in streams:
                stream.thread_type = "AUTO"
            for packet in container.demux(streams):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError as error:
                    raise_if_out_of_memory(error)
                    self.errors += 1
                    continue
                for frame in frames:
                    self.errors += bool(frame.is_corrupt)
                    if frame.pts is not None and frame.time_base:
                        frame.pts -= round(self._source.start / frame.time_base)
                        yield frame
