"""What can go wrong with a post. Every message says what happened, what others can see, and what to do next.

The tree hangs below :class:`.ApimartError`, so that one ``except`` catches everything that the provider raises.
Nothing here is about money: publishing is free.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError, Charge


class PublishError(ApimartError):
    """Root of the tree.

    :param message: what happened.
    :param reason: the target's machine-readable reason, such as YouTube's ``quotaExceeded``.
    :param post: the mark of the post (:attr:`.Post.marker`), once it is known.
    """

    charge = Charge.NO

    def __init__(self, message: str, *, reason: str | None = None, post: str = "", **more: Any) -> None:
        super().__init__(message, **more)
        self.reason = reason
        self.post = post


# --- for now ---------------------------------------------------------------------------------------------------------


class TargetUnavailableError(PublishError):
    """The target did not answer, answered with a temporary error, or asked to slow down.

    :param nothing_done: whether it is certain that the request had no effect.
    """

    def __init__(self, message: str, *, nothing_done: bool = False, **more: Any) -> None:
        super().__init__(message, **more)
        self.nothing_done = nothing_done


class TargetLimitError(PublishError):
    """A quota or a daily limit is used up. Nothing was done.

    :param until: when the limit resets (aware, UTC), as far as it is known.
    """

    def __init__(self, message: str, *, until: datetime, **more: Any) -> None:
        super().__init__(message, **more)
        self.until = until


class PostUnsettledError(TargetLimitError):
    """Whether the video was posted cannot be known before a named time. Nothing was done."""


class PostParkedError(PublishError):
    """The wait ended without a verdict. The record stays, and the next try goes on from there.

    :param until: when it can go on at the earliest (aware, UTC), if that is known.
    """

    def __init__(self, message: str, *, until: datetime | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.until = until


# --- for good --------------------------------------------------------------------------------------------------------


class CredentialsError(PublishError):
    """The target does not accept the connection: revoked or expired token, wrong scope, no channel, wrong account."""

    terminal = True


class PostRejectedError(PublishError):
    """The target refused the video or its text, for a reason that a retry does not change."""

    terminal = True


class PostRefusedError(PublishError):
    """Nothing was sent, because it could make the video public a second time, or because a person has to decide."""

    terminal = True


class PostDiffersError(PublishError):
    """What the target shows is not what was asked: another privacy, or no AI label. The post is there."""

    terminal = True


class VideoChangedError(PublishError):
    """The file is not the one that was landed: another size or checksum. Nothing of it was made public."""

    terminal = True
