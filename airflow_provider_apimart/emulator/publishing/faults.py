"""Faults of the publishing services: which request goes wrong, and how. Pure.

A request is named by its service and its step (:data:`STEPS`). It meets the first fault that fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

STEPS: dict[str, tuple[str, ...]] = {
    "youtube": (
        *("token", "channels", "start", "upload", "ask", "list", "videos", "update", "thumbnail"),
        *("playlist", "playlist_add", "categories"),
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
    "broken": "the work is done, and the answer's JSON ends in the middle",
}
#: What the service does by itself, for as long as the fault lasts (`times` does not count).
CONDITIONS = {
    "youtube": {
        "invalid_grant": "the refresh token is void",
        "upload_scope_only": "the access token may upload and nothing else",
        "sessions_expire": "upload sessions are not known any more",
        "no_range": "a 308 has no Range header, as if nothing were stored",
        "label_dropped": "containsSyntheticMedia is not kept by an update",
        "locked_private": "a video stays private whatever an update says",
        "publish_at_dropped": "publishAt is not kept by an update",
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


_FIELDS = {field.name: field.type for field in fields(PublishFault)}


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
    return PublishFault(**values)


class PublishFaults:
    """The script of one emulator."""

    def __init__(self) -> None:
        self._script: list[PublishFault] = []

    def add(self, fault: PublishFault) -> None:
        """Append a fault."""
        self._script.append(fault)

    def clear(self) -> None:
        """Remove all."""
        self._script.clear()

    def take(self, service: str, step: str) -> PublishFault | None:
        """Return the fault that this request meets, and count it."""
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
