"""What decoders have to know of a track (its sample entry): compared between clips, and written for the joined video.

Bit rates are in it as well, and differ between clips that agree, so they are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_provider_apimart.media.joining.tables.boxes import Box, not_plain

#: The codecs of pictures whose packets can stand in a file of one sample entry, by the type of the entry.
CODECS = {b"avc1": "h264", b"hvc1": "hevc", b"av01": "av1", b"vp09": "vp9"}
#: The boxes of a picture's entry that are copied with it. All others are not understood, but for the bit rate.
COPIED = frozenset({b"avcC", b"hvcC", b"av1C", b"vpcC", b"pasp", b"colr", b"fiel", b"clli", b"mdcv"})
CONFIGURATIONS = (b"avcC", b"hvcC", b"av1C", b"vpcC")
BIT_RATE = b"btrt"
#: Where configurations tell how many bytes a unit's length has.
LENGTHS_AT = {b"avcC": 4, b"hvcC": 21}
#: The fields of an entry before its boxes.
PICTURE_FIELDS, SOUND_FIELDS = 78, 28
AAC = 0x40
AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
AAC_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
#: What encoders append to say that there is no spectral band replication.
NO_SBR = bytes.fromhex("56e500")


@dataclass(frozen=True)
class PictureEntry:
    """The sample entry of pictures.

    :param compared: what has to be the same in all clips.
    :param written: the whole entry, as it goes into the joined video.
    :param length_bytes: how many bytes tell the length of a unit of H.264 or HEVC; ``None`` for other codecs.
    """

    codec: str
    compared: bytes
    written: bytes
    size: tuple[int, int]
    length_bytes: int | None


@dataclass(frozen=True)
class SoundEntry:
    """The sample entry of AAC-LC sound; see :class:`PictureEntry`."""

    compared: bytes
    written: bytes
    rate: int
    layout: str


def picture_entry(box: Box) -> PictureEntry:
    """Read the entry of pictures.

    :raises NotPlain: if it has parts whose meaning is not known here.
    """
    if box.kind not in CODECS:
        not_plain(f"its pictures are {box.kind!r}")
    width, height = box.fields(">HH", 24)
    depth, palette = box.fields(">Hh", PICTURE_FIELDS - 4)
    if not width or not height or palette != -1:
        not_plain("its pictures have no size, or a palette")
    inside = box.children(PICTURE_FIELDS).boxes
    unknown = {child.kind for child in inside} - COPIED - {BIT_RATE}
    if unknown or sum(child.kind in CONFIGURATIONS for child in inside) != 1:
        not_plain(f"the entry of its pictures holds {sorted(unknown)}, or not one configuration")
    kept = b"".join(boxed(child.kind, bytes(child.body)) for child in inside if child.kind != BIT_RATE)
    fixed = bytes(6) + b"\0\1" + bytes(box.body[8:PICTURE_FIELDS])
    compared = box.kind + struct.pack(">HHH", width, height, depth) + kept
    return PictureEntry(
        CODECS[box.kind], compared, boxed(box.kind, fixed + kept), (width, height), _length_bytes(inside)
    )


def _length_bytes(inside: Sequence[Box]) -> int | None:
    """Read from the configuration how many bytes tell a unit's length (ISO 14496-15)."""
    for child in inside:
        if child.kind in LENGTHS_AT:
            return (child.fields(">B", LENGTHS_AT[child.kind])[0] & 3) + 1
    return None


def sound_entry(box: Box) -> SoundEntry:
    """Read the entry of sound.

    :raises NotPlain: if it is not AAC-LC, or has parts whose meaning is not known here.
    """
    version, channels = box.fields(">8xHxxxxxxH")
    if box.kind != b"mp4a" or version:
        not_plain(f"its sound is {box.kind!r} of version {version}")
    inside = box.children(SOUND_FIELDS)
    if {child.kind for child in inside.boxes} - {b"esds", BIT_RATE}:
        not_plain("the entry of its sound holds more than its configuration")
    config = _aac_config(bytes(inside.one(b"esds").body))
    if len(config) not in (2, 5) or config[2:] not in (b"", NO_SBR):
        not_plain("its sound is no plain AAC")
    (word,) = struct.unpack_from(">H", config)
    kind, rate, layout = word >> 11, word >> 7 & 15, word >> 3 & 15
    # The last three bits say that a packet holds 960 samples, depends on another stream, or is extended.
    if kind != 2 or rate >= len(AAC_RATES) or layout not in AAC_LAYOUTS or word & 7:
        not_plain("its sound is no plain AAC-LC")
    fixed = bytes(6) + b"\0\1" + bytes(8) + struct.pack(">HHII", channels, 16, 0, AAC_RATES[rate] << 16 & 0xFFFFFFFF)
    return SoundEntry(config, boxed(b"mp4a", fixed + _esds(config)), AAC_RATES[rate], AAC_LAYOUTS[layout])


def boxed(kind: bytes, *parts: bytes) -> bytes:
    """Return a box."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _aac_config(esds: bytes) -> bytes:
    """Return the codec's own configuration (ISO 14496-1, 7.2.6)."""
    for tag, stream in _descriptors(esds[4:]):
        if tag != 3 or len(stream) < 3 or stream[2] & 0xE0:
            # The flags say that more fields follow.
            continue
        for inner, decoder in _descriptors(stream[3:]):
            if inner == 4 and len(decoder) > 13 and decoder[0] == AAC:
                return next((config for last, config in _descriptors(decoder[13:]) if last == 5), b"")
    not_plain("its sound has no configuration that is understood")


def _descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        tag, length = data[at], 0
        at += 1
        # A length has up to four bytes of seven bits; the highest bit says that another follows.
        for _ in range(4):
            if at >= len(data):
                not_plain("the configuration of its sound is cut off")
            byte = data[at]
            at, length = at + 1, length << 7 | byte & 0x7F
            if byte < 0x80:
                break
        if length > len(data) - at:
            not_plain("the configuration of its sound is cut off")
        yield tag, data[at : at + length]
        at += length


def _esds(config: bytes) -> bytes:
    decoder = bytes([AAC, 0x15]) + bytes(11) + _descriptor(5, config)
    stream = bytes(3) + _descriptor(4, decoder) + _descriptor(6, b"\x02")
    return boxed(b"esds", bytes(4), _descriptor(3, stream))


def _descriptor(tag: int, body: bytes) -> bytes:
    return bytes([tag, len(body)]) + body
