"""Records and views of generations for the tests of the money core."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apimart.client.models import Generation, GenerationStatus, Video
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState

NOW = datetime(2026, 9, 30, 12, 0, tzinfo=UTC)
LANDED = LandedVideo(
    path="s3://bucket/clip.mp4", bytes=5, sha256="ab" * 32, duration_seconds=8.0, width=1280, height=720, has_audio=True
)


def record(state: RecordState | str = RecordState.SUBMITTED, **values: Any) -> Record:
    state = RecordState(state)
    known = state not in (RecordState.INTENT, RecordState.REFUSED)
    defaults: dict[str, Any] = {
        "state": state,
        "fingerprint": "same",
        "idempotency_key": "airflow-veo-key",
        "epoch": 0,
        "number": 1,
        "model": "veo3.1-fast-official",
        "intent_at": NOW - timedelta(minutes=5),
        "generation_id": "task_1" if known else None,
        "submitted_at": NOW - timedelta(minutes=5) if known else None,
        "landed": (LANDED,) if state is RecordState.LANDED else (),
    }
    return Record(**{**defaults, **values})


def view(kind: str = "completed", **values: Any) -> Generation:
    """Return APIMart's word: ``running``, ``completed``, ``expired``, ``empty``, ``rejected``, ``failed``, ``gone``."""
    status = {
        "running": GenerationStatus.PROCESSING,
        "failed": GenerationStatus.FAILED,
        "rejected": GenerationStatus.FAILED,
        "gone": GenerationStatus.FAILED,
    }.get(kind, GenerationStatus.COMPLETED)
    expires_at = NOW + timedelta(hours=1 if kind == "completed" else -1)
    videos = (Video(url="https://media.example/v.mp4?sig=1", expires_at=expires_at),)
    defaults: dict[str, Any] = {
        "generation_id": "task_1",
        "status": status,
        "videos": videos if kind in ("completed", "expired") else (),
        "rejected": kind == "rejected",
        "model_gone": kind == "gone",
        "cost_usd": None if kind == "running" else 0.0 if status is GenerationStatus.FAILED else 0.64,
        "error_message": {"failed": "no capacity", "rejected": "blocked by safety review"}.get(kind),
    }
    return Generation(**{**defaults, **values})
