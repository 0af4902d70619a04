"""``InstagramReelPublishOperator``: posts a video as an Instagram Reel, once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Literal

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.hooks.storage.paths import masked_link
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.publish.base import PublishOperator
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.targets.instagram import limits
from airflow_provider_apimart.publishing.targets.instagram.target import CONTAINER
from airflow_provider_apimart.storage.links import LONGEST_LIFE

#: As long as a container lives, so that it is never the link that ends a post.
LINK_LIFE = timedelta(hours=24)
UNKNOWN_POST = (
    "the answer of the call that published the Reel was lost, and Instagram does not tell which post a container "
    "became: post_id is the container's id, and the post's page is not known"
)
TEXTS = ("caption", "cover_url", "audio_name")


class InstagramReelPublishOperator(PublishOperator):
    """Post a video as a Reel on a professional Instagram account, once.

    A container is made first, which nobody sees: Meta fetches the video by a signed link, or gets its bytes. When it is
    processed, one call publishes it. The container's id is recorded before, so a retry asks the container whether it
    was published, and never publishes a second one. Before the container is made and before it is published, the
    account's limit is read (``content_publishing_limit``); if it is used up, the task waits until there is room.

    Returns (XCom) ``{"target": "instagram", "account", "post_id", "url", "studio_url", "state": "public", "publish_at",
    "privacy_status", "contains_synthetic_media", "uploaded_at", "public_since", "video": {"path", "bytes", "sha256",
    "generation_id"}, "warnings"}``. ``account`` is the account's id, ``post_id`` the media's id, ``url`` its permalink,
    ``contains_synthetic_media`` the AI label that was asked for. What Instagram does not have is null.
    Times are ISO 8601 in UTC. If the answer of the call that publishes was lost, ``post_id`` is ``container:`` and the
    container's id, ``url`` is null and a warning says so: Instagram does not tell which post a container became.

    Errors: wrong texts, files and pairs of arguments, and a storage that cannot sign links, are refused before anything
    is sent, all at once. A void token, a missing permission, a personal account, a file or text that Instagram refuses,
    and a label that was dropped end the task for good. Everything else is retried, and goes on from the record.

    :param video: what to post: a generate task's output (``generate.output``), one entry of its ``videos``, a row of a
        batch's manifest, or the absolute path of any landed or own video (text or ``ObjectStoragePath``). An MP4 or MOV
        file of 3 s to 15 min, up to 300 MB, up to 1920 px wide, with 23 to 60 frames a second.
    :param caption: the text below the Reel: up to 2,200 characters, 30 hashtags and 20 mentions.
    :param is_ai_generated: put Instagram's AI label on the Reel.
    :param share_to_feed: show it in the feed too, not in the Reels tab only.
    :param thumb_offset_ms: the moment of the video that becomes the cover, in milliseconds.
    :param cover_url: the public ``https://`` URL of a JPEG image for the cover, instead of a moment of the video. It is
        stored in the clear, so a signed link is refused.
    :param collaborators: up to three user names that are invited as co-authors.
    :param audio_name: the name of the video's own sound.
    :param upload: how the video gets to Meta: by a signed link (``url``), as bytes (``bytes``; Facebook Login only), or
        ``auto``: by a link where the storage can sign one that leads to the internet, else as bytes.
    :param url_expires: how long a signed link lives: ``timedelta`` or seconds, from 1 hour to 7 days. A link that was
        signed with temporary credentials dies with them.
    :param instagram_conn_id: the connection, of the type ``instagram``.
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param post_key: your own name for the post. With it, the post is made once in all runs of the DAG, and a run that
        brings another video under the same key is refused; without it, it is made once in each run.
    :param on_clear: what a cleared task does with a post that is public: ``reuse`` it, or ``repost`` the video.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param timeout: how long a post may take from its start: ``timedelta`` or seconds. After that the try fails and the
        post is parked: the next try, or a clear, goes on from there.
    :param poll_interval: seconds between two questions; ``None`` adapts.
    :param require_approval: refuse a video about which nobody has decided. One that was rejected is always refused.
    """

    target = "instagram"
    conn_argument = "instagram_conn_id"
    template_fields: Sequence[str] = (
        *PublishOperator.template_fields,
        "caption",
        "is_ai_generated",
        "share_to_feed",
        "thumb_offset_ms",
        "cover_url",
        "collaborators",
        "audio_name",
        "upload",
        "url_expires",
        "instagram_conn_id",
    )
    object_fields: ClassVar[Collection[str]] = (*PublishOperator.object_fields, "collaborators")
    needed_fields: ClassVar[Collection[str]] = (*PublishOperator.needed_fields, "instagram_conn_id")

    def __init__(
        self,
        *,
        video: Any,
        caption: str | None = None,
        is_ai_generated: bool | str = True,
        share_to_feed: bool | str = True,
        thumb_offset_ms: int | str | None = None,
        cover_url: str | None = None,
        collaborators: Sequence[str] | str | None = None,
        audio_name: str | None = None,
        upload: Literal["auto", "url", "bytes"] | str = "auto",
        url_expires: timedelta | float | str = LINK_LIFE,
        instagram_conn_id: str = "instagram_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(video=video, **kwargs)
        self.caption = caption
        self.is_ai_generated = is_ai_generated
        self.share_to_feed = share_to_feed
        self.thumb_offset_ms = thumb_offset_ms
        self.cover_url = cover_url
        self.collaborators = collaborators
        self.audio_name = audio_name
        self.upload = upload
        self.url_expires = url_expires
        self.instagram_conn_id = instagram_conn_id
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = []
        for name in (*TEXTS, "is_ai_generated", "share_to_feed", "thumb_offset_ms", "collaborators"):
            problems += check(_content_problems, name, getattr(self, name))
        problems += check(_pair_problems, "thumb_offset_ms", self.thumb_offset_ms, self.cover_url)
        problems += check(arguments.choice_problems, "upload", self.upload, limits.WAYS)
        return problems + check(_expiry_problems, "url_expires", self.url_expires)

    def _content(self, video: VideoFile) -> dict[str, Any]:
        names = (*TEXTS, "is_ai_generated", "share_to_feed", "thumb_offset_ms", "collaborators")
        return {name: _value(name, getattr(self, name)) for name in names}

    def _options(self, source: VideoSource, content: Mapping[str, Any]) -> dict[str, Any]:
        lifetime = timedelta(seconds=arguments.seconds_of(self.url_expires) or LINK_LIFE.total_seconds())
        return {"link": partial(masked_link, source.place, lifetime), "way": self.upload}

    def _told(self, record: PostRecord, content: Mapping[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {"contains_synthetic_media": content["is_ai_generated"]}
        if (record.post_id or "").startswith(CONTAINER):
            told["warnings"] = [UNKNOWN_POST]
        return told


def _value(name: str, value: Any) -> Any:
    """Return an argument as Instagram is told it, also from a template's text; unchanged if it is not one."""
    if name in TEXTS:
        return None if value is None or value == "" else value
    if arguments.is_unset(value):
        return True if name in ("is_ai_generated", "share_to_feed") else None
    if name == "thumb_offset_ms":
        number = arguments.number_of(value)
        return int(number) if number is not None and number == int(number) else value
    if name == "collaborators":
        return _names(value)
    found = arguments.truth_of(value)
    return value if found is None else found


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return [part for part in value.replace(",", " ").split() if part]
    return list(value) if isinstance(value, (list, tuple)) else value


def _content_problems(name: str, value: Any) -> list[FieldProblem]:
    return limits.problems_of({name: _value(name, value)})


def _pair_problems(name: str, value: Any, cover_url: Any) -> list[FieldProblem]:
    known = not arguments.is_unset(cover_url) and not arguments.is_template(cover_url)
    both = known and not arguments.is_unset(value)
    return [FieldProblem(name, value, limits.ONE_COVER)] if both else []


def _expiry_problems(name: str, value: Any) -> list[FieldProblem]:
    seconds = arguments.seconds_of(value)
    if arguments.is_unset(value) or (seconds is not None and 3600 <= seconds <= LONGEST_LIFE.total_seconds()):
        return []
    return [FieldProblem(name, value, "allowed: a timedelta or a number of seconds, from 1 hour to 7 days")]
