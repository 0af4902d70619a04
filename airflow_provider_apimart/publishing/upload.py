"""Sends a file to an upload session, and checks on the way that it is the file that was landed.

Nothing here makes a draft of an upload: the tail is the caller's to send, once the record says so.
"""

from __future__ import annotations

from airflow_provider_apimart.publishing.errors import TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Sender, VideoBytes
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.target import Evidence, PublishTarget, Stored
from airflow_provider_apimart.storage.checksum import Sha256


class Upload:
    """One upload from where its session stands.

    :param url: the session's. A secret.
    :param offset: how many bytes it has.
    :raises TargetUnavailableError: if that is more than there are.
    """

    def __init__(self, target: PublishTarget, sender: Sender, source: VideoSource, url: str, offset: int) -> None:
        self.target = target
        self.sender = sender
        self.source = source
        self.url = url
        self.offset = offset
        self.size = source.video.bytes
        if offset > self.size:
            raise TargetUnavailableError(f"{target.name} says that it has {offset} of {self.size} bytes")

    def send_all_but_the_tail(self) -> Evidence | None:
        """Send the file up to its tail, and check the whole of it.

        :return: what the target has told, or ``None`` if only the tail is left.
        :raises VideoChangedError: if the file is not the one that was landed.
        """
        tail_bytes = self.target.traits.tail_bytes
        tail_from = (self.size - 1) // tail_bytes * tail_bytes if tail_bytes else self.size
        if tail_bytes and self.offset % tail_bytes:
            # Pieces before the last one have to be whole multiples. From here on, only a last piece fits.
            tail_from = min(self.offset, tail_from)
        with Sha256() as digest:
            for chunk in self.source.stream(0, min(self.offset, tail_from)):
                digest.update(chunk)
            if self.offset < tail_from:
                told = self._send(VideoBytes(self.offset, tail_from - self.offset, digest.update))
                if not tail_bytes:
                    self.source.check_sum(digest.hexdigest())
                if told != Stored(tail_from):
                    return told
                self.offset = tail_from
            for chunk in self.source.stream(tail_from, self.size - tail_from):
                digest.update(chunk)
            self.source.check_sum(digest.hexdigest())
        return None

    def send_the_tail(self) -> Evidence:
        """Send what is left."""
        if self.offset == self.size:
            raise TargetUnavailableError(f"{self.target.name} has all {self.size} bytes, and no draft of them yet")
        return self._send(VideoBytes(self.offset, self.size - self.offset))

    def _send(self, body: VideoBytes) -> Evidence:
        told = self.sender.run(self.target.upload(self.url, body, self.size))
        if isinstance(told, Stored) and told.offset <= body.offset:
            raise TargetUnavailableError(f"{self.target.name} has stored nothing of the {body.length} bytes sent")
        return told
