"""The end of a batch: counts, metrics, and whether the task succeeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from airflow_provider_apimart._compat import AirflowException, AirflowFailException
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.manifest import Totals
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.states import Ledger, Outcome, record_of
from airflow_provider_apimart.generation.catalogue.gone import account_models, advice
from airflow_provider_apimart.generation.pricing.balance import held_by, left
from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch
from airflow_provider_apimart.hooks.reports import metrics

_METRICS: dict[Outcome, Literal["completed", "failed", "rejected", "empty", "parked"]] = {
    Outcome.LANDED: "completed",
    Outcome.UNLANDED: "completed",
    Outcome.FAILED: "failed",
    Outcome.REJECTED: "rejected",
    Outcome.MODEL_GONE: "failed",
    Outcome.EMPTY: "empty",
    Outcome.PARKED: "parked",
}
_ADVICE = {
    StopKind.BALANCE: "Top up the account or raise the key's quota, then clear the task: it goes on with what is left",
    StopKind.CREDENTIALS: "Put a valid API key into the connection, then clear the task: it goes on with what is left",
    StopKind.CONNECTION: "Correct the connection, then clear the task: it goes on with what is left",
    StopKind.DEADLINE: "The next try, or a clear, goes on with what is left and pays for no row again; a longer "
    "execution_timeout gives each try more time",
    StopKind.BUDGET: "Raise max_cost_usd, then clear the task: it goes on with what is left",
    StopKind.SHARED_BUDGET: "No try pays again for what was paid for: the next one goes on with what is left",
}


#: After these, no try can poll the generations that are paid for, until a person corrects the connection.
_UNREACHABLE = (StopKind.CREDENTIALS, StopKind.CONNECTION)


class BatchIncompleteError(AirflowException):
    """Rows of a batch have no videos yet, and another try can help."""


def stop_of(event: Any) -> Stop | None:
    """Return why the trigger stopped submitting; ``None`` if it did not.

    :raises BatchIncompleteError: if its engine broke off.
    """
    if not isinstance(event, Mapping) or event.get("reason") != "ended":
        error = event.get("error") if isinstance(event, Mapping) else None
        raise BatchIncompleteError(
            f"The batch's trigger broke off: {error or 'its event cannot be read'}. What it has paid for is in the "
            "journal; the next try goes on from there without paying again"
        )
    stop = event.get("stop")
    if stop is None:
        return None
    until = stop.get("until")
    return Stop(StopKind(stop["kind"]), str(stop["text"]), bool(stop["final"]), None if until is None else float(until))


def plan_uri_of(kept: str | None, event: Any) -> str:
    """Return where the plan is: from the deferral's kwargs, or from the event if Airflow dropped the kwargs.

    :raises BatchIncompleteError: if neither names it.
    """
    told = event.get("plan_uri") if isinstance(event, Mapping) else None
    if kept or (isinstance(told, str) and told):
        return kept or str(told)
    raise BatchIncompleteError(
        "Airflow forgot which plan this task worked off, and the trigger's event does not name it. What was paid for "
        "is in the batch's journal; the next try goes on from there without paying again"
    )


@contextmanager
def keeping_what_is_paid() -> Iterator[None]:
    """Turn an error into one that Airflow retries, and that says where the paid rows are kept.

    For errors that come once rows may have been paid for.

    :raises BatchIncompleteError: instead of the error.
    """
    try:
        yield
    except ApimartError as error:
        raise BatchIncompleteError(
            f"{str(error).rstrip('.')}. Rows may have been paid for by then, in this try or before: all of that is in "
            "the batch's journal. The next try, or a clear, goes on from there, lands what is missing, and pays for no "
            "row again."
        ) from error


def told(totals: Totals) -> str:
    """Return one line that sums up how a batch has ended."""
    parts = [f"{count:,} {outcome}" for outcome, count in totals.outcomes.most_common()]
    return (
        f"{totals.good:,} of {totals.rows:,} rows have their videos ({', '.join(parts)}); "
        f"{totals.cost_usd:,.2f} USD charged, {totals.estimated_usd:,.2f} USD estimated"
        f"{_fallbacks(totals)}{_unlike(totals)}"
    )


def _fallbacks(totals: Totals) -> str:
    return "".join(
        f". {count:,} rows went to fallback_model={other!r}, since {model!r} is gone"
        for (model, other), count in totals.fallbacks.items()
    )


def _unlike(totals: Totals) -> str:
    if not totals.mismatched:
        return ""
    return f". {totals.mismatched:,} rows have videos that are not what was asked for: {', '.join(totals.mismatches)}"


def result(totals: Totals, manifest_uri: str) -> dict[str, Any]:
    """Return the operator's XCom. It is small, whatever the table's size."""
    return {
        "manifest": manifest_uri,
        "rows": totals.rows,
        "landed": totals.outcomes[Outcome.LANDED],
        "reused": totals.outcomes[Outcome.REUSED],
        "failed": totals.failed,
        "left": totals.left,
        "mismatched": totals.mismatched,
        "outcomes": {str(outcome): count for outcome, count in sorted(totals.outcomes.items())},
        "cost_usd": round(totals.cost_usd, 6),
        "estimated_cost_usd": round(totals.estimated_usd, 6),
        "fallbacks": totals.fallbacks.total(),
    }


def refuse(
    totals: Totals,
    stop: Stop | None,
    manifest_uri: str,
    max_failed_share: float,
    held: str | None,
    on_mismatch: OnMismatch = "warn",
    models: str | None = None,
) -> None:
    """Fail the task if too many rows have no video.

    :param held: the balance of the account and the key, after a 402.
    :param on_mismatch: with "fail", landed rows whose videos differ from their requests count as failed.
    :param models: what to do about models that are gone.
    :raises AirflowFailException: if another try would end the same way.
    :raises BatchIncompleteError: if another try can help.
    """
    unlike = totals.mismatched if on_mismatch == "fail" else 0
    missing = totals.failed + totals.left + unlike
    # max_failed_share allows for failed rows, but not for a paid video that still has to be landed.
    allowed = stop is None and totals.left == 0 and totals.owed == 0 and totals.unchecked == 0
    if (missing == 0 and totals.unchecked == 0) or (allowed and missing <= max_failed_share * totals.rows + 1e-6):
        return
    parts = [told(totals)]
    if stop is not None:
        parts.append(f"No more rows were submitted: {stop.text.rstrip('.')}")
    if totals.left:
        parts.append(f"{totals.left:,} rows are left to do, for about {totals.left_usd:,.2f} USD by list price")
        if stop is None and totals.left_note:
            parts.append(f"The first was left because of this: {totals.left_note.rstrip('.')}")
    if held:
        parts.append(held)
    if models:
        parts.append(models)
    if totals.errors:
        parts.append(f"First errors: {'; '.join(error.rstrip('.') for error in totals.errors)}")
    if unlike:
        parts.append(
            f'on_mismatch="fail" counts {unlike:,} landed rows as failed. Their videos are paid for, stay where they '
            'are, and are not paid for again by any try: take them with on_mismatch="warn", or put their rows into a '
            "table of another task to pay for others"
        )
    if bad := totals.outcomes[Outcome.CHECK_FAILED]:
        parts.append(
            f"{bad:,} rows fail their check. Their videos are paid for, stay where they are, and are not paid for "
            'again by any try: take them by setting the rule to "warn" or "off" in check=, or put their rows into a '
            "table of another task to pay for others"
        )
    if totals.unchecked:
        parts.append(f"{totals.unchecked:,} landed rows could not be checked this time: {totals.unchecked_note}")
    parts.append(f"All of it is in {manifest_uri}")
    hopeless = totals.left == 0 and totals.hopeless == totals.failed
    final = (hopeless and not totals.unchecked) or (stop is not None and stop.final)
    if totals.owed and not (stop is not None and stop.kind in _UNREACHABLE):
        final = False
        parts.append(f"{totals.owed:,} generations are, or may be, paid for and not landed; the next try lands them")
    if stop is not None and stop.kind in _ADVICE:
        parts.append(_ADVICE[stop.kind])
    elif hopeless and not totals.unchecked:
        parts.append("A retry cannot mend these rows: correct the table, or allow for them with max_failed_share")
    else:
        parts.append("The next try, or a clear, goes on with the rows that are missing and pays for no other again")
    text = ". ".join(parts) + "."
    if final:
        raise AirflowFailException(text)
    raise BatchIncompleteError(text)


def what_is_held(client: ApimartClient) -> str:
    """Return the balance of the account and the key, as text for people. Never raises."""
    try:
        return f"The account holds {left(client.account_balance())}, the key may spend {left(client.key_balance())}"
    except ApimartError as error:
        if (told := held_by(error)) is not None:
            return f"The account, or the key, holds {left(told)}"
        return f"APIMart does not tell the balance now: {error}"


def what_models_there_are(gone: Mapping[str, int], client: ApimartClient) -> str:
    """Return what to do about models that are gone. Never raises."""
    first, *_ = gone
    rows = ", ".join(f"{model!r} ({count:,} rows, not charged)" for model, count in gone.items())
    return f"APIMart no longer has {rows}. {advice(first, account_models(client))}"


def count(plan: Plan, ledger: Ledger, *, since: float) -> None:
    """Send metrics for the generations that ended in this try."""
    for planned in plan.rows():
        state = ledger.rows.get(plan.index.slots[planned.position])
        if state is None or state.at < since or state.row_outcome not in _METRICS:
            continue
        if state.row_outcome is Outcome.MODEL_GONE and state.generation_id is None:
            # No generation was made, so none has failed.
            continue
        row = plan.as_sent(planned, state.fallback_model)
        record = record_of(state, fingerprint=row.fingerprint, idempotency_key="", model=row.request.model)
        metrics.count(_METRICS[state.row_outcome], record, videos=len(state.landed or ()))
