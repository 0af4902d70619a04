"""Operators for what a video shows. They never pay: a failed check leads to no other generation by itself.

They need the extra ``media``, and load it only when they run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_apimart.operators.media.batch import VideoBatchOperator as VideoBatchOperator
    from airflow_provider_apimart.operators.media.check import VideoCheckOperator as VideoCheckOperator
    from airflow_provider_apimart.operators.media.frame import VideoFrameOperator as VideoFrameOperator
    from airflow_provider_apimart.operators.media.join import VideoJoinOperator as VideoJoinOperator
    from airflow_provider_apimart.operators.media.poster import VideoPosterOperator as VideoPosterOperator
    from airflow_provider_apimart.operators.media.provenance import VideoProvenanceOperator as VideoProvenanceOperator
    from airflow_provider_apimart.operators.media.rendition import VideoRenditionOperator as VideoRenditionOperator
    from airflow_provider_apimart.operators.media.storyboards import storyboard as storyboard

#: The module of each public name.
_HOMES: dict[str, str] = {
    "VideoBatchOperator": "batch",
    "VideoCheckOperator": "check",
    "VideoFrameOperator": "frame",
    "VideoJoinOperator": "join",
    "VideoPosterOperator": "poster",
    "VideoRenditionOperator": "rendition",
    "VideoProvenanceOperator": "provenance",
    "storyboard": "storyboards",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
