"""What lies beside a landed video: how it was made, and what a check and a poster say about it.

Read for people to look at. What is missing or cannot be read is left out; it decides nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.landing.sidecars import MAX_SIDECAR_BYTES, sidecar_of
from airflow_provider_apimart.storage.files import Target, read_small

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beside:
    """What is known about a video besides its file.

    :param request: what was asked of Veo, as it was sent; ``None`` if it is not known.
    :param check: the verdict of a check; see the media sidecar.
    :param poster: its path and checksum.
    """

    generation_id: str | None = None
    request: dict[str, Any] | None = None
    model: str = ""
    cost_usd: float | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    check: dict[str, Any] | None = None
    poster: dict[str, Any] | None = None

    @property
    def prompt(self) -> str:
        """The prompt, or nothing."""
        prompt = (self.request or {}).get("prompt")
        return prompt if isinstance(prompt, str) else ""


def beside(video: Target, sha256: str) -> Beside:
    """Return what lies beside a video.

    :param sha256: of the video. A media sidecar about another content is not this video's.
    """
    made, media = _read(sidecar_of(video)), _read(video.sibling(f"{video.name}.media.json"))
    entry = _dict(made.get("video"))
    if made and entry.get("sha256") not in (None, sha256):
        made, entry = {}, {}
    if media.get("video_sha256") not in (None, sha256):
        media = {}
    outputs = [each for each in media.get("outputs") or () if isinstance(each, Mapping)]
    posters = [dict(each) for each in outputs if each.get("kind") == "poster" and isinstance(each.get("path"), str)]
    cost = made.get("cost_usd")
    request = made.get("request")
    return Beside(
        generation_id=str(made["generation_id"]) if made.get("generation_id") else None,
        request=dict(request) if isinstance(request, Mapping) else None,
        model=str(made.get("model") or ""),
        cost_usd=float(cost) if isinstance(cost, (int, float)) and not isinstance(cost, bool) else None,
        labels=_dict(made.get("labels")),
        check=_dict(media.get("check")) or None,
        poster=posters[-1] if posters else None,
    )


def _read(place: Target) -> dict[str, Any]:
    try:
        data = read_small(place, MAX_SIDECAR_BYTES)
        return _dict(json.loads(data)) if data else {}
    except (ApimartError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read (%s): it is left out of the form.", place.uri, type(error).__name__)
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
