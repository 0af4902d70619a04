"""What other tasks wrote beside a video: where it was posted, who decided on it, its checks and its posters.

All of it is optional: a sidecar that cannot be read is one that is not there.
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.storage.files import Target, is_local, read_small
from airflow_provider_apimart.ui.sources.plain import plain
from airflow_provider_apimart.ui.sources.storage import NotShown, check_path, open_local

log = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
POSTER_KINDS = ("poster", "first_frame")
#: A gallery asks for dozens of posters at once, and a page asks again while it is open.
KNOWN_SECONDS, KNOWN_FILES = 10.0, 512

_known: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()
_lock = Lock()


def read_sidecar(video: str, suffix: str, roots: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Return what stands in ``<video><suffix>``, or nothing. It blocks, and never raises for what a storage does."""
    path = video + suffix
    with _lock:
        since, known = _known.get(path, (0.0, {}))
    if since and time.monotonic() - since < KNOWN_SECONDS:
        return known
    try:
        check_path(path, roots)
        data = _content(file_of(path, "path"), roots)
        value = json.loads(data) if data else {}
    except (NotShown, FileNotFoundError):
        value = {}
    except Exception as error:
        log.info("%s is not read: %s", suffix, type(error).__name__)
        value = {}
    found = plain(value) if isinstance(value, Mapping) else {}
    with _lock:
        _known[path] = time.monotonic(), found
        while len(_known) > KNOWN_FILES:
            _known.popitem(last=False)
    return found


def _content(target: Target, roots: tuple[str, ...]) -> bytes | None:
    if not is_local(target.fs):
        return read_small(target, MAX_BYTES)
    with open_local(target, roots) as file:
        data = file.read(MAX_BYTES + 1)
    return data if len(data) <= MAX_BYTES else None


def poster_path(video: str, roots: tuple[str, ...] = ()) -> str | None:
    """Return where the poster of a video lies, if there is one."""
    outputs = _dicts(read_sidecar(video, ".media.json", roots).get("outputs"))
    for kind in POSTER_KINDS:
        # The latest is the last one.
        for output in reversed(outputs):
            if output.get("kind") == kind and isinstance(output.get("path"), str):
                return str(output["path"])
    return None


def posts_of(video: str, roots: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return where a video was posted."""
    found = []
    for post in _dicts(read_sidecar(video, ".posts.json", roots).get("posts")):
        told = {name: _text(post.get(name)) for name in ("target", "url", "studio_url", "state")}
        told["privacy"] = _text(post.get("privacy_status"))
        told["at"] = _text(post.get("public_since") or post.get("publish_at") or post.get("uploaded_at"))
        for name in ("url", "studio_url"):
            # A page makes links of these.
            if not (told[name] or "").startswith(("https://", "http://")):
                told[name] = None
        found.append(told)
    return found


def decision_of(video: str, roots: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """Return the latest decision on a video."""
    decisions = _dicts(read_sidecar(video, ".decision.json", roots).get("decisions"))
    return decision_view(decisions[-1]) if decisions else None


def decision_view(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision as the pages show it."""
    by = decision.get("by")
    changes = decision.get("changes")
    return {
        "decision": _text(decision.get("decision")),
        "by": _text(by.get("name") or by.get("id")) if isinstance(by, Mapping) else None,
        "at": _text(decision.get("at")),
        "reason": _text(decision.get("reason")),
        "changes": {str(name): _text(value) for name, value in changes.items()} if isinstance(changes, Mapping) else {},
    }


def check_of(video: str, roots: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """Return what the latest check of a video found."""
    check = read_sidecar(video, ".media.json", roots).get("check")
    return check_view(check) if isinstance(check, Mapping) else None


def check_view(check: Mapping[str, Any]) -> dict[str, Any]:
    """Return a check as the pages show it."""
    names = ("rule", "verdict", "measured", "wanted", "text")
    rules = [{name: _text(rule.get(name)) for name in names} for rule in _dicts(check.get("rules"))]
    return {"verdict": _text(check.get("verdict")), "rules": rules}


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value[:MAX_BYTES] if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:4000]
