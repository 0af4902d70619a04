"""Landings without a download, which is not what those tests are about."""

from __future__ import annotations

import hashlib
from typing import Any

from airflow_provider_apimart.generation.landing.landing import land
from airflow_provider_apimart.generation.landing.once import land_once
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.files import Target
from tests.generation.landing.media_files import mp4

VIDEO = mp4(noise=True)
OTHER = mp4(2, audio=False)


class Fetched:
    """Stands in for the download, which is not what is tested here."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fetched = 0

    def fetch(self, url: str, refresh: Any, sink: Any, **_: Any) -> tuple[int, str]:
        self.fetched += 1
        sink.write(self.data)
        return len(self.data), hashlib.sha256(self.data).hexdigest()


def made(generation_id: str, **airflow: Any) -> dict[str, Any]:
    whose = {"dag_id": "d", "run_id": "r1", "task_id": "t", "map_index": -1, **airflow}
    return {"generation_id": generation_id, "airflow": whose}


def run(data: bytes, target: Target, provenance: dict[str, Any], **options: Any) -> LandedVideo:
    """Land without a look before."""
    return land("http://unused", target, **_options(data, provenance), **options)


def delivered(data: bytes, target: Target, provenance: dict[str, Any], *, own_name: bool = False) -> LandedVideo:
    """What a task does for each video."""
    return land_once("http://unused", target, **_options(data, provenance), own_name=own_name)


def _options(data: bytes, provenance: dict[str, Any]) -> dict[str, Any]:
    return {
        "refresh": lambda: None,
        "downloader": Fetched(data),
        "max_bytes": 10**9,
        "provenance": provenance,
    }


class Killed(BaseException):
    """The process dies here."""
