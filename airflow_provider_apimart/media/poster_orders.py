"""What to order where a poster, a preview or a contact sheet is wanted (:mod:`.poster` makes it, in the child)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from airflow_provider_apimart.media.workshop import Wanted

PosterFormat = Literal["jpeg", "webp"]
JOB, SHEET_JOB, VERSION = "poster", "contact_sheet", 1
SUFFIXES: dict[str, str] = {"jpeg": ".jpg", "webp": ".webp"}
FORMATS: tuple[str, ...] = get_args(PosterFormat)
#: Pictures on one contact sheet.
SHEET_SIZE = 100


def poster_wanted(picture_format: str = "jpeg", width: int | None = None, quality: int = 85) -> Wanted:
    """Return what to order for the sharpest picture.

    :param width: ``None`` keeps the video's own; a poster is never larger than that.
    """
    parameters = {"what": "poster", "format": picture_format, "width": width, "quality": quality}
    return Wanted("poster", "poster", SUFFIXES[picture_format], parameters)


def preview_wanted(seconds: float = 4.0, fps: float = 8.0, width: int = 360, quality: int = 70) -> Wanted:
    """Return what to order for an animated WebP of a video's first seconds."""
    parameters = {"what": "preview", "seconds": seconds, "fps": fps, "width": width, "quality": quality}
    return Wanted("preview", "preview", ".webp", parameters)


def sheet_wanted(labels: Sequence[str], number: int = 1, columns: int = 10, width: int = 200) -> Wanted:
    """Return what to order for a contact sheet.

    :param labels: of its pictures; digits and Latin letters, which Pillow's own font has.
    :param number: which sheet it is, for its name.
    """
    parameters = {"labels": list(labels), "columns": columns, "width": width, "format": "jpeg", "quality": 85}
    return Wanted("contact_sheet", f"contact-sheet-{number}", ".jpg", parameters)
