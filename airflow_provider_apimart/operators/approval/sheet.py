"""``VideoSheetApprovalOperator``: a person decides about a whole table of videos in one form, by ticking."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.hooks.decisions import record_decision
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.hooks.stores.approval_stores import KeptStore, sheet_store
from airflow_provider_apimart.links import pages
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.approval import values
from airflow_provider_apimart.operators.approval.asking import (
    CHANGED,
    XCOM_KEY,
    AskingOperator,
    OnReject,
    beside_each,
    candidate_of,
    with_poster,
)
from airflow_provider_apimart.operators.approval.table import Row, manifest_of, rows_of, videos_problems, write_decided
from airflow_provider_apimart.operators.task import identity_of
from airflow_provider_apimart.operators.videos import resolve_all
from airflow_provider_apimart.publishing.approval.case import Candidate
from airflow_provider_apimart.publishing.approval.sheet import (
    APPROVE_TICKED,
    MOST_ROWS,
    REJECT_ALL,
    Box,
    Sheet,
    Ticks,
    read_ticks,
    same_form,
    sheet_body,
    sheet_fields,
)
from airflow_provider_apimart.publishing.decision import Decision, Verdict

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: One video of the table, and the row that it is from.
Entries = Sequence[tuple[Row, Candidate]]


class VideoSheetApprovalOperator(AskingOperator):
    """Ask a person which videos of a table may be published, in one form with a box for each, and wait for the answer.

    The form shows poster, player link, prompt, cost and check of up to 50 videos. The ticked ones are approved and all
    others are rejected, or all are rejected; nothing is ticked beforehand. **A video is published only after an
    approval**: the decisions are written beside the videos (``<video>.decision.json``), where every publish operator
    looks. Without an answer in time, none is approved. An answer that cannot be used decides nothing: the person is
    asked again. A retry goes on with what was decided; a clear asks anew. For texts to edit and further takes map
    :class:`.VideoApprovalOperator`.

    Returns (XCom) the approved videos, to map a publish operator over (``.expand(video=sheet.output)``), each as
    ``{"row", "labels", "generation_id", "cost_usd", "decision": "approved", "by": {"id", "name"}, "at", "reason",
    "changes", "video_sha256", "poster_sha256", "videos": [{"path", "bytes", "sha256", "duration_seconds", "width",
    "height", "has_audio", "url", "expires_at"}]}``. ``row`` is the row of the manifest, or the number in the list. The
    XCom ``approval`` tells how it stands, and names the decided manifest.

    :param videos: what to decide about: a batch's output or manifest (JSONL or Parquet; the rows whose videos landed),
        or a list of what ``video=`` of the publish operators takes. Of several videos of a generation each has a box.
        With a manifest, ``<manifest>.decided.jsonl`` beside it holds its rows with the decisions.
    :param subject: the headline; ``None`` makes one.
    :param body: Markdown above the form's own text.
    :param on_reject: ``"skip"``: if none is approved, this task and what depends on it are skipped. ``"fail"``: it
        fails, without a retry.
    :param response_timeout: how long to wait for an answer, each time that is asked. Then no video is approved.
        ``None`` waits for ever.
    :param assigned_users: the only ones who may answer, as ``{"id", "name"}`` (one or a list).
    :param notifiers: as in :class:`.VideoApprovalOperator`.
    """

    template_fields: Sequence[str] = ("subject", "body", "videos", "on_reject")
    template_fields_renderers: ClassVar[dict[str, str]] = {"body": "md"}
    object_fields: ClassVar[Collection[str]] = ("videos",)
    needed_fields: ClassVar[Collection[str]] = ("videos",)
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        videos: Any,
        subject: str | None = None,
        body: str | None = None,
        on_reject: OnReject = "skip",
        response_timeout: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        if "options" in kwargs:
            raise TypeError("VideoSheetApprovalOperator makes the form by itself: options= cannot be given")
        super().__init__(
            subject=subject,
            body=body,
            options=[APPROVE_TICKED, REJECT_ALL],
            reject=REJECT_ALL,
            on_reject=on_reject,
            response_timeout=response_timeout,
            **kwargs,
        )
        self.videos = videos
        arguments.refuse(arguments.owner_of(self), self._problems(arguments.unless_late(self)))

    def _problems(self, check: arguments.Check) -> list[FieldProblem]:
        found = check(videos_problems, "videos", self.videos)
        return found + check(arguments.choice_problems, "on_reject", self.on_reject, ("skip", "fail"))

    # --- the ends of the task -------------------------------------------------------------------------------------

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Ask, or go on with what an earlier try has decided."""
        with self._beginning(context):
            entries, store, sheet, _ = self._known(context)
            if sheet.decision is None:
                return self._ask(context, store, sheet, entries)
            return self._decided(context, sheet, entries)

    def execute_complete(self, context: Context, event: Any) -> list[dict[str, Any]]:
        """Read the answer, and act on it.

        :param event: Airflow's, with ``chosen_options``, ``params_input``, ``responded_at`` and ``responded_by_user``.
        """
        with self._resumed():
            entries, store, sheet, asked = self._known(context)
            if not asked:
                note = f"the last answer is about another table: {CHANGED}"
                return self._ask(context, store, sheet.but(note=note), entries)
            if sheet.decision is None:
                ticks = read_ticks(event, len(entries), datetime.now(UTC))
                if ticks.answer.choice == "unusable":
                    note = f"the last answer could not be used: {ticks.answer.problem}. Nothing was decided"
                    return self._ask(context, store, sheet.but(note=note), entries)
                sheet = self._with_decision(context, sheet, ticks)
                # Kept first: the next try repeats the rest.
                store.save(sheet)
            return self._decided(context, sheet, entries)

    # --- the sheet ------------------------------------------------------------------------------------------------

    def _known(self, context: Context) -> tuple[Entries, KeptStore[Sheet], Sheet, bool]:
        """Return the videos, what is known about the question (kept, or new), and whether the last question was about
        these videos: ticks on any other table decide nothing.
        """
        entries = self._entries()
        identity = identity_of(context)
        store = sheet_store(context, file_of(entries[0][1].path, "videos"), identity)
        digest = _digest(entries)
        known = store.load()
        asked = known is not None and known.digest == digest
        if known is not None and asked and known.epoch >= identity.clear_epoch:
            return entries, store, known, True
        # Never asked, about another table, or cleared: ask anew.
        sheet = Sheet(epoch=identity.clear_epoch, digest=digest, form=known.form if known is not None else ())
        store.save(sheet)
        return entries, store, sheet, asked

    def _entries(self) -> Entries:
        found: list[tuple[Row, Candidate]] = []
        for row in rows_of(self.videos):
            for source in resolve_all(row.video):
                found.append((row, candidate_of(source, len(found) + 1, values.cost_of(row.video))))
                if len(found) > MOST_ROWS:
                    raise InvalidParameterError((_too_many(),))
        if not found:
            allowed = "allowed: at least one landed video"
            raise InvalidParameterError((FieldProblem("videos", manifest_of(self.videos) or "nothing", allowed),))
        return found

    # --- to ask and to decide -------------------------------------------------------------------------------------

    def _ask(self, context: Context, store: KeptStore[Sheet], sheet: Sheet, entries: Entries) -> list[dict[str, Any]]:
        candidates = [candidate for _, candidate in entries]
        about = beside_each(candidates)
        candidates = list(map(with_poster, candidates, about))
        # What is shown now is what a decision is about.
        posters = {one.number: one.poster_sha256 for one in candidates if one.poster_sha256 is not None}
        boxes = tuple(Box.of(row.name, one, each.prompt) for (row, one), each in zip(entries, about, strict=True))
        sheet = sheet.but(posters=posters, form=same_form(sheet.form, boxes))
        store.save(sheet)
        own = pages.place_of(context["ti"])
        shown = list(map(values.shown, about))
        self.note = sheet.note
        with_one = next((number for number, each in enumerate(about) if each.poster is not None), 0)
        self._show_poster(about[with_one], own, with_one + 1)
        self._tell(context, sheet, "asked", entries)
        self._put(
            context,
            options=[APPROVE_TICKED, REJECT_ALL],
            subject=f"Publish which of these {len(candidates)} videos?",
            body=sheet_body(sheet.note, candidates, shown, own, self.body or "", self._deadline),
            fields=sheet_fields(candidates, shown),
        )

    def _with_decision(self, context: Context, sheet: Sheet, ticks: Ticks) -> Sheet:
        answer = ticks.answer
        verdict = {"approve": Verdict.APPROVED, "reject": Verdict.REJECTED}.get(answer.choice, Verdict.TIMEOUT)
        decision = self._said(context, verdict, None, answer.by, answer.at, reason=answer.reason)
        return sheet.but(decision=decision, ticked=ticks.ticked, note="")

    def _decided(self, context: Context, sheet: Sheet, entries: Entries) -> list[dict[str, Any]]:
        """Write the decisions beside the videos, tell them, and end the task as they say. Repeatable."""
        if sheet.decision is None:
            raise AssertionError("nothing is decided yet")
        said = {candidate.number: sheet.said_about(candidate) for _, candidate in entries}
        # What must not be published first: a crash after some lines then leaves less open.
        for _, candidate in sorted(entries, key=lambda one: one[1].number in sheet.ticked):
            record_decision(file_of(candidate.path, "videos"), said[candidate.number])
        decided = None
        manifest = manifest_of(self.videos)
        if manifest is not None:
            decided = write_decided(manifest, [(row, said[one.number]) for row, one in entries])
        self._tell(context, sheet, "decided", entries, decided)
        approved = [(row, one) for row, one in entries if said[one.number].decision is Verdict.APPROVED]
        self.log.info("%d of %d videos: %s.", len(approved), len(entries), sheet.decision)
        if not approved:
            what = f"None of {len(entries)} videos is"
            self._not_published(sheet.decision, what, (one.path for _, one in entries))
        return [_result(row, one, said[one.number]) for row, one in approved]

    def _tell(self, context: Context, sheet: Sheet, state: str, entries: Entries, manifest: str | None = None) -> None:
        """Tell in an XCom how it stands, for our pages and for tasks that ask."""
        decision = sheet.decision
        videos = [
            {
                "n": one.number,
                **one.model_dump(mode="json", exclude={"number", "poster_sha256"}),
                "row": row.name,
                "poster_sha256": sheet.posters.get(one.number),
                "decision": None if decision is None else str(sheet.said_about(one).decision),
            }
            for row, one in entries
        ]
        context["ti"].xcom_push(
            key=XCOM_KEY,
            value={
                "version": values.STANDING_VERSION,
                "state": state,
                "note": sheet.note,
                "told_at": datetime.now(UTC).isoformat(),
                "videos": videos,
                "decision": None if decision is None else decision.model_dump(mode="json"),
                "ticked": list(sheet.ticked),
                "manifest": manifest,
            },
        )


def _result(row: Row, candidate: Candidate, decision: Decision) -> dict[str, Any]:
    return {
        "row": row.name,
        "labels": dict(row.labels),
        "generation_id": candidate.generation_id,
        "cost_usd": candidate.cost_usd,
        **values.told_of(decision),
        "videos": [candidate.entry],
    }


def _digest(entries: Entries) -> str:
    """Return what stands for the videos that are asked about: the same contents at the same places, in this order."""
    about = [(one.path, one.sha256) for _, one in entries]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _too_many() -> FieldProblem:
    allowed = (
        f"allowed: up to {MOST_ROWS} videos in one sheet; hooks.manifest.parcels(path, size={MOST_ROWS}) cuts them"
    )
    return FieldProblem("videos", f"more than {MOST_ROWS}", f"{allowed}, to map this task over")
