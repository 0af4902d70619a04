"""Where post records are kept.

Without a ``post_key``: Airflow 3.3's task state store, else an object beside the video's folder, else nowhere, and then
the log says so. A post with a ``post_key`` spans DAG runs, and so does its store: an Airflow Variable, which a task of
every supported version may read and write. (Airflow 3.3's asset state store also spans runs, but an asset would have to
be made for each post.) Its name is a hash of the target, the account and the key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.hooks.stores.model_stores import (
    RECORD_FOLDER,
    ObjectModelStore,
    TaskStateModelStore,
    VariableModelStore,
)
from airflow_provider_apimart.hooks.stores.record_stores import POST_SUFFIX
from airflow_provider_apimart.publishing.post import PostIdentity, digest
from airflow_provider_apimart.publishing.record import PostRecord, PostStore, read_post_record
from airflow_provider_apimart.storage.files import Target
from airflow_provider_apimart.storage.places import check_target

log = logging.getLogger(__name__)

STATE_KEY = "apimart_post"
VARIABLE_PREFIX = "apimart_post:"
NOT_KEPT = "nowhere: this Airflow has no task state store (3.3 has), and the video's folder cannot be written"


class NoPostStore:
    """The record of this try alone, kept in memory and handed through a deferral."""

    durable = False
    description = NOT_KEPT

    def __init__(self, record: PostRecord | None = None) -> None:
        self._record = record

    def load(self) -> PostRecord | None:
        """Return the record of this try."""
        return self._record

    def save(self, record: PostRecord) -> None:
        """Keep the record until the try ends."""
        self._record = record


def post_store(
    context: Mapping[str, Any], video: Target, identity: PostIdentity, kept: PostRecord | None = None
) -> PostStore:
    """Return the best available store for a post without a ``post_key``. If there is none, log what is not protected.

    :param video: the video's file.
    :param kept: the record that a deferral has handed on.
    """
    accessor = context.get("task_state_store")
    if accessor is not None:
        return TaskStateModelStore(accessor, STATE_KEY, read_post_record)
    place = video.sibling(RECORD_FOLDER).child(f"{_slug(identity)}{POST_SUFFIX}")
    try:
        check_target(place, "the post record")
    except ConfigurationError as error:
        log.warning(
            "The post's record is kept %s (%s). A try that ends early leaves nothing behind: the next one looks for "
            "the post at its target, or repeats a call that is harmless to repeat; where neither is possible it stops.",
            NOT_KEPT,
            error,
        )
        return NoPostStore(kept)
    return ObjectModelStore(place, read_post_record)


def keyed_post_store(target: str, account: str, post_key: str) -> PostStore:
    """Return the store of a post that spans DAG runs.

    :param target: the target's name.
    :param account: the target's own id of the account.
    """
    name = f"{VARIABLE_PREFIX}{digest([target, account, post_key])[:32]}"
    about = f"The post {post_key[:100]!r} on {target} ({account}). Without it the post would be made again."
    return VariableModelStore(name, read_post_record, about)


def _slug(identity: PostIdentity) -> str:
    """Return a short name of the task instance, the same in every try and every epoch; safe in a path."""
    return digest([identity.dag_id, identity.run_id, identity.task_id, identity.map_index])[:32]
