"""Which tasks are the provider's, and what kind of page they get."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from airflow_provider_apimart.hooks.reports.notes import PREFIX

RESULT_KEY = "return_value"
#: Where an approval task tells of its question and of the decision.
ASKED_KEY = "approval"
#: Where a check task tells its reports, also if it fails.
REPORT_KEY = "check"


class Kind(StrEnum):
    """What a task does."""

    GENERATION = "generation"
    BATCH = "batch"
    PUBLISH = "publish"
    APPROVAL = "approval"
    MEDIA = "media"
    #: Works on the rows of a batch's manifest. It pays for nothing, so it is in no index and in no sum.
    MEDIA_BATCH = "media_batch"
    NONE = "none"


OPERATORS = {
    "VeoGenerateOperator": Kind.GENERATION,
    "VeoRemixOperator": Kind.GENERATION,
    "VeoDecoratedOperator": Kind.GENERATION,
    "ContinuedShotOperator": Kind.GENERATION,
    "@task.veo": Kind.GENERATION,
    "VeoGenerateBatchOperator": Kind.BATCH,
    "YouTubePublishOperator": Kind.PUBLISH,
    "InstagramReelPublishOperator": Kind.PUBLISH,
    "WebhookPublishOperator": Kind.PUBLISH,
    "VideoApprovalOperator": Kind.APPROVAL,
    "VideoSheetApprovalOperator": Kind.APPROVAL,
    "VideoCheckOperator": Kind.MEDIA,
    "VideoRenditionOperator": Kind.MEDIA,
    "VideoJoinOperator": Kind.MEDIA,
    "VideoProvenanceOperator": Kind.MEDIA,
    "VideoFrameOperator": Kind.MEDIA,
    "VideoPosterOperator": Kind.MEDIA,
    "VideoBatchOperator": Kind.MEDIA_BATCH,
}
#: These have a manifest, and a page of rows.
BATCHES = (Kind.BATCH, Kind.MEDIA_BATCH)
#: What a note may say of its task.
NOTED = (Kind.GENERATION, Kind.BATCH, Kind.MEDIA_BATCH)
#: Airflow keeps an operator's links as XComs, under the names of their classes. They tell what a subclass is.
LINKS = {"_link_VeoVideoLink": Kind.GENERATION, "_link_PostLink": Kind.PUBLISH}


def kind_of(operator: str | None, keys: Collection[str]) -> Kind:
    """Return what a task does.

    :param operator: the name of its class, as Airflow keeps it.
    :param keys: of its XComs.
    """
    known = OPERATORS.get(operator or "")
    if known is not None:
        return known
    for key, kind in LINKS.items():
        if key in keys:
            return kind
    if any(key.startswith(PREFIX) for key in keys):
        return Kind.GENERATION
    return Kind.NONE
