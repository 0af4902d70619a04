"""Faults of the publishing services: which request goes wrong, and how. Pure.

A request is named by its service and its step (:data:`STEPS`). It meets the first fault that fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

STEPS: dict[str, tuple[str, ...]] = {
    "youtube": (
        *("token", "channels", "start", "upload", "ask", "list", "videos", "update", "thumbnail"),
        *("playlist", "playlist_add", "categories", "delete"),
    ),
    "instagram": ("account", "container", "upload", "status", "limit", "publish", "media", "refresh", "debug"),
    "webhook": ("delivery",),
}
#: What happens to the request.
KINDS = {
    "drop_before": "the connection is reset, and nothing was done",
    "drop_after": "the work is done, and the connection is reset",
    "status": "`status` with `reason` (YouTube), `code` and `subcode` (Instagram); with `executed` after the work",
    "stall": "wait `seconds`, then do the work",
    "stall_after": "do the work, then wait `seconds`",
    "cut": "an upload breaks off after `bytes` of the request's body; what came is kept",
    "short": "an upload keeps only `bytes` of the request's body, and answers as if that were all",
    "lose": "YouTube's upload session has lost every byte, and says so: 308 without Range (steps `upload`, `ask`)",
    "broken": "the work is done, and the answer's JSON ends in the middle",
}
#: What the service does by itself, for as long as the fault lasts (`times` does not count).
CONDITIONS = {
    "youtube": {
        "invalid_grant": "the refresh token is void",
        "upload_scope_only": "the access token may upload and nothing else",
        "sessions_expire": "upload sessions are not known any more",
        "no_range": "a 308 has no Range header, although bytes are stored",
        "label_dropped": "containsSyntheticMedia is not kept",
        "locked_private": "a video stays private whatever is asked",
        "publish_at_dropped": "publishAt is not kept",
        "never_listed": "the list of uploads shows no new video",
        "unknown_at_first": "a new video is not known for `seconds`",
        "processing_fails": "processing ends as failed",
        "duplicate": "processing ends as rejected: a duplicate",
        "no_file_name": "fileDetails has no fileName",
        "quota": "the day's units are used up",
        "upload_limit": "the channel may upload no more for now (400 uploadLimitExceeded)",
    },
    "instagram": {
        "token_expired": "code 190, subcode 463",
        "container_fails": "a container ends as ERROR (`code`, default 2207026)",
        "container_expires": "a container ends as EXPIRED",
        "publishes_twice": "a second publication of one container makes a second media; else it is refused",
        "reads_fail": "reads of a container or a media answer 100/33",
        "limit_reached": "the quota of posts is used up",
        "personal_account": "the account is no professional one",
    },
    "webhook": {
        "gone": "410",
        "clock_ahead": "the receiver's clock is `seconds` (600) ahead",
    },
}


@dataclass(frozen=True)
class PublishFault:
    """One scripted fault or condition.

    :param service: ``youtube``, ``instagram`` or ``webhook``.
    :param kind: one of :data:`KINDS`, or a condition of the service.
    :param step: which request, for the kinds; conditions have none.
    :param times: how many requests meet it; -1 for all.
    :param after: how many of these requests pass before.
    :param executed: with ``status``: do the work, then answer so.
    :param transient: what Instagram's error says of itself (``is_transient``).
    """

    service: str
    kind: str
    step: str = ""
    times: int = 1
    after: int = 0
    status: int = 503
    reason: str = "backendError"
    code: int = 2
    subcode: int | None = None
    retry_after: str | None = None
    seconds: float = 1.0
    bytes: int = 0
    executed: bool = False
    transient: bool = False


_FIELDS = {field.name for field in fields(PublishFault)}
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("times", "after", "status", "code", "bytes"), (int,)),
    **dict.fromkeys(("executed", "transient"), (bool,)),
    "subcode": (int, type(None)),
    "reason": (str,),
    "retry_after": (str, int, type(None)),
    "seconds": (int, float),
}
#: Kinds that concern an upload's body, and the steps that have one.
_OF_UPLOADS = {
    "cut": {("youtube", "upload"), ("instagram", "upload")},
    "short": {("youtube", "upload"), ("instagram", "upload")},
    "lose": {("youtube", "upload"), ("youtube", "ask")},
}


def read_fault(values: Mapping[str, Any]) -> PublishFault:
    """Read one fault.

    :raises ValueError: says what is wrong and what is allowed.
    """
    unknown = set(values) - set(_FIELDS)
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}, allowed: {sorted(_FIELDS)}")
    service, kind, step = values.get("service"), values.get("kind"), values.get("step", "")
    if service not in STEPS:
        raise ValueError(f"unknown service {service!r}, allowed: {', '.join(STEPS)}")
    if kind in CONDITIONS[service]:
        if step:
            raise ValueError(f"{kind!r} is a condition of the whole service and has no step")
    elif kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, allowed: {', '.join([*KINDS, *CONDITIONS[service]])}")
    elif step not in STEPS[service]:
        raise ValueError(f"unknown step {step!r}, allowed: {', '.join(STEPS[service])}")
    elif kind in _OF_UPLOADS and (service, step) not in _OF_UPLOADS[kind]:
        allowed = ", ".join(sorted(" ".join(pair) for pair in _OF_UPLOADS[kind]))
        raise ValueError(f"{kind!r} does not exist for {service} {step}, allowed: {allowed}")
    for name, types in _TYPES.items():
        value = values.get(name, getattr(PublishFault, name))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{name} must be {' or '.join(each.__name__ for each in types)}, not {value!r}")
    retry_after = values.get("retry_after")
    return PublishFault(**{**values, "retry_after": None if retry_after is None else str(retry_after)})


class PublishFaults:
    """The script of one emulator, and how many requests it has judged."""

    def __init__(self) -> None:
        self._script: list[PublishFault] = []
        self._requests: Counter[tuple[str, str]] = Counter()

    def add(self, fault: PublishFault) -> None:
        """Append a fault."""
        self._script.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        self._script.clear()

    def reset(self) -> None:
        """Remove all faults, and count from zero."""
        self._script.clear()
        self._requests.clear()

    def requests(self) -> dict[str, dict[str, int]]:
        """Return how many requests came, by service and step; steps without any are left out."""
        found: dict[str, dict[str, int]] = {service: {} for service in STEPS}
        for (service, step), count in self._requests.items():
            found[service][step] = count
        return found

    def take(self, service: str, step: str) -> PublishFault | None:
        """Return the fault that this request meets, and count both."""
        self._requests[service, step] += 1
        for number, fault in enumerate(self._script):
            if (fault.service, fault.step) != (service, step) or fault.times == 0:
                continue
            if fault.after > 0:
                self._script[number] = replace(fault, after=fault.after - 1)
                continue
            if fault.times > 0:
                self._script[number] = replace(fault, times=fault.times - 1)
            return fault
        return None

    def condition(self, service: str, kind: str) -> PublishFault | None:
        """Return a condition that is in force."""
        return next((fault for fault in self._script if (fault.service, fault.kind) == (service, kind)), None)

    def describe(self) -> list[dict[str, Any]]:
        """Return the script as it stands."""
        return [asdict(fault) for fault in self._script]
