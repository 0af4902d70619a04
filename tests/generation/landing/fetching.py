"""One download over loopback, and what it did."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest

from airflow_provider_apimart.generation.landing.download import Downloader

#: 300 KiB in which no two stretches that lie an odd number apart are the same.
DATA = bytes(range(256)) * 1200
BIG = 10**9


class Fetch:
    """Runs one download and keeps what it did."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.sink = io.BytesIO()
        self.refreshed = 0
        self.renewals: list[str | None] = []
        self.progress: list[tuple[int, int | None]] = []

    def refresh(self) -> str | None:
        self.refreshed += 1
        return self.renewals.pop(0) if self.renewals else None

    def __call__(self, url: str, *, max_bytes: int = BIG, **options: Any) -> tuple[int, str]:
        options = {"allow_private": True, "sleep": self.slept.append, **options}
        with Downloader(**options) as downloader:
            return downloader.fetch(
                url, self.refresh, self.sink, max_bytes=max_bytes, on_progress=lambda *at: self.progress.append(at)
            )

    def check(self, result: tuple[int, str], data: bytes = DATA) -> None:
        assert self.sink.getvalue() == data
        assert result == (len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> Fetch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return Fetch()
