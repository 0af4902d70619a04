"""What the operators share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_apimart.client.errors import VideoExpiredError
from airflow_provider_apimart.client.models import Video
from airflow_provider_apimart.generation.purchase.record import Record, RecordState
from airflow_provider_apimart.operators.task import check_expiry


def test_a_url_that_has_expired_is_told_and_one_that_has_not_is_not() -> None:
    now = datetime.now(UTC)
    record = Record(
        **{"state": RecordState.SUBMITTED, "fingerprint": "", "idempotency_key": "", "epoch": 0, "number": 1},
        **{"model": "veo3.1-fast-official", "intent_at": now, "generation_id": "task_1"},
    )
    url = "https://media.test/a.mp4"
    check_expiry(record, [Video(url=url), Video(url=url, expires_at=now + timedelta(hours=1))])
    with pytest.raises(VideoExpiredError, match="the URL of generation task_1 expired at 20"):
        check_expiry(record, [Video(url=url), Video(url=url, expires_at=now - timedelta(seconds=1))])
