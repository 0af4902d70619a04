"""The jobs that run in the child process: mark or sign a file, and try a signer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any, BinaryIO

from PIL import Image

from airflow_provider_apimart.media.errors import BadInput
from airflow_provider_apimart.media.opening import open_media, picture_stream, pixel_ratio, shown_size, sound_stream
from airflow_provider_apimart.media.provenance.marking import Format, format_of, has_credentials, mark
from airflow_provider_apimart.media.provenance.pieces import Piece
from airflow_provider_apimart.media.provenance.xmp import properties

#: One second, in FFmpeg's own unit.
_MICROSECONDS = 1_000_000


def mark_files(
    inputs: list[str],
    outputs: list[dict[str, Any]],
    *,
    software: dict[str, str],
    signer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Say in files what they are and what they were made of.

    :param outputs: the parameter ``piece`` of each is its :class:`.Piece`.
    :param software: ``name`` and ``version`` of what signs.
    :param signer: as from :meth:`.SignerSettings.private`; ``None`` writes XMP only. A file that came with a manifest
        is copied as it is then: a change would break its signature.
    """
    done = {}
    for output in outputs:
        piece = Piece.model_validate(output["parameters"]["piece"])
        number = piece.file_number
        with open(inputs[number], "rb") as source, open(output["path"], "w+b") as sink:
            kind = format_of(source)
            if kind is None:
                raise BadInput(number, "it is none of MP4, MOV, JPEG, WebP and PNG")
            # First, so that a file that nobody can open is not signed.
            done[output["name"]] = _facts(inputs[number], kind)
            if signer is None:
                _mark(source, sink, kind, piece)
            else:
                # Only here: XMP alone does not need the extra.
                from airflow_provider_apimart.media.provenance.signing import Signatory

                Signatory(signer, software, inputs).sign(piece, sink)
    return done


def try_signer(signer: dict[str, Any], software: dict[str, str], inputs: Sequence[str] = ()) -> dict[str, Any]:
    """Sign a small image and read it back; see :meth:`.Signatory.sample`."""
    from airflow_provider_apimart.media.provenance.signing import Signatory

    return Signatory(signer, software, inputs).sample()


def _mark(source: BinaryIO, sink: BinaryIO, kind: Format, piece: Piece) -> None:
    try:
        if has_credentials(source, kind):
            source.seek(0)
            shutil.copyfileobj(source, sink, 1024**2)
        else:
            mark(source, sink, kind, properties(piece))
    except ValueError as error:
        raise BadInput(piece.file_number, str(error)) from None


def _facts(path: str, kind: Format) -> dict[str, Any]:
    """Return a file's size and duration, from its headers and its first picture."""
    if not kind.is_video:
        with Image.open(path, formats=(kind.name,)) as image:
            return {"width": image.width, "height": image.height}
    with open_media(path) as container:
        picture = picture_stream(container)
        seconds = float(picture.duration * picture.time_base) if picture.duration and picture.time_base else None
        if seconds is None:
            seconds = (container.duration or 0) / _MICROSECONDS
        frame = next(container.decode(picture), None)
        if frame is None:
            raise ValueError("no picture of it can be decoded")
        width, height = shown_size(frame, pixel_ratio(picture))
        return {
            "width": width,
            "height": height,
            "duration_seconds": round(seconds, 3),
            "has_audio": sound_stream(container) is not None,
        }
