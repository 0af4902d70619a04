"""What a post record leaves behind at its target: drafts, orphans, and what may be public. Pure.

Nothing here asks a target: the list says where a person has to look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_apimart.publishing.record import PostRecord, PostState


class Leftover(StrEnum):
    """What lies at the target."""

    #: The last bytes of an upload were sent, and no answer says whether a draft exists.
    UNKNOWN_DRAFT = "unknown draft"
    #: A draft that nobody else sees.
    DRAFT = "draft"
    #: The call that publishes was made, and no answer says whether it was carried out.
    UNKNOWN_POST = "unknown post"
    #: A draft that another one has taken the place of. Nobody else sees it.
    ORPHAN = "orphan"
    #: A post that another one has taken the place of (``on_clear="repost"``). It is public.
    SUPERSEDED = "superseded post"


#: What a person or the next try has to settle. The others are told for information.
OPEN = frozenset({Leftover.UNKNOWN_DRAFT, Leftover.DRAFT, Leftover.UNKNOWN_POST})
_STATES = {
    PostState.ARMED: Leftover.UNKNOWN_DRAFT,
    PostState.DRAFTED: Leftover.DRAFT,
    PostState.COMMITTING: Leftover.UNKNOWN_POST,
}
_ADVICE = {
    Leftover.UNKNOWN_DRAFT: "a clear of the task asks for it and goes on",
    Leftover.DRAFT: "a clear of the task publishes it",
    Leftover.UNKNOWN_POST: "look whether it is public; a clear of the task asks, and never posts twice",
    Leftover.ORPHAN: "it can be deleted",
    Leftover.SUPERSEDED: "it is public; delete it there if it should not be",
}


@dataclass(frozen=True)
class Found:
    """One thing that lies at a target.

    :param name: the target's id of it, or empty.
    :param url: its page, if it is known.
    """

    what: Leftover
    target: str
    account: str
    marker: str
    name: str
    url: str | None
    asked_by: dict[str, str | int]

    @property
    def is_open(self) -> bool:
        """Whether somebody has to settle it."""
        return self.what in OPEN

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "kind": "post",
            "what": str(self.what),
            "open": self.is_open,
            "target": self.target,
            "account": self.account,
            "marker": self.marker,
            "id": self.name or None,
            "url": self.url,
            "asked_by": self.asked_by,
            "advice": _ADVICE[self.what],
        }

    def __str__(self) -> str:
        place = " / ".join(str(part) for part in self.asked_by.values() if part != -1)
        shown = self.url or self.name or "no id"
        return (
            f"{self.what} at {self.target}: {shown}, account {self.account}, marker {self.marker}\n"
            f"  {place}: {_ADVICE[self.what]}"
        )


def leftovers(record: PostRecord) -> Iterator[Found]:
    """Yield what ``record`` knows of that is not simply its public post."""
    same: dict[str, Any] = {"target": record.target, "account": record.account, "asked_by": record.asked_by}
    what = _STATES.get(record.state)
    if what is not None:
        yield Found(what, marker=record.marker, name=record.draft_id or "", url=record.url, **same)
    for old in record.previous:
        public = old.state is PostState.PUBLIC
        kind = Leftover.SUPERSEDED if public else _STATES.get(old.state, Leftover.ORPHAN)
        if kind is Leftover.DRAFT:
            kind = Leftover.ORPHAN
        yield Found(kind, marker=old.marker, name=old.post_id or old.draft_id or "", url=old.url, **same)
