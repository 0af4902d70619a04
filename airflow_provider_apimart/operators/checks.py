"""``check=``: checks the videos of a generation once they have landed.

A generation that fails its check is paid for, landed and kept. No try pays for another one by itself: the record says
that the generation has landed, whatever the check says, and a try that died before the check only checks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from airflow_provider_apimart._compat import AirflowSkipException
from airflow_provider_apimart.client.errors import ApimartError, Charge, FieldProblem, GenerationError
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.decide import REGENERATE_HINT
from airflow_provider_apimart.generation.purchase.mismatch import asked_for
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.check import Asked, Rules, Verdict, verdict_problems
from airflow_provider_apimart.media.checking import Checked, check_video
from airflow_provider_apimart.media.extra import require_media
from airflow_provider_apimart.media.workshop import Source
from airflow_provider_apimart.operators import arguments

log = logging.getLogger(__name__)

#: ``None``: no check. ``"default"``: the verdicts of :data:`.check.DEFAULT_VERDICTS`. A dict changes some of them.
CheckRules = Mapping[str, str] | Literal["default"] | None
#: The XCom that holds the reports, also if the check fails.
REPORT_KEY = "check"


class GenerationCheckError(GenerationError):
    """The generation is paid for and landed, and its video fails the check that the user asked for."""

    terminal = True
    charge = Charge.YES


def check_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with ``check=``."""
    if value is None or value == "default":
        return []
    if not isinstance(value, Mapping):
        return [FieldProblem(name, value, "allowed: None, 'default' or a dict of rules, such as {'black': 'fail'}")]
    return [FieldProblem(f"{name}[{rule!r}]", verdict, allowed) for rule, verdict, allowed in verdict_problems(value)]


def landing_problems(task: Any) -> list[FieldProblem]:
    """Return what is wrong with a task's ``check=``, which is not templated."""
    if task.check is None:
        return []
    if arguments.is_template(task.check):
        return [FieldProblem("check", task.check, "is not templated; allowed: None, 'default' or a dict of rules")]
    problems = check_problems("check", task.check)
    if task.output_path is None:
        problems.append(FieldProblem("check", task.check, "needs output_path: only what has landed can be checked"))
    return problems


def rules_of(check: CheckRules) -> Rules:
    """Return the rules of ``check=``."""
    return Rules(dict(check) if isinstance(check, Mapping) else {})


def asked_of(request: VeoRequest) -> Asked:
    """Return what a request asked for, APIMart's defaults included."""
    asked = asked_for(request)
    seconds = asked.get("duration")
    return Asked(
        duration_seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
        resolution=_text(asked.get("resolution")),
        aspect_ratio=_text(asked.get("aspect_ratio")),
        audio=True if asked.get("generate_audio") is True else None,
    )


def before_paying(check: CheckRules) -> None:
    """Check, before anything is paid, that the video can be checked.

    :raises ConfigurationError: if the extra ``media`` is missing.
    """
    if check is not None:
        require_media("check=")


def check_landed(
    check: CheckRules, record: Record, landed: Sequence[LandedVideo], request: VeoRequest, context: Any
) -> None:
    """Check the landed videos of a generation, and fail or skip the task if one of them is not good.

    :raises GenerationCheckError: if a rule whose verdict is ``fail`` is broken.
    :raises AirflowSkipException: if the gravest verdict is ``skip``.
    :raises ApimartError: if the check itself cannot be made; the generation stays known.
    """
    require_media("check=")
    checked = []
    for video in landed:
        source = Source(file_of(video.path, "video"), video.sha256)
        try:
            checked.append(check_video(source, asked_of(request), rules_of(check)))
        except ApimartError as error:
            error.message = f"{video.path} could not be checked: {error.message}"
            raise
    tell(context, checked)
    worst = gravest(checked)
    if worst in (Verdict.FAIL, Verdict.SKIP):
        cost = "an amount that APIMart did not tell" if record.cost_usd is None else f"{record.cost_usd:g} USD"
        text = (
            f"Generation {record.generation_id} has landed, but its check says {worst}: {broken_text(checked, worst)}. "
            f"It was charged with {cost}, its videos stay where they are, and no try pays for another one by itself. "
            f'To go on with it, set the rule to "warn" or "off" in check= and clear the task; {REGENERATE_HINT}'
        )
        if worst is Verdict.SKIP:
            raise AirflowSkipException(f"{text}.")
        raise GenerationCheckError(f"{text}.", generation_id=record.generation_id or "")


def tell(context: Any, checked: Sequence[Checked]) -> None:
    """Log what is broken, and push the reports as XCom: a task that fails or is skipped returns none."""
    for one in checked:
        for finding in one.report.broken(Verdict.WARN):
            log.warning("%s: %s.", one.source.place.uri, finding)
    reports = [{"path": one.source.place.uri, "sha256": one.sha256, **one.as_json()} for one in checked]
    context["ti"].xcom_push(key=REPORT_KEY, value=reports)


def gravest(checked: Sequence[Checked]) -> Verdict:
    """Return the gravest verdict of several reports."""
    order = list(Verdict)
    return max((one.report.verdict for one in checked), key=order.index, default=Verdict.OK)


def broken_text(checked: Sequence[Checked], verdict: Verdict) -> str:
    """Return which rules are broken with a verdict, and in which videos."""
    return "; ".join(
        f"{one.source.place.uri}: {', '.join(map(str, one.report.broken(verdict)))}"
        for one in checked
        if one.report.broken(verdict)
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
