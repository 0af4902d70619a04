"""Frames that are files: checked before they are uploaded, so that a wrong one costs nothing.

The content of an image decides its type, never the name (contract 5: APIMart does the same). A truncated image is
refused: a generation from half a picture costs as much as any other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.client.model_rules import MIB, ModelRules
from airflow_provider_apimart.generation.purchase.image_ends import lacks_trailer, missing_end

log = logging.getLogger(__name__)

#: What APIMart's upload accepts, whatever the model.
MAX_UPLOAD_BYTES = 20 * MIB
UPLOAD_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif")


@dataclass(frozen=True)
class LocalImage:
    """A frame read from a file.

    :param field: the request's field, such as ``first_frame_image``.
    :param path: as the user wrote it.
    """

    field: str
    path: str
    content: bytes = dataclasses.field(repr=False)
    content_type: str

    @cached_property
    def sha256(self) -> str:
        """Checksum of the content, in hex: stands for the image in the request's fingerprint."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def filename(self) -> str:
        """The name it is uploaded under."""
        stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in PurePosixPath(self.path).stem)
        return f"{stem[:80] or 'frame'}.{self.content_type.rpartition('/')[2].replace('jpeg', 'jpg')}"


def sniff(head: bytes) -> str | None:
    """Return the media type of an image from its first bytes, or ``None`` for anything APIMart does not accept."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    return None


def check_image(name: str, path: str, content: bytes, rules: ModelRules | None) -> LocalImage:
    """Return the image, or raise :class:`InvalidParameterError` saying what is wrong with the file.

    :param name: the request's field.
    :param content: the file's content; for a file over the limit, any beginning that exceeds the limit is enough.
    :param rules: the model's, which may accept less than the upload does.
    """
    limit = min(MAX_UPLOAD_BYTES, rules.image_bytes_max) if rules else MAX_UPLOAD_BYTES
    allowed = rules.image_types if rules else UPLOAD_TYPES
    kinds = ", ".join(kind.rpartition("/")[2].upper() for kind in allowed)
    kind = sniff(content[:16])
    if not content:
        problem = "the file is empty"
    elif len(content) > limit:
        problem = f"the file is larger than {limit // MIB} MiB ({limit} bytes), which is the most that is taken"
    elif kind is None or kind not in allowed:
        found = kind or f"a file that begins with {content[:8]!r}"
        problem = f"allowed: {kinds} (told by the content); this is {found}"
    elif lack := missing_end(kind, content):
        problem = f"the file ends early ({lack}): put the whole image there again"
    else:
        if lacks_trailer(kind, content):
            log.warning("%s=%r: the GIF has no trailer, so it may have been cut. It is used as it is", name, path)
        return LocalImage(name, path, content, kind)
    raise InvalidParameterError((FieldProblem(name, path, problem),))
