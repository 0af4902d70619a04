"""Fits one output to its video: frame rate, number of pictures and samples, bitrate. Refuses what no network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from airflow_provider_apimart.media.errors import Refused
from airflow_provider_apimart.media.renditions.look import Look, Shape
from airflow_provider_apimart.media.renditions.presets import PRESETS
from airflow_provider_apimart.media.renditions.sound import RATE
from airflow_provider_apimart.media.renditions.source import USUAL_RATES, Source

#: What the container needs besides pictures and sound, as a share of the file.
CONTAINER_SHARE = 0.02
#: Below this no picture is worth sending.
LEAST_VIDEO_BITRATE = 200_000


@dataclass(frozen=True)
class Plan:
    """One output, in numbers.

    :param pictures: of the video, without the end card.
    :param card_pictures: of the end card.
    :param samples: of the sound; 0 without sound.
    :param video_bitrate: the highest, in bits a second.
    """

    shape: Shape
    path: str
    frame_rate: Fraction
    pictures: int
    card_pictures: int
    samples: int
    video_bitrate: int

    @property
    def seconds(self) -> Fraction:
        """How long the output is."""
        return (self.pictures + self.card_pictures) / self.frame_rate


def plan(source: Source, shape: Shape, look: Look, path: str) -> Plan:
    """Return the numbers of an output.

    :raises Refused: if its network does not take a video so long or so short.
    """
    rate = _rate(source, shape)
    pictures = max(1, round(source.seconds * rate))
    card = max(1, round(look.end_card.seconds * rate)) if look.end_card else 0
    seconds = (pictures + card) / rate
    samples = round(seconds * RATE) if source.has_sound or look.music else 0
    return Plan(shape, path, rate, pictures, card, samples, _bitrate(shape, float(seconds)))


def _rate(source: Source, shape: Shape) -> Fraction:
    if shape.frame_rate is not None:
        exact = Fraction(shape.frame_rate).limit_denominator(1001)
        return next((rate for rate in USUAL_RATES if abs(rate / exact - 1) < Fraction(1, 10_000)), exact)
    low, high = PRESETS[shape.preset].frame_rate if shape.preset else (1, 120)
    # Each picture several times, or each second or third one, keeps the motion even.
    rate = source.frame_rate / max(1, math.ceil(source.frame_rate / Fraction(high)))
    rate *= max(1, math.ceil(Fraction(low) / rate))
    return min(rate, Fraction(high))


def _bitrate(shape: Shape, seconds: float) -> int:
    preset = PRESETS.get(shape.preset or "")
    if preset is None:
        return shape.video_bitrate
    low, high = preset.seconds
    # A picture more or less is no reason.
    if not low - 0.05 <= seconds <= high + 0.05:
        raise Refused(
            f"{shape.name}: the rendition would be {seconds:.2f} s long; {shape.preset} takes {low:g} to {high:g} s "
            f"({preset.page})"
        )
    room = preset.max_bytes * 8 * (1 - CONTAINER_SHARE) / seconds - shape.audio_bitrate
    if room < LEAST_VIDEO_BITRATE:
        raise Refused(
            f"{shape.name}: {seconds:.0f} s in {preset.max_bytes} bytes, which is all that {shape.preset} takes, leave "
            f"{max(0, round(room))} bits a second for the picture ({preset.page})"
        )
    return min(shape.video_bitrate, int(room))
