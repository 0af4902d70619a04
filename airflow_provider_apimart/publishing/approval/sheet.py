"""A sheet: many videos in one form, each with a box to tick. What is ticked is approved, all others are rejected."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.publishing.approval.answer import Answer, Choice, read_choice
from airflow_provider_apimart.publishing.approval.case import MAX_NOTE_LENGTH, Candidate, read_kept
from airflow_provider_apimart.publishing.approval.form import Place, Shown, ends_text, remark_field
from airflow_provider_apimart.publishing.approval.markdown import inline, link, picture, shown
from airflow_provider_apimart.publishing.decision import Decision, Verdict

APPROVE_TICKED, REJECT_ALL = "Approve the ticked ones", "Reject all"
#: More rows than that nobody looks at with care, and the form has to fit into Airflow's database and browser.
MOST_ROWS = 50
_CHOICES: dict[str, Choice] = {APPROVE_TICKED: "approve", REJECT_ALL: "reject"}


class StaleFormError(ApimartError):
    """The form that Airflow shows tells of other videos than the table has now."""

    terminal = True


class Box(BaseModel):
    """What one box of the form stands for, as far as the form tells it.

    :param row: the row of the manifest, or the number in the list.
    :param video: the beginning of the video's checksum.
    :param prompt: stands for the prompt; empty if it is not known.
    """

    model_config = ConfigDict(frozen=True)

    row: int | str
    video: str
    prompt: str = ""

    @classmethod
    def of(cls, row: int | str, candidate: Candidate, prompt: str) -> Box:
        """Return the box of a video."""
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return cls(row=row, video=candidate.sha256[:16], prompt=digest if prompt else "")


def same_form(first: tuple[Box, ...], now: tuple[Box, ...]) -> tuple[Box, ...]:
    """Return what the form's boxes stand for.

    Airflow keeps the first form of a task instance for good. A video that was made anew in its place is fine: the form
    leads to it. But a box that was one row's must not become another's.

    :param first: the form as it was first; empty before there is one.
    :raises StaleFormError: if the table does not fit it.
    """
    if not first:
        return now
    videos = {box.video for box in first}
    fits = len(first) == len(now) and all(
        old.row == new.row
        and (old.video == new.video or new.video not in videos)
        and (old.prompt == new.prompt or not (old.prompt and new.prompt))
        for old, new in zip(first, now, strict=True)
    )
    if not fits:
        raise StaleFormError(
            "the table has other rows than the form, which Airflow never changes in a run: its boxes would stand for "
            "other videos. Nothing was decided or published. Start a new DAG run to have this table decided"
        )
    return first


class Sheet(BaseModel):
    """What is known about one sheet: the counterpart of :class:`.case.Case`.

    :param digest: stands for the videos that it is about.
    :param form: what the boxes of the form stand for; empty before it was asked.
    :param ticked: the numbers of the approved ones.
    :param posters: the checksums of the posters that were shown, by number.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    epoch: int
    digest: str
    form: tuple[Box, ...] = ()
    posters: dict[int, str] = {}
    note: str = ""
    decision: Decision | None = None
    ticked: tuple[int, ...] = ()

    def but(self, **changes: Any) -> Sheet:
        """Return a copy with ``changes``."""
        if "note" in changes:
            changes["note"] = changes["note"][:MAX_NOTE_LENGTH]
        return self.model_copy(update=changes)

    def said_about(self, candidate: Candidate) -> Decision:
        """Return what the decision means for one of the videos.

        :raises AssertionError: before there is one.
        """
        if self.decision is None:
            raise AssertionError("nothing is decided yet")
        verdict = self.decision.decision
        if verdict is Verdict.APPROVED and candidate.number not in self.ticked:
            verdict = Verdict.REJECTED
        seen = {"video_sha256": candidate.sha256, "poster_sha256": self.posters.get(candidate.number)}
        return self.decision.model_copy(update={"decision": verdict, **seen})


