"""The form: what a person reads before they decide, and the fields that they can change.

Airflow keeps the first form of a task instance for good, whatever is asked later: after another take, and after a
clear, it still shows the first text. So the form says from the beginning what there may be later, and leads to the
page that shows what there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.publishing.approval.answer import NEWEST, REASON, TEXT_LIMITS, VIDEO
from airflow_provider_apimart.publishing.approval.case import Candidate, Case
from airflow_provider_apimart.publishing.approval.markdown import block, inline, link, part, picture
from airflow_provider_apimart.publishing.approval.markdown import shown as plain

#: The texts of a form, in their order, and how they are called.
TEXTS = {"title": "Title", "description": "Description", "caption": "Caption"}
MAX_CHECKS = 20


@dataclass(frozen=True)
class Place:
    """A task instance.

    :param prefix: the path under which Airflow is served, without a slash at its end.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    prefix: str = ""

    def page(self, name: str = "") -> str:
        """Return the path of one of the task instance's pages in Airflow."""
        path = f"{self.prefix}/dags/{part(self.dag_id)}/runs/{part(self.run_id)}/tasks/{part(self.task_id)}"
        if self.map_index >= 0:
            path += f"/mapped/{self.map_index}"
        return f"{path}/{name}" if name else path

    def file(self, kind: str, number: int) -> str:
        """Return the path of a video or a poster of the task instance in our own pages.

        :param kind: ``video`` or ``poster``.
        :param number: counted from 1.
        """
        ids = "/".join(part(value) for value in (self.dag_id, self.run_id, self.task_id, self.map_index))
        return f"{self.prefix}/apimart/{kind}/{ids}/{number}"


@dataclass(frozen=True)
class Shown:
    """What is known about one video besides its file.

    :param check: the verdict and the rules of a check, from the media sidecar.
    """

    prompt: str = ""
    model: str = ""
    seed: int | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    check: Mapping[str, Any] | None = None
    has_poster: bool = False


@dataclass(frozen=True)
class Terms:
    """What further takes there may be.

    :param price: of one more, as text; empty if unknown.
    """

    max_takes: int = 1
    max_cost_usd: float | None = None
    price: str = ""


def subject_of(case: Case, shown: Shown) -> str:
    """Return the headline, for tasks that set none."""
    first = case.first[0]
    name = first.path.rsplit("/", 1)[-1]
    what = "this video" if len(case.first) == 1 else f"one of these {len(case.first)} videos"
    words = " ".join(plain(shown.prompt, 2000).split())[:60]
    return f"Publish {what}? {words or name}"


def body_of(case: Case, shown: Sequence[Shown], own: Place, terms: Terms, intro: str = "", deadline: str = "") -> str:
    """Return the form's text in Markdown.

    :param shown: of each candidate, in their order.
    :param own: the approval's own task instance.
    :param intro: Markdown of the DAG's author, above everything else.
    :param deadline: when the wait ends, in words; empty for never.
    """
    parts = [intro.strip()] if intro and intro.strip() else []
    if case.note:
        parts.append(f"**Please look again:** {inline(case.note, 1000)}")
    for candidate, about in zip(case.candidates, shown, strict=True):
        parts += _one(candidate, about, own, several=len(case.candidates) > 1)
    prompt = shown[0].prompt
    if prompt:
        parts += ["**Prompt**", block(prompt)]
    if terms.max_takes > 1:
        parts.append(_further(case, own, terms))
    tab = link("Everything about this task", own.page("plugin/apimart-video"))
    parts.append(f"{tab}, with all takes and what was said about the last answer.")
    parts.append(ends_text(deadline))
    return "\n\n".join(parts)


