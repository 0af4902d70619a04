"""Finds what a file was made of, from the media sidecars beside it.

What was made of a video is noted in that video's media sidecar (``made_of``). A note counts only if it names the file's
checksum.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from airflow_provider_apimart.media.sidecar import MadeOf, Output, beside, read_note
from airflow_provider_apimart.storage.files import Target, storage_errors

#: The names that the workshop gives.
_MADE = re.compile(r"(?P<stem>.+)\.[A-Za-z0-9_-]+-[0-9a-f]{10}(?:\.[A-Za-z0-9]+)?")
_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".jpg", ".webp", ".png", "")
#: Fonts and texts: what a rendition is made with, and not of.
_TOOLS = frozenset({".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2", ".srt", ".vtt", ".txt"})
#: What is put into a video beside other videos. A video may have any other suffix, or none.
_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"})
_SOUNDS = frozenset({".mp3", ".m4a", ".aac", ".wav", ".flac", ".ogg", ".opus"})


def output_of(place: Target, sha256: str) -> Output | None:
    """Return the note about a file that was made of others; ``None`` if nobody knows of one.

    :raises LandingError: if the storage does not answer.
    """
    for sidecar in _sidecars(place):
        note = read_note(sidecar)
        for output in (*note.outputs, *note.earlier) if note else ():
            if output.sha256 == sha256:
                return output
    return None


def parts_of(output: Output) -> list[MadeOf]:
    """Return the files that something was made of, without fonts and texts."""
    return [each for each in output.made_of if _suffix(each) not in _TOOLS]


def material_of(output: Output) -> list[tuple[MadeOf, bool]]:
    """Return the videos and pictures that something was made of; and of each whether it is a video, and not a picture
    that was put into one.
    """
    parts = [each for each in parts_of(output) if _suffix(each) not in _SOUNDS]
    return [(each, _suffix(each) not in _PICTURES) for each in parts]


def _suffix(file: MadeOf) -> str:
    return posixpath.splitext(file.path)[1].lower()


def _sidecars(place: Target) -> Iterator[Target]:
    """Yield the media sidecars that may tell of a file, the likeliest first."""
    match = _MADE.fullmatch(place.name)
    if match is None:
        return
    likely = [beside(place.sibling(f"{match['stem']}{suffix}")) for suffix in _SUFFIXES]
    yield from likely
    # In a folder of their own, or after a long name, they are called otherwise.
    known = {each.name for each in likely}
    folder = place.sibling("")
    with storage_errors(folder, "listed"):
        names = [posixpath.basename(str(path).rstrip("/")) for path in place.fs.ls(folder.path, detail=False)]
    for name in sorted(names):
        if name.startswith(match["stem"]) and name.endswith(".media.json") and name not in known:
            yield place.sibling(name)
