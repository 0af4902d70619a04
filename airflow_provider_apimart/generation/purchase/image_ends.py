"""Looks for the end of an image, because a truncated copy begins like a whole file.

Nothing is decoded. Data after the end is ignored: cameras and phones add some.
"""

from __future__ import annotations

#: If a JPEG's segments cannot be followed, its end marker is searched for in this many of its last bytes.
_TAIL_BYTES = 64 * 1024


def missing_end(media_type: str, content: bytes) -> str | None:
    """Return what a truncated image lacks, or ``None`` for a whole one."""
    if media_type == "image/png":
        return None if _png_is_whole(content) else "it has no IEND chunk"
    if media_type == "image/jpeg":
        return None if _jpeg_is_whole(content) else "it has no EOI marker"
    if media_type == "image/webp":
        return _webp_lacks(content)
    if media_type == "image/gif":
        return None if _gif_has_picture(content) else "it has no picture"
    return None


def lacks_trailer(media_type: str, content: bytes) -> bool:
    """Return whether a GIF lacks its trailer. One in ten good GIFs lacks it, so this proves nothing."""
    return media_type == "image/gif" and not content.rstrip(b"\0").endswith(b";")


def _png_is_whole(content: bytes) -> bool:
    at = 8
    while len(content) - at >= 12:
        kind = content[at + 4 : at + 8]
        at += 12 + int.from_bytes(content[at : at + 4])
        if kind == b"IEND":
            return at <= len(content)
    return False


def _jpeg_is_whole(content: bytes) -> bool:
    """Follow the segments to the end marker, skipping that of an embedded thumbnail."""
    at = 2
    while True:
        at = content.find(b"\xff", at)
        if at < 0:
            return False
        while content[at : at + 1] == b"\xff":
            at += 1
        marker = content[at] if at < len(content) else 0
        at += 1
        if marker == 0xD9:
            return True
        # Below 0xC0 the 0xFF is part of the picture's data; restart markers within the data have no length.
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8:
            continue
        length = int.from_bytes(content[at : at + 2])
        if length < 2 or at + 2 > len(content):
            return b"\xff\xd9" in content[max(at, len(content) - _TAIL_BYTES) :]
        at += length


def _webp_lacks(content: bytes) -> str | None:
    end = 8 + int.from_bytes(content[4:8], "little")
    if end < 20 or end > len(content):
        return f"it says that it has {end} bytes and has {len(content)}"
    return None


def _gif_has_picture(content: bytes) -> bool:
    """Follow the blocks to the first byte of the first picture's data."""
    if len(content) < 13:
        return False
    at = 13 + _gif_colours(content[10])
    while content[at : at + 1] == b"!":
        at += 2
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    if content[at : at + 1] not in (b",", b""):
        return True  # Rubbish between blocks, which decoders skip.
    return len(content) > at + 10 and len(content) > at + 11 + _gif_colours(content[at + 9])


def _gif_colours(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
