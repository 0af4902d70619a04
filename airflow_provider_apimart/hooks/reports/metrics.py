"""Costs and counts as Airflow metrics. They go where Airflow sends its own metrics (StatsD, OpenTelemetry).

A generation is counted once, when a try learns how it ended. A try that finds the video already landed counts nothing.

=================================  ==================================================================
``apimart.generations.<outcome>``  counter; ``completed``, ``failed``, ``rejected``, ``empty``, ``parked``
``apimart.videos``                 counter; videos of completed generations
``apimart.cost_micro_usd``         counter; what APIMart charged, in millionths of a dollar (counters are whole)
``apimart.generation_duration``    timer; from submission to completion, at APIMart
=================================  ==================================================================

All have the tag ``model``. Posts have the tag ``target``:

=================================  ==================================================================
``apimart.posts.<outcome>``        counter; ``published``, ``failed``, ``parked``
``apimart.post_duration``          timer; from the post's start to its being public
=================================  ==================================================================
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_apimart.client.errors import ApimartError, ContentRejectedError, EmptyResultError
from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.generation.purchase.record import Record

if TYPE_CHECKING:
    from airflow_provider_apimart.publishing.record import PostRecord

log = logging.getLogger(__name__)

Outcome = Literal["completed", "failed", "rejected", "empty", "parked"]
PostOutcome = Literal["published", "failed", "parked"]


def count(outcome: Outcome, record: Record, *, videos: int = 0) -> None:
    """Count a generation that has just ended or was parked. Never raises: a metric must not fail a task."""
    # A tag must have few values, and users may give any model name.
    tags = {"model": record.model if record.model in MODELS else "other"}
    try:
        Stats.incr(f"apimart.generations.{outcome}", 1, tags=tags)
        if videos:
            Stats.incr("apimart.videos", videos, tags=tags)
        if record.cost_usd and outcome != "parked":
            Stats.incr("apimart.cost_micro_usd", round(record.cost_usd * 1_000_000), tags=tags)
        if record.submitted_at and record.completed_at and outcome == "completed":
            took = (record.completed_at - record.submitted_at).total_seconds()
            Stats.timing("apimart.generation_duration", max(0.0, took) * 1000, tags=tags)
    except Exception:
        log.warning("A metric could not be sent.", exc_info=True)


def count_error(error: ApimartError, record: Record) -> None:
    """Count a generation that ended without a video."""
    rejected, empty = isinstance(error, ContentRejectedError), isinstance(error, EmptyResultError)
    count("rejected" if rejected else "empty" if empty else "failed", record)


def count_post(outcome: PostOutcome, target: str, record: PostRecord | None = None) -> None:
    """Count a post that has just ended or was parked. Never raises: a metric must not fail a task."""
    tags = {"target": target}
    try:
        Stats.incr(f"apimart.posts.{outcome}", 1, tags=tags)
        if record is not None and record.public_since and record.committing_at:
            # (A scheduled post is public later, but the work ends with the call that schedules it.)
            took = (min(record.public_since, datetime.now(UTC)) - record.intent_at).total_seconds()
            Stats.timing("apimart.post_duration", max(0.0, took) * 1000, tags=tags)
    except Exception:
        log.warning("A metric could not be sent.", exc_info=True)
