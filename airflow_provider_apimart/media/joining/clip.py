"""What a clip is made of, and what two clips have to share so that their packets can be copied into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

#: A stream that claims another frame rate has no steady one.
RATES = (Fraction(1), Fraction(120))
USUAL_RATE = Fraction(24)
#: What people know of pictures, in the order in which they look for a difference.
COMPARED = {
    "size": "size",
    "rate": "frame rate",
    "codec": "codec",
    "rotation": "rotation",
    "pixel_shape": "pixel shape",
    "pixel_format": "pixel format",
    "time_base": "time base",
}


@dataclass(frozen=True)
class Pictures:
    """The picture stream of a clip. Clips whose pictures are equal in every field can be copied one after the other."""

    codec: str
    parameter_sets: bytes
    size: tuple[int, int]
    pixel_format: str | None
    pixel_shape: Fraction
    rate: Fraction
    time_base: Fraction
    rotation: int
    colours: tuple[int, ...]


@dataclass(frozen=True)
class Sound:
    """The sound stream of a clip; the same holds for it.

    :param parameters: of the codec, as the container has them.
    """

    codec: str
    profile: str | None
    parameters: bytes
    rate: int
    layout: str
    time_base: Fraction


@dataclass(frozen=True)
class Clip:
    """One clip: where it is, what it is made of, and how long it says that it is.

    :param number: its place among the clips, counted from 0.
    :param seconds: of the pictures, as the container has it; ``None`` if it does not say.
    :param packets: how many the container says that there are; 0 if it does not say.
    :param start: when its first picture is shown, by its own clock, in seconds.
    :param sound_lead: when the first packet of the sound begins, in samples from the first picture.
    :param indexed: whether its index has the times of all packets, so that they are known without decoding any.
    """

    number: int
    path: str
    pictures: Pictures
    sound: Sound | None
    seconds: Fraction | None
    packets: int
    start: Fraction
    sound_lead: int
    indexed: bool

    @property
    def shown_size(self) -> tuple[int, int]:
        """Its size as a player shows it, in square pixels."""
        width, height = self.pictures.size
        width = max(1, round(width * self.pictures.pixel_shape))
        return (height, width) if self.pictures.rotation % 180 else (width, height)


def difference(clips: Sequence[Clip]) -> str | None:
    """Return why the pictures of the clips cannot be copied into one file; ``None`` if they can."""
    first = clips[0].pictures
    for clip in clips[1:]:
        for name, what in COMPARED.items():
            one, other = getattr(first, name), getattr(clip.pictures, name)
            if one != other:
                return f"clip {clip.number + 1} has another {what} ({_shown(other)}; the first has {_shown(one)})"
        if clip.pictures != first:
            return f"clip {clip.number + 1} was encoded with other parameters"
    return None


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def sound_difference(clips: Sequence[Clip]) -> str | None:
    """Return why the sound of the clips cannot be copied into one file; ``None`` if it can."""
    first = clips[0].sound
    for clip in clips:
        if clip.sound is None:
            return f"clip {clip.number + 1} has no sound"
        if clip.sound != first:
            return f"the sound of clip {clip.number + 1} has other parameters"
        if (clip.sound.codec, clip.sound.profile) != ("aac", "LC") or clip.sound.time_base.numerator != 1:
            return f"the sound of clip {clip.number + 1} is {clip.sound.codec} {clip.sound.profile or ''}, not AAC-LC"
        if clip.sound.time_base.denominator != clip.sound.rate:
            return f"the sound of clip {clip.number + 1} has no clock of its own"
    return None
