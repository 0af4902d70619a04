"""A child process that damages a file in many ways and measures what is left. A crash or a hang ends it."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import av.error

from airflow_provider_apimart.media import child
from airflow_provider_apimart.media.facts import VideoFacts
from airflow_provider_apimart.media.measure import measure

child.JOBS["damage"] = ("tests.media.damage", "damage")


def damaged(content: bytes, seed: int) -> bytes:
    """Return ``content`` cut off, or with some other bytes; always the same for a seed."""
    chance, data = random.Random(seed), bytearray(content)
    media = content.index(b"mdat")
    match seed % 4:
        case 0:
            return bytes(data[: chance.randrange(len(data))])
        case 1:
            places = range(media)
        case 2:
            places = range(media, len(data))
        case _:
            places = range(len(data))
    for _ in range(chance.choice([1, 4, 16, 64, 256])):
        data[chance.choice(places)] = chance.randrange(256)
    return bytes(data)


def damage(path: str, folder: str, seeds: list[int]) -> dict[str, Any]:
    """Measure each damaged file; return how many could be, how many were refused, and what else came of it."""
    content, measured, refused = Path(path).read_bytes(), 0, 0
    unexpected: list[str] = []
    for seed in seeds:
        file = Path(folder) / "damaged.mp4"
        file.write_bytes(damaged(content, seed))
        try:
            VideoFacts.model_validate(measure(str(file)))
            measured += 1
        except (av.error.FFmpegError, OSError, ValueError, RuntimeError):
            refused += 1
        except Exception as error:
            unexpected.append(f"{seed}: {error!r}")
    return {"measured": measured, "refused": refused, "unexpected": unexpected}


if __name__ == "__main__":
    sys.exit(child.main())
