"""Uploads the local frames of a request before it is paid for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge, ResponseError
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.purchase.record import MAX_UPLOAD_URL_LENGTH, Record

log = logging.getLogger(__name__)

#: APIMart keeps an upload for 72 hours. A new body reuses only uploads younger than this.
UPLOAD_LIFE = timedelta(hours=48)


def uploaded(
    client: ApimartClient, images: Mapping[str, LocalImage], old: Record | None, now: datetime
) -> tuple[dict[str, str], datetime | None]:
    """Upload the frames unless earlier uploads can be reused. Return their URLs by field, and the time of the upload.

    :param old: the record of the same request, if there is one.
    :raises ApimartError: if APIMart does not take one. Uploads cost nothing, and nothing else has been sent.
    """
    if old and set(old.uploads) == set(images) and now - (old.uploaded_at or old.intent_at) < UPLOAD_LIFE:
        return old.uploads, old.uploaded_at
    urls = {}
    for name, image in images.items():
        try:
            url = client.upload_image(image.filename, image.content, image.content_type).url
        except ApimartError as error:
            # This holds whether or not the upload arrived.
            error.charge = Charge.NO
            raise
        if len(url) > MAX_UPLOAD_URL_LENGTH:
            raise ResponseError(f"APIMart's upload answer holds a URL of {len(url)} characters")
        urls[name] = url
        log.info("Uploaded %s (%s, %d bytes).", name, image.content_type, len(image.content))
    return urls, now if urls else None
