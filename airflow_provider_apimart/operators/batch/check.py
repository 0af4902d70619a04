"""``check=`` of a batch: checks the videos of its landed rows on the worker, once all rows have their outcome.

A row that fails its check is paid for, landed and kept. The journal goes on saying "landed", so no try pays for it
again; only the manifest says that its videos are not good.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.batch.manifest import RowCheck
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.check import Asked, Rules, Verdict
from airflow_provider_apimart.media.checking import Checked, check_video
from airflow_provider_apimart.media.extra import require_media
from airflow_provider_apimart.media.parallel import each, processors
from airflow_provider_apimart.media.workshop import Source
from airflow_provider_apimart.operators.checks import CheckRules, asked_of, broken_text, gravest, rules_of

log = logging.getLogger(__name__)

SAY_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class _Row:
    position: int
    sources: tuple[tuple[str, str], ...]
    asked: Asked


def check_rows(check: CheckRules, plan: Plan, ledger: Ledger) -> dict[int, RowCheck]:
    """Check the videos of all landed rows, several at once, and return what is said of each row, by its position.

    A video that was checked before is not decoded again.

    :raises ConfigurationError: if the extra ``media`` is missing.
    """
    require_media("check=")
    rules, found, said = rules_of(check), dict[int, RowCheck](), time.monotonic()
    for row, told in each(lambda row: _checked(row, rules), _landed(plan, ledger), processors()):
        found[row.position] = told
        if time.monotonic() - said >= SAY_EVERY_SECONDS:
            said = time.monotonic()
            log.info("Checked %d landed rows.", len(found))
    return found


def _landed(plan: Plan, ledger: Ledger) -> Iterator[_Row]:
    for planned in plan.rows():
        state = ledger.rows.get(plan.index.slots[planned.position])
        if state is not None and state.row_outcome.good and state.landed:
            request = plan.as_sent(planned, state.fallback_model).request
            sources = tuple((str(video["path"]), str(video["sha256"])) for video in state.landed)
            yield _Row(planned.position, sources, asked_of(request))


def _checked(row: _Row, rules: Rules) -> RowCheck:
    checked: list[Checked] = []
    for path, sha256 in row.sources:
        try:
            checked.append(check_video(Source(file_of(path, "video"), sha256), row.asked, rules))
        except ApimartError as error:
            # A retry would find the same: the file is another one, or takes too much to be decoded.
            verdict = str(Verdict.FAIL) if error.terminal else None
            return RowCheck(verdict, f"{path} could not be checked: {error}")
    worst = gravest(checked)
    return RowCheck(str(worst), "" if worst is Verdict.OK else broken_text(checked, worst))
