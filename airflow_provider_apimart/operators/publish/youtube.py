"""``YouTubePublishOperator``: a video becomes a YouTube video or Short, once."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.hooks.decisions import check_picture
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.publish.base import PublishOperator
from airflow_provider_apimart.operators.publish.intent import Intent
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.publishing.report import iso
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.targets.youtube.limits import FIELDS, problems_of, time_of
from airflow_provider_apimart.publishing.targets.youtube.target import studio_url

#: Arguments that are true or false.
TRUTHS = ("made_for_kids", "contains_synthetic_media", "notify_subscribers")
#: Before any date that can be meant. Whether a date has passed is asked when the task runs, not when the DAG is parsed.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class YouTubePublishOperator(PublishOperator):
    """Upload a video to a YouTube channel and publish it, once, whatever crashes.

    The file goes up as a private video, streamed from any storage and resumed after a crash. When YouTube has processed
    it, one repeatable call makes it public, unlisted or scheduled. The video is then read back: its privacy, its
    date and its AI label must be what was asked. Everything that YouTube would refuse is refused before anything is
    sent. Quotas and channel limits are waited for until they reset, if ``timeout`` allows, else the post is parked.

    A vertical or square video of up to 3 minutes becomes a Short: YouTube has no setting for it.

    Returns (XCom) ``{"target": "youtube", "account", "post_id", "url", "studio_url", "state": "public" | "scheduled" |
    "unlisted" | "private", "publish_at", "privacy_status", "contains_synthetic_media", "uploaded_at", "public_since",
    "video": {"path", "bytes", "sha256", "generation_id"}, "warnings"}``. ``account`` is the channel's id, ``post_id``
    the video's. ``warnings`` tells what could not be done after the video was published: thumbnail, playlist. Times are
    ISO 8601 in UTC.

    :param video: what to post: a generate task's output (``generate.output``), one entry of its ``videos``, a row of a
        batch's manifest, or the absolute path of any landed or own video (text or ``ObjectStoragePath``).
    :param title: 1 to 100 characters, without ``<`` and ``>``.
    :param privacy_status: who sees the video in the end: ``public``, ``unlisted`` or ``private``. There is no default.
    :param description: up to 5000 bytes in UTF-8, without ``<`` and ``>``.
    :param tags: a list of texts (or its JSON text). They take 479 characters at most: the commas between them count,
        and two more for a tag with a space. YouTube allows 500; 21 are kept for the marker by which a post whose record
        was lost is found again. The marker's tag is removed on publication if YouTube shows the file's name to the
        owner, which holds it too.
    :param category_id: the number of a category, as text: ``"22"`` is People & Blogs.
    :param publish_at: when YouTube makes the video public: an aware ``datetime``, or ISO 8601 text with an offset
        (``2026-12-24T18:00:00+01:00``). Only with ``privacy_status="public"``, and only in the future. YouTube keeps
        the date, so the video goes public even if Airflow is down. If it passes before the video is ready, the video is
        published at once, with a warning.
    :param made_for_kids: your declaration whether the video is made for kids.
    :param contains_synthetic_media: label the video as altered or synthetic. YouTube demands it for realistic scenes
        that were generated; set it to ``False`` only for others.
    :param notify_subscribers: tell subscribers. YouTube takes it with the upload and does not say when they are told.
    :param default_language: the language of title and description, such as ``de`` or ``pt-BR``.
    :param thumbnail: the path of a JPEG or PNG file in any storage, of up to 50 MB (up to 2 MB works everywhere). The
        channel's phone number has to be verified.
    :param playlist_id: a playlist of the channel that the video is added to.
    :param youtube_conn_id: the connection, of the type ``youtube``.
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param post_key: your own name for the post. With it, the same post is made once in all runs of the DAG, and a run
        that brings another video under the same key is refused; without it, it is made once in each run.
    :param on_clear: what a cleared task does with a video that is published: ``reuse`` it, or ``repost``, which uploads
        it again and leaves the old one as it is.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param timeout: how long a post may take from its start: ``timedelta`` or seconds. After that the try fails and the
        post is parked: the next try, or a clear, goes on from there.
    :param poll_interval: seconds between two questions while YouTube processes the video; ``None`` adapts.
    :param require_approval: refuse a video about which nobody has decided. One that was rejected is always refused.
    """

    target = "youtube"
    conn_argument = "youtube_conn_id"
    template_fields: Sequence[str] = (*PublishOperator.template_fields, *FIELDS, "youtube_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"description": "md", "tags": "json"}
    object_fields: ClassVar[Collection[str]] = (*PublishOperator.object_fields, "tags")
    needed_fields: ClassVar[Collection[str]] = (
        *PublishOperator.needed_fields,
        *("title", "privacy_status", "category_id", "youtube_conn_id"),
    )

    def __init__(
        self,
        *,
        video: Any,
        title: str,
        privacy_status: str,
        description: str | None = None,
        tags: Sequence[str] | str | None = None,
        category_id: str | int = "22",
        publish_at: datetime | str | None = None,
        made_for_kids: bool | str = False,
        contains_synthetic_media: bool | str = True,
        notify_subscribers: bool | str = True,
        default_language: str | None = None,
        thumbnail: str | ObjectStoragePath | None = None,
        playlist_id: str | None = None,
        youtube_conn_id: str = "youtube_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(video=video, **kwargs)
        self.title = title
        self.privacy_status = privacy_status
        self.description = description
        self.tags = tags
        self.category_id = category_id
        self.publish_at = publish_at
        self.made_for_kids = made_for_kids
        self.contains_synthetic_media = contains_synthetic_media
        self.notify_subscribers = notify_subscribers
        self.default_language = default_language
        self.thumbnail = thumbnail
        self.playlist_id = playlist_id
        self.youtube_conn_id = youtube_conn_id
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        # The pair of date and privacy can be checked only if both are known, so all fields are checked together.
        unknown = [name for name in FIELDS if not check(_known, name, getattr(self, name))]
        return problems_of(self._fields(), LONG_AGO, frozenset(unknown))

    def _content(self, video: VideoFile) -> dict[str, Any]:
        when = time_of(self.publish_at)
        return {**self._fields(), "publish_at": when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else None}

    def _fields(self) -> dict[str, Any]:
        """Return the arguments as the target takes them; what cannot be read stays as it is, and is refused."""
        found = {name: None if arguments.is_unset(value := getattr(self, name)) else value for name in FIELDS}
        for name in TRUTHS:
            truth = arguments.truth_of(found[name])
            found[name] = found[name] if truth is None else truth
        if isinstance(found["category_id"], int) and not isinstance(found["category_id"], bool):
            found["category_id"] = str(found["category_id"])
        if isinstance(found["thumbnail"], (os.PathLike, ObjectStoragePath)):
            found["thumbnail"] = str(found["thumbnail"])
        found["tags"] = _tags(found["tags"])
        return found

    def _permit(self, source: VideoSource, intent: Intent) -> None:
        super()._permit(source, intent)
        if thumbnail := intent.content.get("thumbnail"):
            check_picture(file_of(thumbnail, "thumbnail"))

    def _told(self, record: PostRecord, content: Mapping[str, Any]) -> dict[str, Any]:
        privacy, now = content["privacy_status"], datetime.now(UTC)
        since, when = record.public_since, time_of(content["publish_at"])
        scheduled = since is not None and since > now
        late = when is not None and since is not None and since > when
        return {
            "studio_url": studio_url(record.post_id or ""),
            "state": "scheduled" if scheduled else privacy,
            "publish_at": iso(when),
            "privacy_status": "private" if scheduled else privacy,
            "contains_synthetic_media": content["contains_synthetic_media"],
            "public_since": iso(since) if privacy != "private" and not scheduled else None,
            "warnings": [f"publish_at: {iso(when)} had passed when the video was ready, so it was published at once"]
            if late
            else [],
        }


def _known(name: str, value: Any) -> list[FieldProblem]:
    """Tell ``check`` apart from a check that skips what is not known: this one always answers."""
    return [FieldProblem(name, value, "")]


def _tags(value: Any) -> Any:
    """Return a list of tags, also from the text that a template rendered to: JSON, or one tag."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return value
    return list(value) if isinstance(value, (list, tuple)) else value
