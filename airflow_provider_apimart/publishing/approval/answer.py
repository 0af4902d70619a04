"""Reads a person's answer. Airflow checks only that the chosen option exists, so everything else is checked here.

An answer that cannot be used is not a decision: the question is put again, with a note. A text that was not given is
the one that the form was filled in with; an emptied field is empty text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from airflow_provider_apimart.publishing.approval.case import Candidate, Case
from airflow_provider_apimart.publishing.decision import Person

APPROVE, REJECT, ANOTHER_TAKE = "Approve", "Reject", "Another take"
#: The field that names the video, its value for the last take's, and the field for a remark.
VIDEO, NEWEST, REASON = "video", "the newest", "reason"
#: The longest texts, in characters: YouTube's and Instagram's own limits, and three times YouTube's for a title.
TEXT_LIMITS = {"title": 300, "description": 5000, "caption": 2200, REASON: 1000}

Choice = Literal["approve", "reject", "another_take", "timeout", "unusable"]
_CHOICES: dict[str, Choice] = {APPROVE: "approve", REJECT: "reject", ANOTHER_TAKE: "another_take"}


@dataclass(frozen=True)
class Answer:
    """What a person has answered.

    :param texts: all texts of the form, by name, as the person left them.
    :param candidate: the video that an approval is about.
    :param problem: why the answer cannot be used.
    """

    choice: Choice
    at: datetime
    by: Person | None = None
    texts: dict[str, str] = field(default_factory=dict)
    candidate: Candidate | None = None
    reason: str | None = None
    problem: str = ""


def read_answer(event: Any, case: Case, texts: Mapping[str, str], now: datetime) -> Answer:
    """Return the answer in the event with which Airflow resumes a task.

    :param case: what was asked.
    :param texts: what the form was filled in with.
    :param now: the time to use if the event does not tell it.
    """
    answer, given = read_choice(event, _CHOICES, REJECT, now)
    if answer.choice != "approve":
        # The fields matter to an approval alone.
        return answer
    found, problems = _texts_of(given, texts)
    candidate, problem = _candidate_of(given.get(VIDEO), case)
    problems += [problem] if problem else []
    if problems:
        return Answer("unusable", answer.at, answer.by, problem="; ".join(problems))
    return replace(answer, texts=found, candidate=candidate)


def read_choice(
    event: Any, choices: Mapping[str, Choice], default: str, now: datetime
) -> tuple[Answer, Mapping[str, Any]]:
    """Return which option was chosen, by whom and when, and the fields as they were sent.

    :param choices: what the options mean.
    :param default: the option that Airflow puts in when nobody answers in time.
    """
    nothing: Mapping[str, Any] = {}
    if not isinstance(event, Mapping):
        return Answer("unusable", now, problem="Airflow passed on no answer"), nothing
    if "error" in event:
        if event.get("error_type") == "timeout":
            return Answer("timeout", now), nothing
        return Answer("unusable", now, problem=f"Airflow refused it: {event['error']}"), nothing
    at, by = _time_of(event.get("responded_at")) or now, _person_of(event.get("responded_by_user"))
    chosen = event.get("chosen_options")
    if event.get("timedout") or (by is None and chosen == [default]):
        # Airflow has put in the default. Nobody has answered.
        return Answer("timeout", at), nothing
    choice = choices.get(chosen[0]) if isinstance(chosen, (list, tuple)) and len(chosen) == 1 else None
    if choice is None:
        return Answer("unusable", at, by, problem="it chose no option"), nothing
    given = event.get("params_input") or {}
    if not isinstance(given, Mapping):
        return Answer("unusable", at, by, problem="its fields are no object"), nothing
    if choice == "approve" and by is None:
        problem = "Airflow does not say who gave it, and only a person can approve"
        return Answer("unusable", at, problem=problem), nothing
    reason = given.get(REASON)
    reason = reason.strip()[: TEXT_LIMITS[REASON]] or None if isinstance(reason, str) else None
    return Answer(choice, at, by, reason=reason), given


def _texts_of(given: Mapping[str, Any], texts: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    found, problems = {}, []
    for name, filled_in in texts.items():
        value = given.get(name, filled_in)
        value = "" if value is None else value
        if not isinstance(value, str):
            problems.append(f"{name} has to be text, not {type(value).__name__}")
        elif len(value) > TEXT_LIMITS[name]:
            problems.append(f"{name} has {len(value):,} characters; allowed: up to {TEXT_LIMITS[name]:,}")
        else:
            found[name] = value
    return found, problems


def _candidate_of(value: Any, case: Case) -> tuple[Candidate | None, str]:
    if value in (None, "", NEWEST):
        if len(case.newest) == 1:
            return case.newest[0], ""
        numbers = ", ".join(str(candidate.number) for candidate in case.newest)
        return None, f"the newest take has several videos: choose one by its number ({numbers})"
    for candidate in case.candidates:
        if str(value).strip() == str(candidate.number):
            return candidate, ""
    return None, f"there is no video {str(value)[:40]!r} yet; there are 1 to {len(case.candidates)}"


def _time_of(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _person_of(value: Any) -> Person | None:
    if isinstance(value, Mapping):
        user, name = value.get("id"), value.get("name")
    else:
        user, name = getattr(value, "id", None), getattr(value, "name", None)
    if user is None:
        return None
    return Person(id=str(user), name=str(name or user))
