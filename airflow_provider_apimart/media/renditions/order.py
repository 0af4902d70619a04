"""Turns what is asked for into an order for the workshop: which files it needs, and what its parameters are.

A file is named in the parameters by its place among the order's inputs, never by a path. So the fingerprint depends on
what is in the files and not on where they lie.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from airflow_provider_apimart.media import workshop
from airflow_provider_apimart.media.renditions.look import Look, Wanted

#: Raised when the same video and parameters are to give something else.
VERSION = 1
_INPUT = "input:"
#: The fields of a look that name files, by the part of the look.
_FILES = {"logo": ("path",), "captions": ("path", "fonts"), "end_card": ("path", "fonts"), "music": ("path",)}
_CAPTION_FORMATS = {".srt": "srt", ".vtt": "vtt"}


def order_of(
    video: workshop.Source,
    wanted: Wanted,
    find: Callable[[str, str], workshop.Source],
    installed: Callable[[], Sequence[str]],
    **more: Any,
) -> workshop.Order:
    """Return the order for the renditions of a video.

    :param find: returns the file that an argument (its name, its value) names.
    :param installed: returns the fonts of this machine, for texts without ``fonts``.
    :param more: of :class:`.Order`: ``folder`` and the bounds.
    """
    inputs, names = [video], [video.place.name]

    def taken(argument: str, path: str) -> str:
        source = find(argument, path)
        if source in inputs[1:]:
            return f"{_INPUT}{inputs.index(source, 1)}"
        inputs.append(source)
        names.append(source.place.name)
        return f"{_INPUT}{len(inputs) - 1}"

    look = _with_fonts(wanted.look, installed).model_dump(mode="json", exclude_none=True)
    for part, fields in _FILES.items():
        for field in fields:
            if part in look and field in look[part]:
                look[part][field] = _mapped(look[part][field], partial(taken, f"{part}.{field}"))
    return workshop.Order(
        job="render",
        version=VERSION,
        inputs=tuple(inputs),
        wanted=tuple(
            workshop.Wanted(
                "rendition",
                shape.name,
                ".mp4",
                {"shape": shape.model_dump(mode="json", exclude_none=True), "look": look},
            )
            for shape in wanted.shapes
        ),
        private={"names": names},
        **more,
    )


def with_files(look: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """Return a look of an order's parameters with its files' paths on this machine."""

    def path_of(name: str) -> str:
        return inputs[int(name.removeprefix(_INPUT))]

    return {
        part: {
            field: _mapped(value, path_of) if field in _FILES.get(part, ()) else value for field, value in given.items()
        }
        for part, given in look.items()
    }


def _with_fonts(look: Look, installed: Callable[[], Sequence[str]]) -> Look:
    """Name this machine's fonts where text is drawn and no font is given, and the format of a caption file."""
    captions, card = look.captions, look.end_card
    if captions is not None:
        fonts = captions.fonts or (tuple(installed()) if captions.mode == "burn" else ())
        suffix = posixpath.splitext(captions.path or "")[1].lower()
        kind = captions.format or _CAPTION_FORMATS.get(suffix)
        captions = captions.model_copy(update={"fonts": fonts, "format": kind})
    if card is not None and card.text and not card.fonts:
        card = card.model_copy(update={"fonts": tuple(installed())})
    return look.model_copy(update={"captions": captions, "end_card": card})


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    return [change(each) for each in value] if isinstance(value, list | tuple) else change(value)
