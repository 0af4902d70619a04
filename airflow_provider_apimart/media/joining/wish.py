"""What is asked for: the parameters of the order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

CUT = "cut"


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    :param transition: ``cut``, or one of FFmpeg's transitions.
    :param fade_seconds: how long a transition takes.
    :param size: of the joined video; ``None`` is that of the first clip.
    :param frame_rate: the same.
    :param encode: ``auto``: only what cannot be copied; ``never``: refuse instead; ``always``.
    """

    transition: str = CUT
    fade_seconds: float = 0.5
    size: tuple[int, int] | None = None
    frame_rate: float | None = None
    encode: str = "auto"
    crf: int = 18
    preset: str = "medium"

    def fades(self, count: int) -> bool:
        """Return whether so many clips are to overlap."""
        return self.transition != CUT and count > 1

    def why_not_copied(self, size: tuple[int, int], rate: Fraction, count: int) -> str | None:
        """Return why clips cannot be copied, even if they agree; ``None`` if they can.

        :param size: of the first clip, as it is shown.
        :param rate: its frame rate.
        :param count: how many clips there are.
        """
        if self.fades(count):
            return "a transition is made of new pictures"
        if self.encode == "always":
            return 'encode="always"'
        if self.size not in (None, size) or self.frame_rate not in (None, float(rate)):
            return "another size or frame rate is asked for"
        return None
