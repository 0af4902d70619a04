"""What all routes share: the settings, the store, and the checks that each of them makes."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from airflow_provider_apimart.emulator.apimart import tasks
from airflow_provider_apimart.emulator.apimart.answers import below_floor, unauthorised
from airflow_provider_apimart.emulator.media.videos import MediaShelf
from airflow_provider_apimart.emulator.state.faults import FAULT, NOTES, Fault, FaultScript
from airflow_provider_apimart.emulator.state.settings import EmulatorSettings
from airflow_provider_apimart.emulator.state.store import Generation, Store


@dataclass
class Context:
    """One running emulator, as its routes see it."""

    settings: EmulatorSettings
    store: Store
    faults: FaultScript
    signer: tasks.UrlSigner
    shelf: MediaShelf
    in_progress: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def create(cls, settings: EmulatorSettings) -> Context:
        """Open the state that the settings name."""
        store = Store(settings.state)
        folder = settings.state.with_suffix(".media") if settings.state is not None and settings.media_cache else None
        signer = tasks.UrlSigner(store.secret(secrets.token_hex(16)))
        return cls(settings, store, FaultScript(store), signer, MediaShelf(folder))

    def close(self) -> None:
        """Close the state."""
        self.store.close()
        self.shelf.close()

    def key_id(self, request: Request) -> str:
        """Return an opaque id of the request's API key.

        :raises ApiError: 401 for a missing or wrong key, 402 below the account's floor.
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        if not self.settings.accepts(key):
            raise unauthorised(key)
        self._check_floor()
        return hashlib.sha256(key.encode()).hexdigest()[:12]

    def _check_floor(self) -> None:
        floor, start = (int(usd * 1_000_000) for usd in (self.settings.balance_floor_usd, self.settings.balance_usd))
        # Nearly always enough, and cheaper to know than the exact balance.
        if start + self.store.topped_up() - self.store.most_spent() >= floor:
            return
        left = self.balance_micros(tasks.wall_clock())[0]
        if left < floor:
            raise below_floor(left, floor)

    def end_of(self, model: str) -> str | None:
        """Return how a model has ended by the settings: ``refused`` or ``fails``; ``None`` if it has not."""
        for one in self.settings.retired_models:
            name, _, how = one.partition("=")
            if name == model:
                return how or "refused"
        return None

    def is_listed(self, model: str) -> bool:
        """Say whether a model is in the list of models. A relay lists a model that has ended behind it."""
        return self.end_of(model) != "refused" and model not in self.faults.delisted()

    def base_url(self, request: Request) -> str:
        """Return the base of the URLs in this answer."""
        return (self.settings.public_url or str(request.base_url)).rstrip("/")

    def balance_micros(self, now: float, key_id: str | None = None) -> tuple[int, int]:
        """Return (remaining, used) micro-dollars of the account, or of a key's quota."""
        quota = self.settings.key_quota_usd
        start = self.settings.balance_usd if key_id is None or quota is None else quota
        settled, reserved = self.store.spent(now, key_id)
        return int(start * 1_000_000) + self.store.topped_up() - settled - reserved, settled

    def affordable_micros(self, now: float, key_id: str) -> int:
        """Return what this key may still spend."""
        account = self.balance_micros(now)[0]
        return account if self.settings.unlimited_key else min(account, self.balance_micros(now, key_id)[0])

    def view(self, generation: Generation, request: Request, language: str = "en") -> dict[str, Any]:
        """Return the task object of a generation."""
        urls = tasks.video_urls(generation, self.signer, self.base_url(request))
        split = self.settings.split_samples
        return tasks.task_view(generation, tasks.wall_clock(), urls, language=language, split_samples=split)


def fault_of(request: Request) -> Fault | None:
    """Return the fault that applies to the request, if any."""
    fault = request.scope.get(FAULT)
    return fault if isinstance(fault, Fault) else None


def note(request: Request, generation_id: str) -> None:
    """Note for the log which generation a request was about."""
    request.scope[NOTES]["generation_id"] = generation_id
