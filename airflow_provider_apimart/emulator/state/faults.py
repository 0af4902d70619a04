"""Scripted faults: what goes wrong, on which route, how often. The script is in the store, so it survives a kill.

One request meets at most one fault: the first scripted one that fits and has not run out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from airflow_provider_apimart.emulator.state.store import Store

#: The keys in the ASGI scope under which a route finds its fault and leaves notes for the log.
FAULT, NOTES = "apimart.fault", "apimart.notes"
ROUTES = ("submit", "remix", "task", "upload", "media", "balance", "usage", "models", "pricing", "cms", "*")

#: Every kind and what it does. The documentation uses the same sentences.
KINDS: dict[str, str] = {
    "status": "answer with `status` (default 500) and the error body documented for it",
    "build_request_failed": "answer 500 with the masked validation error `build_request_failed: ...`",
    "envelope_error": "answer HTTP 200 whose envelope says `code` (default 402)",
    "success_false": 'answer HTTP 200 `{"success": false, "message": ...}`, as balance routes do',
    "html": "answer with a gateway's HTML page (`status`, default 502)",
    "redirect": "answer 302 to `location`",
    "idempotency_in_progress": "answer 409 `idempotency_in_progress`",
    "idempotency_key_reused": "answer 409 `idempotency_key_reused`",
    "idempotency_indeterminate": "answer 409 `idempotency_result_indeterminate`, now and whenever this key comes again",
    "idempotency_unavailable": "answer 503 `idempotency_unavailable`",
    "drop_before": "close the connection; nothing was done",
    "drop_after": "do the work, then close the connection",
    "stall": "wait `seconds` (default 30), then do the work and answer (with `executed`: do the work, then wait)",
    "slow": "send the body in pieces spread over `seconds` (default 5)",
    "broken_json": "do the work and cut the JSON of the answer after `bytes` (default: half)",
    "cut": "announce the full length, send `bytes` of the body (default: half), close",
    "wrong_length": "a well-framed answer without the last `bytes` of the body (default: half)",
    "not_a_video": "answer 200 `video/mp4` whose body is an HTML page",
    "oversize": "answer with a body of `bytes` (default 40 MiB)",
    "task_fails": "the generation fails (on `submit`: at its end; on `task`: now)",
    "content_rejected": "the generation is refused for its content (same timing)",
    "completes_empty": "the generation completes without a video (same timing)",
    "task_cancelled": "the generation ends as cancelled (same timing)",
    "model_retired": "refuse the submission: 404, the model is no longer available; the model is not listed any more",
    "fail_to_fetch_task": "the generation fails (same timing) as if its model had ended behind the relay: an inner 404",
    "no_channel": "refuse the submission: 503 `model_not_found`, no available channel for the model",
    "clip_black": "the picture of the video is black (on `submit`), for `seconds` from its start (default: all of it)",
    "clip_frozen": "the picture of the video does not move, for `seconds` from its start (default: all of it)",
    "clip_silent": "the sound of the video is silence, for `seconds` from its start (default: all of it)",
    "clip_length": "the video is `seconds` long (default: half of what was asked for)",
    "clip_corrupt": "the video holds pictures and sounds that cannot be decoded; its container is whole",
    "task_status": "say `value` as the status of the task, whatever it is",
    "no_task_id": "do the work, answer 200 without an id",
    "shape": "give the answer in another recorded shape, named by `value` (see SHAPES)",
    "expire_url": "the URLs of the generation expire now",
    "renew_url": "the task's answer carries a new URL",
}
#: Other recorded shapes of a task's answer and of a submission's answer.
SHAPES = (
    *(
        "url_string",
        "result_url",
        "video_url",
        "cost_string",
        "data_list",
        "unwrapped",
        "no_expires_at",
        "error_string",
        "no_result",
    ),
    *("result_text", "result_output", "file_url"),
    *("data_object", "top_level", "sync_result"),
)
OUTCOMES = {
    "task_fails": "failed",
    "content_rejected": "rejected",
    "completes_empty": "empty",
    "task_cancelled": "cancelled",
    "fail_to_fetch_task": "failed",
}
#: What is wrong with a video, by the fault of its submission.
DEFECTS = {
    "clip_black": "black",
    "clip_frozen": "frozen",
    "clip_silent": "silent",
    "clip_length": "length",
    "clip_corrupt": "corrupt",
}
MAX_CLIP_SECONDS = 60
#: Faults after which a model is no longer listed.
DELISTING = ("model_retired",)
IDEMPOTENCY_CODES = {
    "idempotency_in_progress": "idempotency_in_progress",
    "idempotency_key_reused": "idempotency_key_reused",
    "idempotency_indeterminate": "idempotency_result_indeterminate",
    "idempotency_unavailable": "idempotency_unavailable",
}


@dataclass(frozen=True)
class Fault:
    """One scripted fault.

    :param route: where: one of :data:`ROUTES`; ``submit`` covers ``remix`` too.
    :param kind: what: one of :data:`KINDS`.
    :param times: how many requests meet it; -1 for all.
    :param after: how many matching requests pass before it begins.
    :param status: HTTP status, for the kinds that have one.
    :param retry_after: the ``Retry-After`` header: seconds or an HTTP date.
    :param message: text of the error.
    :param code: ``error.code``, any JSON value.
    :param type: ``error.type``.
    :param seconds: how long, for ``stall``, ``slow`` and the defects of a clip.
    :param bytes: how much, for ``cut``, ``wrong_length``, ``broken_json`` and ``oversize``.
    :param value: the status of ``task_status``, the shape of ``shape``.
    :param location: where ``redirect`` points.
    :param executed: do the work before answering wrongly (``status``, ``html``, ``redirect``, ``stall`` ...).
    :param prompt_contains: meet only requests whose prompt contains this text.
    :param generation_id: meet only requests about this generation.
    :param model: meet only requests for, or about a generation of, this model.
    """

    route: str
    kind: str
    times: int = 1
    after: int = 0
    status: int | None = None
    retry_after: str | None = None
    message: str | None = None
    code: Any = None
    type: str | None = None
    seconds: float | None = None
    bytes: int | None = None
    value: str | None = None
    location: str | None = None
    executed: bool = False
    prompt_contains: str | None = None
    generation_id: str | None = None
    model: str | None = None

    def fits(self, route: str, prompt: str | None, generation_id: str | None, model: str | None = None) -> bool:
        """Say whether this fault applies to a request."""
        if self.route not in ("*", route) and not (self.route == "submit" and route == "remix"):
            return False
        if self.prompt_contains is not None and self.prompt_contains not in (prompt or ""):
            return False
        if self.model is not None and self.model != model:
            return False
        return self.generation_id is None or self.generation_id == generation_id


_NAMES = {field.name for field in fields(Fault)}
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("times", "after", "status", "bytes"), (int,)),
    **dict.fromkeys(("message", "type", "value", "location", "prompt_contains", "generation_id", "model"), (str,)),
    "seconds": (int, float),
    "executed": (bool,),
}


def read_fault(values: Mapping[str, Any]) -> Fault:
    """Read one fault of a script.

    :raises ValueError: the text says what is wrong and what is allowed.
    """
    unknown = set(values) - _NAMES
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}, allowed: {sorted(_NAMES)}")
    route, kind = values.get("route", "*"), values.get("kind")
    if route not in ROUTES:
        raise ValueError(f"unknown route {route!r}, allowed: {', '.join(ROUTES)}")
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, allowed: {', '.join(KINDS)}")
    for name, allowed in _TYPES.items():
        value = values.get(name)
        if value is not None and (not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)):
            raise ValueError(f"{name} must be {' or '.join(kind.__name__ for kind in allowed)}, not {value!r}")
    if kind == "shape" and values.get("value") not in SHAPES:
        raise ValueError(f"unknown shape {values.get('value')!r}, allowed: {', '.join(SHAPES)}")
    if kind in DEFECTS:
        _check_defect(kind, route, values.get("seconds"))
    given = {name: value for name, value in values.items() if value is not None}
    if "retry_after" in given:
        given["retry_after"] = str(given["retry_after"])
    return Fault(**{**given, "route": route})


def _check_defect(kind: str, route: str, seconds: float | None) -> None:
    if route not in ("submit", "remix", "*"):
        raise ValueError(f"{kind} is a fault of a submission: route submit or remix, not {route}")
    if seconds is not None and not 0 < seconds <= MAX_CLIP_SECONDS:
        raise ValueError(f"seconds of {kind} must be above 0 and at most {MAX_CLIP_SECONDS}, not {seconds!r}")


class FaultScript:
    """The faults of one emulator, in the order in which they were scripted."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, fault: Fault) -> int:
        """Append a fault and return its id."""
        return self._store.add_fault(asdict(fault), skip=fault.after, times=fault.times)

    def take(self, route: str, prompt: str | None, generation_id: str | None, model: str | None = None) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        for row in self._store.faults():
            fault = Fault(**row["spec"])
            if row["remaining"] == 0 or not fault.fits(route, prompt, generation_id, model):
                continue
            if row["skip"] > 0:
                self._store.skip_fault(row["id"])
                continue
            self._store.hit_fault(row["id"])
            return fault
        return None

    def delisted(self) -> set[str]:
        """Return the models that scripted faults have retired by now."""
        rows = [(Fault(**row["spec"]), row) for row in self._store.faults()]
        return {
            fault.model
            for fault, row in rows
            if fault.model is not None and fault.kind in DELISTING and row["skip"] == 0 and row["remaining"] != 0
        }

    def describe(self) -> list[dict[str, Any]]:
        """Return the script, with the remaining count of each fault."""
        rows = self._store.faults()
        return [
            {"id": row["id"], **row["spec"], "after": row["skip"], "remaining": row["remaining"], "hits": row["hits"]}
            for row in rows
        ]

    def clear(self) -> None:
        """Remove every fault."""
        self._store.clear_faults()
