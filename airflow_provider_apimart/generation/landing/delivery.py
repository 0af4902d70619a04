"""The last step of a generation: lands each of its videos in the user's storage, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import airflow_provider_apimart
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, LandingError, VideoExpiredError
from airflow_provider_apimart.client.models import Video
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.landing.addresses import host_is_private
from airflow_provider_apimart.generation.landing.download import Downloader
from airflow_provider_apimart.generation.landing.landing import already_landed
from airflow_provider_apimart.generation.landing.once import land_once
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.mismatch import mismatches
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record
from airflow_provider_apimart.storage.files import Target, video_targets

log = logging.getLogger(__name__)

SAY_EVERY_SECONDS = 10.0


def deliver(
    *,
    client: ApimartClient,
    record: Record,
    videos: tuple[Video, ...],
    output: Target,
    provenance: Mapping[str, Any],
    request: VeoRequest | None = None,
    level: int = logging.INFO,
) -> tuple[LandedVideo, ...]:
    """Land all videos of a finished generation. A video that is already in storage, whole, is not fetched again.

    :param provenance: how they were made, for the sidecars; see :func:`provenance_of`.
    :param request: the request, for the comparison; ``None`` if it is no longer known.
    :param level: the log level of the line about each video.
    :raises LandingError: and its subclasses. The videos landed so far stay, and the next try lands the rest.
    """
    generation_id = record.generation_id or ""
    landed = []
    private = host_is_private(client.settings.base_url)
    with Downloader(allow_private=private) as downloader:
        for sample, (video, target) in enumerate(
            zip(videos, video_targets(output, generation_id, len(videos)), strict=True), start=1
        ):
            with _believing_the_expiry(video):
                found = land_once(
                    video.url,
                    target,
                    refresh=_refresher(client, generation_id, sample),
                    downloader=downloader,
                    max_bytes=client.settings.max_video_bytes,
                    provenance=provenance,
                    sample=sample,
                    on_progress=_progress_logger() if level >= logging.INFO else None,
                    own_name=output.is_folder,
                    level=level,
                    compare=_comparing(request, record, sample, len(videos)),
                )
            landed.append(found)
    return tuple(landed)


def _comparing(
    request: VeoRequest | None, record: Record, sample: int, count: int
) -> Callable[[LandedVideo], list[dict[str, Any]]] | None:
    if request is None:
        return None
    return lambda video: mismatches(request, (video,), count=count, cost_usd=record.cost_usd, first=sample)


def provenance_of(
    record: Record, request: VeoRequest, airflow: Mapping[str, Any], labels: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return how a video was made, for its sidecar. The result holds no secret and no URL of the video.

    :param airflow: the owner: the names of :attr:`.Identity.place`, and what else is known about the try.
    """
    return {
        **({"labels": dict(labels)} if labels else {}),
        "generation_id": record.generation_id,
        "idempotency_key": record.idempotency_key,
        "request": request.model_dump(mode="json", exclude_none=True),
        "model": record.model,
        **({"fallback_from": record.fallback_from} if record.fallback_from else {}),
        "seed": request.seed,
        "cost_usd": record.cost_usd,
        "submitted_at": report.iso(record.submitted_at),
        "completed_at": report.iso(record.completed_at),
        "airflow": dict(airflow),
        "provider": f"airflow-provider-apimart {airflow_provider_apimart.__version__}",
    }


def files_whole(record: Record, output: Target | None) -> bool:
    """Return whether the landed files of ``record`` are whole, and are where ``output`` now wants them."""
    if output is None:
        return False
    generation_id = record.generation_id or ""
    targets = video_targets(output, generation_id, len(record.landed))
    return all(already_landed(target, generation_id, sample) for sample, target in enumerate(targets, start=1))


@contextmanager
def _believing_the_expiry(video: Video) -> Iterator[None]:
    """Treat a refused URL as a temporary failure while APIMart says that it has not expired. The video is paid for, so
    no error may suggest paying for another one.
    """
    try:
        yield
    except VideoExpiredError as error:
        if video.expires_at is None or video.expires_at <= datetime.now(UTC):
            raise
        raise LandingError(f"{error.message}, although it is to be had until {report.iso(video.expires_at)}") from error


def _refresher(client: ApimartClient, generation_id: str, sample: int) -> Callable[[], str | None]:
    def refresh() -> str | None:
        # The video is paid for. No error here, even about the key or the balance, means "there is no other URL".
        try:
            videos = client.generation(generation_id).videos
        except ApimartError as error:
            if not error.terminal:
                raise
            text = f"its URL is not served any more, and APIMart does not tell another one now: {error}"
            raise LandingError(text) from error
        return videos[sample - 1].url if sample <= len(videos) else None

    return refresh


def _progress_logger() -> Callable[[int, int | None], None]:
    said = time.monotonic()

    def on_progress(received: int, total: int | None) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_EVERY_SECONDS:
            said = time.monotonic()
            of = f" of {total / 1e6:.1f} MB" if total else ""
            log.info("Fetching the video: %.1f MB%s.", received / 1e6, of)

    return on_progress
