"""A post: one intended publication of one video on one account of one target; its identity and its marker.

Invariant 11: the next try computes the same marker. So it is made of what a try cannot change: the target, the account,
the video's checksum, the user's own key or else the place in Airflow, and the clear epoch. It never depends on a try
number, a clock or a random number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class VideoFile:
    """The video to post, as its sidecar or an earlier task describes it.

    :param uri: where it lies, as the user would write it.
    :param bytes: its size.
    :param sha256: its checksum, in hexadecimal.
    :param duration_seconds: ``None`` if unknown, as are the next three.
    """

    uri: str
    bytes: int
    sha256: str
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    has_audio: bool | None = None
    generation_id: str | None = None


@dataclass(frozen=True)
class PostIdentity:
    """What stands for one intended publication.

    :param clear_epoch: stands for how often the task was cleared (:class:`.generation.purchase.identity.Identity`).
    :param post_key: the user's own name for the post: it takes the place of the DAG run.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    clear_epoch: int = 0
    post_key: str = ""

    @property
    def place(self) -> dict[str, str | int]:
        """The names of this place, for records and sidecars."""
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            **({"post_key": self.post_key} if self.post_key else {}),
        }


@dataclass(frozen=True)
class Post:
    """What is to be published.

    :param target: the target's name, such as ``"youtube"``.
    :param video: the file.
    :param content: what the target is told about it: texts, privacy, dates; plain JSON without secrets.
    """

    target: str
    video: VideoFile
    content: Mapping[str, Any]

    @property
    def content_digest(self) -> str:
        """A hash of what the target is told."""
        return digest(dict(self.content))


def marker_of(identity: PostIdentity, post: Post, account: str, epoch: int) -> str:
    """Return the name under which a post can be found again at its target: 20 visible ASCII characters.

    :param account: the target's own id of the account.
    :param epoch: the clear epoch that posts it (see :func:`.decide.decide`).
    """
    if identity.post_key:
        # With the video: else an upload of another one, begun under the same key, could be taken for this one.
        who: list[Any] = [identity.post_key, post.video.sha256]
    else:
        who = [identity.dag_id, identity.run_id, identity.task_id, identity.map_index, post.video.sha256]
    return f"apm-{digest([post.target, account, who, epoch])[:16]}"


def digest(value: Any) -> str:
    """Return the SHA-256 of ``value``'s canonical JSON."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