def _one(candidate: Candidate, about: Shown, own: Place, *, several: bool) -> list[str]:
    name = f"Video {candidate.number}" if several else "Video"
    lines = [f"### {name}"] if several else []
    if about.has_poster:
        lines.append(picture(f"Poster of video {candidate.number}", own.file("poster", candidate.number)))
    facts = [
        link("▶ Play", own.file("video", candidate.number)),
        f"{candidate.duration_seconds:g} s" if candidate.duration_seconds is not None else "",
        f"{candidate.width} x {candidate.height}" if candidate.width and candidate.height else "",
        {True: "with sound", False: "without sound"}.get(candidate.has_audio, "")
        if candidate.has_audio is not None
        else "",
        f"{candidate.cost_usd:g} USD" if candidate.cost_usd is not None else "",
        inline(about.model) if about.model else "",
        f"seed {about.seed}" if about.seed is not None else "",
    ]
    lines.append(" · ".join(fact for fact in facts if fact))
    if about.labels:
        lines.append(" · ".join(f"{inline(key)}: {inline(value)}" for key, value in list(about.labels.items())[:10]))
    if about.check:
        lines.append(_checks(about.check))
    return lines


def _checks(check: Mapping[str, Any]) -> str:
    """Return the verdict, and the rules that were broken."""
    known = [rule for rule in check.get("rules") or () if isinstance(rule, Mapping)]
    rules = [rule for rule in known if rule.get("verdict") not in ("ok", "off")]
    head = f"**Checks**: {inline(check.get('verdict') or 'unknown')}"
    if not rules:
        return f"{head} ({len(known)} of {len(known)})" if known else head
    rows = [
        f"| {inline(rule.get('verdict') or '')} | {inline(rule.get('rule') or '')} | {inline(rule.get('text') or '')} |"
        for rule in rules[:MAX_CHECKS]
    ]
    more = [f"and {len(rules) - MAX_CHECKS} more"] if len(rules) > MAX_CHECKS else []
    return "\n".join([f"{head}\n", "| | check | found |", "|---|---|---|", *rows, *more])


def _further(case: Case, own: Place, terms: Terms) -> str:
    each = len(case.first)
    numbers = range(len(case.candidates) + 1, each * terms.max_takes + 1)
    price = f", for about {terms.price} each" if terms.price else ""
    limit = "" if terms.max_cost_usd is None else f" All takes together may cost {terms.max_cost_usd:g} USD."
    text = (
        f"**Another take** pays for one new generation of the same request{price}: {terms.max_takes} takes at most, "
        f"this one included.{limit} Then you are asked again, and choose a video by its number. Airflow goes on "
        "showing this text; the links work once there is such a video:"
    )
    links = " · ".join(link(f"▶ Video {number}", own.file("video", number)) for number in numbers)
    return f"{text} {links}" if links else text


def ends_text(deadline: str) -> str:
    """Return what happens without an answer.

    :param deadline: when the wait ends, in words; empty for never.
    """
    if not deadline:
        return "Nothing is published before somebody approves."
    return f"Nothing is published before somebody approves. Without an answer {deadline}, it is not published."


def fields_of(case: Case, texts: Mapping[str, str], terms: Terms) -> dict[str, dict[str, Any]]:
    """Return the form's fields: for each its value and its JSON schema."""
    fields: dict[str, dict[str, Any]] = {}
    for name, value in texts.items():
        multiline = {} if name == "title" else {"format": "multiline"}
        fields[name] = {"value": value, "type": ["string", "null"], "title": TEXTS[name], **multiline}
        fields[name]["maxLength"] = TEXT_LIMITS[name]
    most = len(case.first) * terms.max_takes
    if most > 1:
        names = [NEWEST, *(str(number) for number in range(1, max(most, len(case.candidates)) + 1))]
        fields[VIDEO] = {"value": NEWEST, "type": "string", "enum": names, "title": "Which video is approved"}
    return {**fields, **remark_field()}


def remark_field() -> dict[str, dict[str, Any]]:
    """Return the field that each form ends in."""
    title, most = "Remark (kept with the decision)", TEXT_LIMITS[REASON]
    return {REASON: {"value": None, "type": ["string", "null"], "title": title, "maxLength": most}}
