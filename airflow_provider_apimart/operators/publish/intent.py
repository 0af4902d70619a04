"""What a deferral keeps of a post: Airflow renders the arguments again later, and a template may give another value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from airflow_provider_apimart.publishing.decide import OnClear
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.record import PostRecord


@dataclass(frozen=True)
class Intent:
    """One post as it was asked for when the task began. Plain JSON without secrets.

    :param content: what the target is told.
    :param began: unix seconds; where no record exists yet, the deadline counts from here.
    :param begun: whether a record existed when the task was deferred. If it is gone, it was lost.
    :param require_approval: refuse a video about which nobody has decided.
    :param record: the record, where no store keeps it.
    """

    video: VideoFile
    content: dict[str, Any]
    conn_id: str
    post_key: str
    on_clear: OnClear
    timeout_seconds: float
    poll_seconds: float | None
    began: float
    begun: bool = False
    require_approval: bool = False
    record: PostRecord | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON, for the deferral's kwargs."""
        record = None if self.record is None else self.record.model_dump(mode="json")
        return {**asdict(self), "video": asdict(self.video), "record": record}

    @classmethod
    def from_json(cls, value: Any) -> Intent:
        """Return what :meth:`as_json` wrote."""
        return _ADAPTER.validate_python(value)


_ADAPTER: TypeAdapter[Intent] = TypeAdapter(Intent)
