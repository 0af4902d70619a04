"""Operators that publish a video, once. Each loads only what its own target needs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_apimart.operators.publish.instagram import (
        InstagramReelPublishOperator as InstagramReelPublishOperator,
    )
    from airflow_provider_apimart.operators.publish.webhook import WebhookPublishOperator as WebhookPublishOperator
    from airflow_provider_apimart.operators.publish.youtube import YouTubePublishOperator as YouTubePublishOperator

#: The module of each public name.
_HOMES = {
    "InstagramReelPublishOperator": "instagram",
    "WebhookPublishOperator": "webhook",
    "YouTubePublishOperator": "youtube",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
