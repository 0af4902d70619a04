"""How often a draft is asked about while its target works on it. Pure: the callers wait."""

from __future__ import annotations

import hashlib

FIRST_INTERVAL_SECONDS = 10.0
LONGEST_INTERVAL_SECONDS = 60.0
#: A question is cheap, so a tenth of the time that has passed is a fair delay.
SHARE = 10
#: How much the intervals of different posts differ, so that many do not ask in step.
SPREAD = 0.2


def interval(waited_seconds: float, poll_interval: float | None, name: str) -> float:
    """Return the seconds until the next question.

    :param waited_seconds: since the wait began.
    :param poll_interval: the user's own; ``None`` adapts.
    :param name: of the post, for the spread.
    """
    if poll_interval is not None:
        return poll_interval
    usual = min(LONGEST_INTERVAL_SECONDS, max(FIRST_INTERVAL_SECONDS, waited_seconds / SHARE))
    part = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:4], "big") / 0xFFFFFFFF
    return usual * (1 + SPREAD * (part - 0.5))
