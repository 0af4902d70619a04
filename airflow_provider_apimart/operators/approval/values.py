"""Checks and small readings of the approval's arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import ApimartError, FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.hooks.storage.beside import Beside
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.budget import budget_problems
from airflow_provider_apimart.operators.videos import all_video_problems, sample_problems
from airflow_provider_apimart.publishing.approval import form
from airflow_provider_apimart.publishing.approval.answer import TEXT_LIMITS
from airflow_provider_apimart.publishing.approval.case import MOST_TAKES, Case
from airflow_provider_apimart.publishing.decision import Decision

#: Of the XCom ``approval``.
STANDING_VERSION = 1
MAX_PROMPT = 2000


def problems(task: Any, check: arguments.Check) -> list[FieldProblem]:
    """Return what is wrong with an approval's arguments."""
    found = check(sample_problems, "sample", task.sample)
    if not found and not arguments.is_template(task.sample, arguments.marks_of(task)):
        found += check(all_video_problems, "video", task.video, task.sample)
    for name in form.TEXTS:
        found += check(_text_problems, name, getattr(task, name))
    found += check(arguments.choice_problems, "on_reject", task.on_reject, ("skip", "fail"))
    found += check(_takes_problems, "max_takes", task.max_takes)
    found += check(arguments.money_problems, "max_cost_usd", task.max_cost_usd)
    found += budget_problems("budget", task.budget)
    found += check(_request_problems, "veo", task.veo)
    found += check(arguments.output_problems, "output_path", task.output_path)
    found += check(arguments.connection_problems, "apimart_conn_id", task.apimart_conn_id)
    found += check(arguments.seconds_problems, "timeout", task.timeout)
    return found + check(arguments.seconds_problems, "poll_interval", task.poll_interval)


def _text_problems(name: str, value: Any) -> list[FieldProblem]:
    most = TEXT_LIMITS[name]
    if value is None or (isinstance(value, str) and len(value) <= most):
        return []
    shown = f"{len(value):,} characters" if isinstance(value, str) else value
    return [FieldProblem(name, shown, f"allowed: text of up to {most:,} characters, or None")]


def _takes_problems(name: str, value: Any) -> list[FieldProblem]:
    number = arguments.number_of(value)
    if number is not None and number == int(number) and 1 <= number <= MOST_TAKES:
        return []
    return [FieldProblem(name, value, f"allowed: a whole number, 1 to {MOST_TAKES}")]


def _request_problems(name: str, value: Any) -> list[FieldProblem]:
    found = arguments.mapping_problems(name, value)
    given = None if found else arguments.object_of(value)
    if not given:
        return found
    return [
        FieldProblem(f"{name}[{problem.field!r}]", problem.value, problem.allowed)
        for problem in VeoRequest.problems(given)
    ]


def shown(about: Beside) -> form.Shown:
    """Return what the form tells about one video besides its file."""
    seed = (about.request or {}).get("seed")
    return form.Shown(
        prompt=about.prompt,
        model=about.model,
        seed=seed if isinstance(seed, int) else None,
        labels=about.labels,
        check=about.check,
        has_poster=about.poster is not None,
    )


def cost_of(value: Any) -> float | None:
    """Return what a generate task's output, or a manifest's row, says that it cost."""
    cost = value.get("cost_usd") if isinstance(value, Mapping) else None
    return float(cost) if isinstance(cost, (int, float)) and not isinstance(cost, bool) else None


def told_of(decision: Decision) -> dict[str, Any]:
    """Return what a result tells of a decision."""
    told = decision.model_dump(mode="json")
    names = ("decision", "by", "at", "reason", "changes", "video_sha256", "poster_sha256")
    return {name: told[name] for name in names}


def result_of(case: Case, decision: Decision, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the result of an approval.

    :param texts: what the form's fields were filled in with.
    """
    chosen = next(candidate for candidate in case.candidates if candidate.number == case.chosen)
    return {
        **told_of(decision),
        **{name: decision.changes.get(name, texts.get(name)) for name in form.TEXTS},
        "chosen": chosen.number,
        "takes": case.takes,
        "generation_id": chosen.generation_id,
        "cost_usd": chosen.cost_usd,
        "videos": [chosen.entry],
    }


def standing(case: Case, state: str, max_takes: int, prompt: str) -> dict[str, Any]:
    """Return how an approval stands, as its XCom ``approval`` tells it."""
    return {
        "version": STANDING_VERSION,
        "state": state,
        "note": case.note,
        "told_at": datetime.now(UTC).isoformat(),
        "takes": case.takes,
        "max_takes": max_takes,
        "prompt": prompt[:MAX_PROMPT],
        "videos": [{"n": one.number, **one.model_dump(mode="json", exclude={"number"})} for one in case.candidates],
        "pending": None if case.pending is None else case.pending.model_dump(mode="json", exclude={"request"}),
        "decision": None if case.decision is None else case.decision.model_dump(mode="json"),
        "chosen": case.chosen,
    }


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Fail the task without a retry on errors that a retry cannot mend."""
    try:
        yield
    except ApimartError as error:
        if error.terminal:
            text = error.explained or report.explain(error, None)
            raise AirflowFailException(text) from error
        raise
