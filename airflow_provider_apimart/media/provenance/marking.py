"""Writes XMP into a file of any kind that can hold it, known by its content and not by its name."""

from __future__ import annotations

from enum import StrEnum
from typing import BinaryIO

from airflow_provider_apimart.media.provenance import images, mp4, xmp


class Format(StrEnum):
    """A file format, by its media type."""

    MP4 = "video/mp4"
    MOV = "video/quicktime"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    PNG = "image/png"

    @property
    def is_video(self) -> bool:
        """Whether it is a video."""
        return self in (Format.MP4, Format.MOV)


_Image = images.Jpeg | images.WebP | images.Png
_IMAGES: dict[Format, type[_Image]] = {Format.JPEG: images.Jpeg, Format.WEBP: images.WebP, Format.PNG: images.Png}


def format_of(file: BinaryIO) -> Format | None:
    """Return the format of a file; ``None`` if it is none of these."""
    file.seek(0)
    head = file.read(16)
    if head[4:8] == b"ftyp":
        return Format.MOV if head[8:12] == b"qt  " else Format.MP4
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Format.WEBP
    return Format.PNG if head.startswith(b"\x89PNG\r\n\x1a\n") else None


def has_credentials(file: BinaryIO, kind: Format) -> bool:
    """Return whether a file has a C2PA manifest.

    :raises ValueError: if it is damaged.
    """
    return mp4.has_credentials(file) if kind.is_video else _image(file, kind).has_credentials


def mark(source: BinaryIO, sink: BinaryIO, kind: Format, told: dict[str, str]) -> None:
    """Copy ``source`` to ``sink`` with properties in its XMP. What it says already is kept.

    :param told: see :func:`.xmp.properties`.
    :raises ValueError: if it is damaged.
    """
    if kind.is_video:
        mp4.write(source, sink, xmp.packet(told, mp4.existing_xmp(source)))
    else:
        image = _image(source, kind)
        sink.write(image.with_xmp(xmp.packet(told, image.xmp)))


def _image(file: BinaryIO, kind: Format) -> _Image:
    file.seek(0)
    data = file.read(images.MAX_BYTES + 1)
    if len(data) > images.MAX_BYTES:
        raise ValueError(f"an image of more than {images.MAX_BYTES // 1024**2} MiB is refused")
    return _IMAGES[kind](data)
