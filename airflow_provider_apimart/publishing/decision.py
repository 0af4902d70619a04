"""What people decided about a video, and whether that lets it be published.

Decisions are about one content (its checksum): a file that was replaced since has not been seen by anybody. Each
approval task has its own say, each map index of a mapped one, too, and its last word counts. All of them have to be an
approval.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from airflow_provider_apimart.publishing.errors import PublishError

#: Decisions about one video that are kept, so that its file does not grow with those that no longer count.
MAX_DECISIONS = 200


class Verdict(StrEnum):
    """What became of a question."""

    APPROVED = "approved"
    REJECTED = "rejected"
    #: Not this one: another generation was asked for, and paid for.
    ANOTHER_TAKE = "another_take"
    #: Nobody answered in time. It is never an approval.
    TIMEOUT = "timeout"


class Person(BaseModel):
    """Who decided, as Airflow knows them."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str

    def __str__(self) -> str:
        return self.name if self.name == self.id else f"{self.name} (id {self.id})"


class Decision(BaseModel):
    """One decision about one video.

    :param by: ``None`` if nobody answered.
    :param at: when.
    :param video_sha256: the content that was shown.
    :param poster_sha256: the poster that was shown; ``None`` if there was none.
    :param changes: the texts that the person changed, by name.
    :param reason: what the person wrote about it.
    """

    model_config = ConfigDict(frozen=True)

    decision: Verdict
    by: Person | None = None
    at: AwareDatetime
    video_sha256: str
    poster_sha256: str | None = None
    changes: dict[str, str] = {}
    reason: str | None = None
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        when = f"{self.at:%Y-%m-%d %H:%M:%S} UTC"
        where = f"in {self.dag_id}.{self.task_id}, run {self.run_id}"
        if self.map_index >= 0:
            where += f", map index {self.map_index}"
        if self.decision is Verdict.TIMEOUT:
            return f"nobody answered until {when} {where}"
        who = f"by {self.by} " if self.by else ""
        what = {Verdict.APPROVED: "approved", Verdict.REJECTED: "rejected"}.get(
            self.decision, "passed over for another"
        )
        reason = f" ({self.reason!r})" if self.reason else ""
        return f"{what} {who}at {when} {where}{reason}"


class Decisions(BaseModel):
    """The decisions about the video in one file, the oldest first.

    :param video_sha256: the content that the last decision is about.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    video_sha256: str
    decisions: tuple[Decision, ...] = ()

    def with_one(self, decision: Decision) -> Decisions:
        """Return the decisions with one more; the same ones if it is there already."""
        if decision in self.decisions:
            return self
        kept = _bounded((*self.decisions, decision), decision.video_sha256)
        return Decisions(video_sha256=decision.video_sha256, decisions=kept)


class NotApprovedError(PublishError):
    """A person has not approved the video."""

    terminal = True


def read_decisions(data: bytes) -> Decisions:
    """Return the decisions that a file holds.

    :raises ValueError: if it is not such a file.
    """
    try:
        found = json.loads(data)
        if isinstance(found, Mapping):
            # The checksum stands once for all decisions in files of other makers.
            lines = [_with_checksum(line, found.get("video_sha256")) for line in found.get("decisions") or ()]
            found = {**found, "decisions": lines}
        return Decisions.model_validate(found)
    except (ValidationError, RecursionError) as error:
        raise ValueError(f"not a file of decisions: {type(error).__name__}") from None


def written(decisions: Decisions) -> bytes:
    """Return the file's content."""
    return decisions.model_dump_json(indent=1).encode() + b"\n"


def last_words(decisions: Iterable[Decision], sha256: str) -> Sequence[Decision]:
    """Return the last decision of each approval task about this content; of a mapped one, that of each map index.

    The time counts, and not the order in the file: a try that died between a decision and this file writes it later.
    """
    about = [each for each in decisions if each.video_sha256 == sha256]
    # A video that is in a sheet twice, and is ticked once only, was rejected.
    about.sort(key=lambda each: (each.at, each.decision is Verdict.REJECTED))
    # The same question asked again, in another run, replaces its earlier answer.
    runs = {(each.dag_id, each.task_id): each.run_id for each in about}
    found = {
        (each.dag_id, each.task_id, each.map_index): each
        for each in about
        if each.run_id == runs[each.dag_id, each.task_id]
    }
    return tuple(found.values())


def _bounded(decisions: Sequence[Decision], sha256: str) -> tuple[Decision, ...]:
    """Return the decisions without the oldest that no longer count, if there are too many.

    What a task said last about this content stays, and so does every refusal of another one: its file may come back.
    """
    spare = len(decisions) - MAX_DECISIONS
    if spare <= 0:
        return tuple(decisions)
    words = [word for content in {each.video_sha256 for each in decisions} for word in last_words(decisions, content)]
    needed = [word for word in words if word.video_sha256 == sha256 or word.decision is not Verdict.APPROVED]
    kept = []
    for each in decisions:
        if spare > 0 and each not in needed:
            spare -= 1
        else:
            kept.append(each)
    return tuple(kept)


def check_approved(decisions: Iterable[Decision], sha256: str, path: str, *, required: bool) -> None:
    """Refuse a video that a person has not approved.

    :param path: of the video, for the message.
    :param required: refuse a video about which nobody has decided, too.
    :raises NotApprovedError: names who decided what, and when.
    """
    words = last_words(decisions, sha256)
    against = [word for word in words if word.decision is not Verdict.APPROVED]
    if against:
        raise NotApprovedError(
            f"{path} is not approved: {'; '.join(map(str, against))}. To publish it, clear that approval task and "
            "approve"
        )
    if required and not words:
        raise NotApprovedError(
            f"nobody has decided about {path} (sha256 {sha256[:12]}…), and require_approval=True wants an approval: "
            "put a VideoApprovalOperator before this task"
        )


def _with_checksum(line: Any, sha256: Any) -> Any:
    return {"video_sha256": sha256, **line} if isinstance(line, Mapping) else line
