"""The video's file, read in constant memory from any storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airflow_provider_apimart.publishing.errors import VideoChangedError
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.storage.files import (
    Target,
    check_same_machine,
    is_object_store,
    storage_errors,
    stored_sha256,
    stored_size,
)
from airflow_provider_apimart.storage.uploads import BLOCK_BYTES

#: Small enough to stay in the processor's cache while it is read, hashed and sent.
CHUNK_BYTES = 512 * 1024
#: An object store is asked for blocks of 5 MiB, and for the next one while the last one is sent: each costs a request.
READ_AHEAD = {"cache_type": "background", "block_size": BLOCK_BYTES, "cache_options": {"maxblocks": 2}}


@dataclass(frozen=True)
class VideoSource:
    """A landed or own video in some storage.

    :param place: where it lies.
    :param video: what it has to be: size and checksum.
    """

    place: Target
    video: VideoFile

    def check_size(self) -> None:
        """Check that the file exists and has its size.

        :raises VideoChangedError: if not.
        :raises LandingError: if the storage does not answer, or if a local file is not on this worker: another one may
            have it.
        """
        check_same_machine(self.place, "the video")
        size = stored_size(self.place)
        if size is None:
            raise VideoChangedError(f"{self.place.uri} does not exist. Nothing was posted: land the video again")
        if size != self.video.bytes:
            raise VideoChangedError(
                f"{self.place.uri} has {size} bytes, but {self.video.bytes} were landed: the file has changed since. "
                "Nothing of it was made public"
            )

    def check_whole(self) -> None:
        """Read the file from end to end, and check its size and checksum.

        :raises VideoChangedError: if they differ.
        """
        self.check_size()
        self.check_sum(stored_sha256(self.place))

    def check_sum(self, sha256: str) -> None:
        """Check a checksum that was computed while the file was read.

        :raises VideoChangedError: if it is not the video's.
        """
        if sha256 != self.video.sha256:
            raise VideoChangedError(
                f"{self.place.uri} has the checksum {sha256}, but {self.video.sha256} was landed: the file has changed "
                "since. Nothing of it was made public"
            )

    def stream(self, offset: int, length: int, on_chunk: Callable[[bytes], None] | None = None) -> Iterator[bytes]:
        """Yield ``length`` bytes from ``offset`` on.

        :raises VideoChangedError: if the file ends before.
        """
        options = READ_AHEAD if is_object_store(self.place.fs) else {}
        left = length
        with storage_errors(self.place, "read"), self.place.fs.open(self.place.path, "rb", **options) as file:
            file.seek(offset)
            while left:
                chunk = file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise VideoChangedError(
                        f"{self.place.uri} ended after {offset + length - left} bytes, but {self.video.bytes} were "
                        "landed: the file has changed since. Nothing of it was made public"
                    )
                left -= len(chunk)
                if on_chunk is not None:
                    on_chunk(chunk)
                yield chunk
