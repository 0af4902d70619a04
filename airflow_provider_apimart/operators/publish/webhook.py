"""``WebhookPublishOperator``: hands a video to any receiver of signed webhooks, once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.hooks.storage.paths import masked_link
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.publish.base import PublishOperator
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.targets.webhook.message import payload_problems
from airflow_provider_apimart.storage.links import LONGEST_LIFE


class WebhookPublishOperator(PublishOperator):
    """Send a signed message about a video to the receiver of a connection, once (Standard Webhooks).

    It is the road to every network that has no operator here: a flow in n8n, postiz, Make or Zapier takes the message
    and posts the video. Every try sends the same bytes under the same ``webhook-id``, so a receiver that follows the
    specification acts once. A 2xx answer is success; 429, 5xx and lost answers are retried; anything else fails for
    good. Redirects are not followed.

    The message is ``payload``, a dict in which an object such as ``{"$video": "url"}`` stands for a fact: ``url`` (a
    signed link), ``url_expires_at``, ``name``, ``path``, ``bytes``, ``sha256``, ``duration_seconds``, ``width``,
    ``height``, ``has_audio``, ``generation_id`` or ``all`` of the video, and ``{"$post": "id"}`` or ``"created_at"``.
    The texts in it are templated if they are written in the DAG file. A message has fewer than 20,000 bytes.

    Returns (XCom) ``{"target": "webhook", "account", "post_id", "url", "studio_url", "state": "delivered",
    "publish_at", "privacy_status", "contains_synthetic_media", "uploaded_at", "public_since", "video": {"path",
    "bytes", "sha256", "generation_id"}, "warnings"}``. ``account`` is the receiver's host and a short hash of its URL,
    ``post_id`` the ``webhook-id``. What a receiver does not tell is null. Times are ISO 8601 in UTC.

    :param video: what to post: a generate task's output (``generate.output``), one entry of its ``videos``, a row of a
        batch's manifest, or the absolute path of any landed or own video (text or ``ObjectStoragePath``).
    :param payload: the message; ``None`` sends ``{"type": "video.ready", "timestamp", "data": {"post_id", "video"}}``
        with all facts.
    :param include_url: put a signed link to the video into the message. Needs a storage that can sign links (S3, Google
        Cloud Storage, Azure Blob Storage).
    :param url_expires: how long the link lives: ``timedelta`` or seconds, up to 7 days. A link that was signed with
        temporary credentials dies with them.
    :param webhook_conn_id: the connection, of the type ``signed_webhook``.
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param post_key: your own name for the post. With it, the post is made once in all runs of the DAG, and a run that
        brings another video under the same key is refused; without it, it is made once in each run.
    :param on_clear: what a cleared task does with a message that was delivered: ``reuse`` it, or ``repost``, which
        sends another one under a new id.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param timeout: how long the delivery may take from its start: ``timedelta`` or seconds. After that the try fails
        and the message is parked: the next try, or a clear, sends it.
    :param poll_interval: seconds between two attempts while a receiver does not say how long to wait; ``None`` adapts.
    :param require_approval: refuse a video about which nobody has decided. One that was rejected is always refused.
    """

    target = "webhook"
    conn_argument = "webhook_conn_id"
    template_fields: Sequence[str] = (
        *PublishOperator.template_fields,
        "payload",
        "include_url",
        "url_expires",
        "webhook_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"payload": "json"}
    object_fields: ClassVar[Collection[str]] = (*PublishOperator.object_fields, "payload")
    needed_fields: ClassVar[Collection[str]] = (*PublishOperator.needed_fields, "webhook_conn_id")

    def __init__(
        self,
        *,
        video: Any,
        payload: Mapping[str, Any] | str | None = None,
        include_url: bool | str = True,
        url_expires: timedelta | float | str = LONGEST_LIFE,
        webhook_conn_id: str = "webhook_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(video=video, **kwargs)
        self.payload = payload
        self.include_url = include_url
        self.url_expires = url_expires
        self.webhook_conn_id = webhook_conn_id
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = check(_payload_problems, "payload", self.payload)
        problems += check(arguments.truth_problems, "include_url", self.include_url)
        return problems + check(_expiry_problems, "url_expires", self.url_expires)

    def _content(self, video: VideoFile) -> dict[str, Any]:
        payload = arguments.object_of(self.payload)
        include_url = arguments.truth_of(self.include_url)
        return {
            "payload": payload,
            "include_url": True if include_url is None else include_url,
            "url_expires_seconds": arguments.seconds_of(self.url_expires) or LONGEST_LIFE.total_seconds(),
        }

    def _options(self, source: VideoSource, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"link": partial(masked_link, source.place)}

    def _told(self, record: PostRecord, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"state": "delivered", "uploaded_at": None}


def _payload_problems(name: str, value: Any) -> list[FieldProblem]:
    problems = arguments.mapping_problems(name, value)
    found = None if problems else arguments.object_of(value)
    return problems if found is None else payload_problems(found)


def _expiry_problems(name: str, value: Any) -> list[FieldProblem]:
    seconds = arguments.seconds_of(value)
    if arguments.is_unset(value) or (seconds is not None and 60 <= seconds <= LONGEST_LIFE.total_seconds()):
        return []
    return [FieldProblem(name, value, "allowed: a timedelta or a number of seconds, from 1 minute to 7 days")]
