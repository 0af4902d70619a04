"""What to order where a video's first or last frame is wanted (:mod:`.frames` makes it, in the child process)."""

from __future__ import annotations

from typing import Literal

from airflow_provider_apimart.media.workshop import Wanted

Which = Literal["first", "last"]
Format = Literal["png", "jpeg"]
JOB, VERSION = "frames", 1
SUFFIXES: dict[Format, str] = {"png": ".png", "jpeg": ".jpg"}


def frame_wanted(which: Which, picture_format: Format = "png") -> Wanted:
    """Return what to order for one frame.

    :param picture_format: ``png`` is exact; ``jpeg`` is a tenth of its size, and looks the same.
    """
    parameters = {"frame": which, "format": picture_format}
    return Wanted(f"{which}_frame", f"{which}-frame", SUFFIXES[picture_format], parameters)
