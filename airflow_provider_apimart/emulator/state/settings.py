"""How one emulator behaves. Every option of the command line is a field here, and every field has a working default."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

DEFAULT_KEY = "emulator-key"
#: How long, according to its documentation, APIMart keeps idempotency keys and result URLs.
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class EmulatorSettings:
    """All options of an emulator.

    :param job_seconds: how long a generation takes from submission to its end; 0 ends it at once.
    :param vary_jobs: stretch each job by up to 30 %, computed from its id, so that jobs do not end together.
    :param api_keys: the keys that are accepted.
    :param any_key: accept every non-empty key that does not start with ``bad``.
    :param balance_usd: what the account holds at the start.
    :param key_quota_usd: what each key may spend; ``None`` gives it the account's balance.
    :param balance_floor_usd: below this, every request with a key is answered with a 402, balance and status included;
        0 switches that off.
    :param unlimited_key: the keys have no quota of their own, and their balance says -1.
    :param url_ttl_seconds: how long a video's URL works after completion.
    :param renew_urls: a poll of a task whose URL has expired returns a new URL.
    :param ignore_idempotency: ignore ``Idempotency-Key``.
    :param idempotency_ttl_seconds: how long a key is remembered.
    :param split_samples: with ``sample_count`` > 1, one entry of ``videos`` per sample instead of several URLs in one
        entry.
    :param retired_models: models that are refused and not listed; ``ID=fails`` takes submissions, and each generation
        fails with ``fail_to_fetch_task``.
    :param latency_ms: wait this long before answering any API or media request.
    :param processing_seconds: how long YouTube and Instagram work on a video.
    :param listing_seconds: when a new video appears in the channel's list of uploads.
    :param youtube_token_seconds: how long YouTube's access tokens live.
    :param state: the SQLite file; ``None`` keeps the state in memory.
    :param media_cache: keep the videos beside the state file; otherwise they are deleted when the emulator stops.
    :param public_url: the base of URLs in answers; ``None`` uses the request's ``Host``.
    """

    job_seconds: float = 20.0
    vary_jobs: bool = False
    api_keys: tuple[str, ...] = (DEFAULT_KEY,)
    any_key: bool = False
    balance_usd: Decimal = Decimal(100)
    key_quota_usd: Decimal | None = None
    balance_floor_usd: Decimal = Decimal("0.05")
    unlimited_key: bool = False
    url_ttl_seconds: float = DAY_SECONDS
    renew_urls: bool = False
    ignore_idempotency: bool = False
    idempotency_ttl_seconds: float = DAY_SECONDS
    split_samples: bool = False
    retired_models: tuple[str, ...] = ()
    latency_ms: float = 0.0
    processing_seconds: float = 5.0
    listing_seconds: float = 0.0
    youtube_token_seconds: float = 3600.0
    state: Path | None = None
    media_cache: bool = True
    public_url: str | None = None

    def accepts(self, key: str) -> bool:
        """Say whether this API key is accepted."""
        return key in self.api_keys or (self.any_key and bool(key) and not key.startswith("bad"))
