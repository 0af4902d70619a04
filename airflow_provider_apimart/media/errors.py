"""What can go wrong with a video's content. Nothing here pays: a failed check never leads to another generation."""

from __future__ import annotations

import errno
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError, Charge


class MediaError(ApimartError):
    """Root of the tree."""

    charge = Charge.NO


class UndecodableVideoError(MediaError):
    """The file cannot be decoded: damaged, hostile, or no video at all.

    :param input_number: which of a job's inputs it is, counted from 0, if the job said so.
    """

    terminal = True

    def __init__(self, message: str, *, input_number: int | None = None) -> None:
        super().__init__(message)
        self.input_number = input_number


class MediaBoundsError(MediaError):
    """The work needs more memory or more time than it may take."""

    terminal = True


class MediaRefusedError(MediaError):
    """The files can be read, but what is asked for cannot be made of them, such as a text that no font can draw."""

    terminal = True


class MediaSourceError(MediaError):
    """The file is not there, or is another one than the one that was landed."""

    terminal = True


class MediaToolError(MediaError):
    """The extra ``media`` is not installed, its process could not be started, or the disk has no room."""


# --- raised inside the child process ----------------------------------------------------------------------------------


class BadInput(ValueError):
    """A job's own verdict on one of its inputs.

    :param number: which one, counted from 0.
    :param text: what is wrong with it.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class Refused(ValueError):
    """A job's own verdict on its parameters: this cannot be made. The text says what can."""


class Unavailable(Exception):
    """Somebody outside whom a job needs does not answer now. A retry may do."""


def raise_if_out_of_memory(error: Any) -> None:
    """Raise FFmpeg's error again if it is a failed allocation: that says nothing about the file.

    :param error: an ``av.error.FFmpegError``.
    """
    if error.errno == errno.ENOMEM:
        raise error