@dataclass(frozen=True)
class Ticks:
    """What a person has answered to a sheet."""

    answer: Answer
    ticked: tuple[int, ...] = ()


def read_ticks(event: Any, count: int, now: datetime) -> Ticks:
    """Return the answer in the event with which Airflow resumes a task. A box that was not sent is not ticked.

    :param count: how many videos were asked about.
    :param now: the time to use if the event does not tell it.
    """
    answer, given = read_choice(event, _CHOICES, REJECT_ALL, now)
    if answer.choice != "approve":
        return Ticks(answer)
    boxes = {number: given.get(box(number), False) for number in range(1, count + 1)}
    odd = [str(number) for number, value in boxes.items() if not isinstance(value, bool)]
    ticked = tuple(number for number, value in boxes.items() if value is True)
    if odd:
        return Ticks(_unusable(answer, f"a box is true or false; video {', '.join(odd)} is neither"))
    if not ticked:
        return Ticks(_unusable(answer, f"no video is ticked; to reject all of them choose {REJECT_ALL!r}"))
    return Ticks(answer, ticked)


def _unusable(answer: Answer, problem: str) -> Answer:
    return Answer("unusable", answer.at, answer.by, problem=problem)


def box(number: int) -> str:
    """Return the name of a video's field."""
    return f"video_{number}"


def sheet_body(
    note: str,
    candidates: Sequence[Candidate],
    shown: Sequence[Shown],
    own: Place,
    intro: str = "",
    deadline: str = "",
) -> str:
    """Return the form's text in Markdown: a table of all videos.

    :param shown: of each candidate, in their order.
    """
    parts = [intro.strip()] if intro and intro.strip() else []
    if note:
        parts.append(f"**Please look again:** {inline(note, 1000)}")
    cost = sum(candidate.cost_usd or 0 for candidate in candidates)
    parts.append(f"**{len(candidates)} videos**, {cost:g} USD. Tick those below that may be published.")
    rows = ["| | Poster | Video | Prompt | Checks |", "|---|---|---|---|---|"]
    rows += [_row(candidate, about, own) for candidate, about in zip(candidates, shown, strict=True)]
    parts += ["\n".join(rows), ends_text(deadline)]
    return "\n\n".join(parts)


def _row(candidate: Candidate, about: Shown, own: Place) -> str:
    number = candidate.number
    poster = picture(f"Poster of video {number}", own.file("poster", number)) if about.has_poster else ""
    facts = [
        link("▶ Play", own.file("video", number)),
        f"{candidate.duration_seconds:g} s" if candidate.duration_seconds is not None else "",
        f"{candidate.cost_usd:g} USD" if candidate.cost_usd is not None else "",
    ]
    labels = " ".join(inline(value, 40) for value in list(about.labels.values())[:3])
    check = inline((about.check or {}).get("verdict") or "", 40)
    told = " · ".join(fact for fact in facts if fact)
    return f"| {candidate.number} {labels} | {poster} | {told} | {inline(about.prompt, 200)} | {check} |"


def sheet_fields(candidates: Sequence[Candidate], about: Sequence[Shown]) -> dict[str, dict[str, Any]]:
    """Return the form's fields: for each its value and its JSON schema. No box is ticked beforehand."""
    fields: dict[str, dict[str, Any]] = {}
    for candidate, one in zip(candidates, about, strict=True):
        words = " ".join(shown(one.prompt or candidate.path.rsplit("/", 1)[-1], 2000).split())
        fields[box(candidate.number)] = {
            "value": False,
            "type": "boolean",
            "title": f"{candidate.number}. {textwrap.shorten(words, 60, placeholder=' …')}",
        }
    return {**fields, **remark_field()}


def read_sheet(data: Any, where: str) -> Sheet:
    """Return the sheet that ``data`` (an object, or its JSON text) holds."""
    return read_kept(Sheet, data, where)
