"""Turns a request into a generation that is paid for once. This is the only file that sends the paid POST.

Why it never pays twice:

1. :func:`.decide.decide` alone decides what to do, from the record and APIMart's own answer.
2. The intent (key, number, uploaded frames) is saved *before* the POST. A process that dies after the POST leaves the
   key behind. The next try sends the identical body with the identical key, and APIMart answers with the id of the
   first generation.
3. The id is saved right after the POST. From then on tries only poll.
4. The number increases, and with it the key changes, only after APIMart has reported the last generation as failed.
5. An error that does not say "nothing was done" leaves the intent as it is.
6. A fallback model's generation is paid for only after it is recorded that the wanted model's was not made or not
   charged, and under a key of its own (:mod:`.fallback`).
7. Two simultaneous tries (a zombie and its retry) compute the same key, so APIMart gives both the same generation.
   Neither overwrites what the other has saved in the meantime, as far as a store without a compare-and-swap allows.

A crash just before the POST costs nothing. After a crash just after it, the replay finds the generation. The crash
matrix in the tests kills a process at each of these lines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.models import Generation, Submission
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.catalogue import gone
from airflow_provider_apimart.generation.pricing.balance import missing_balance
from airflow_provider_apimart.generation.purchase.decide import KEY_LIFE, Action, Decision, Policy, decide
from airflow_provider_apimart.generation.purchase.fallback import Fallback, Wanted, is_due, is_taken_up
from airflow_provider_apimart.generation.purchase.identity import Identity, account_mark, idempotency_key
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.purchase.kept import KeptRecord
from airflow_provider_apimart.generation.purchase.record import (
    MAX_ID_LENGTH,
    MAX_MODEL_LENGTH,
    MAX_PATH_LENGTH,
    Record,
    RecordState,
    RecordStore,
    clipped,
)
from airflow_provider_apimart.generation.purchase.transitions import nothing_was_done, refused, settled, submitted
from airflow_provider_apimart.generation.purchase.uploading import uploaded

if TYPE_CHECKING:
    # Its ledger needs file systems, which take a while to import.
    from airflow_provider_apimart.generation.purchase.spending import Spending

log = logging.getLogger(__name__)

#: If no record outlived the try, replays step through the generations that have failed: this many at most.
MAX_NUMBER = 50


@dataclass(frozen=True)
class Obtained:
    """Where the generation stands after :meth:`Purchase.obtain`.

    :param decision: WAIT, LAND, KEEP, FAIL or REFUSE.
    :param view: APIMart's answer, if it was polled and answered.
    """

    decision: Decision
    record: Record
    view: Generation | None


class Purchase:
    """Obtains the one generation of a request.

    :param images: the local frames by field, read and checked.
    :param output_path: where the videos are to go. Only for the record, so that others can land a parked generation.
    :param apimart_conn_id: the connection that pays. Only for the record, for the same reason.
    :param approve: called with each request that may be paid for (the fallback's, too), before a new generation is paid
        for, but not for one that is already paid for. It raises to refuse the payment.
    :param fallback: what to pay for if the model is gone.
    :param spending: the budget that the generation is paid from.
    """

    def __init__(
        self,
        *,
        client: ApimartClient,
        store: RecordStore,
        identity: Identity,
        request: VeoRequest,
        images: Mapping[str, LocalImage],
        policy: Policy,
        output_path: str | None = None,
        apimart_conn_id: str | None = None,
        approve: Callable[[VeoRequest], None] | None = None,
        fallback: Fallback | None = None,
        spending: Spending | None = None,
    ) -> None:
        self.approve = approve
        self.spending = spending
        self.client = client
        self.store = store
        self.kept = KeptRecord(store)
        self.identity = identity
        self._first = Wanted(request, images), fallback
        self._begin()
        self.policy = policy
        self.output_path = output_path
        self.apimart_conn_id = apimart_conn_id
        self.account = account_mark(client.settings.base_url, client.settings.api_key)

    @property
    def request(self) -> VeoRequest:
        """The request of the generation that is obtained: the fallback's, once the model has turned out to be gone."""
        return self.wanted.request

    def obtain(self, files_whole: Callable[[Record], bool] = lambda record: False) -> Obtained:
        """Submit, resend or re-attach until there is a generation to wait for, land or keep, or an error.

        :param files_whole: returns whether the files of a landed record are whole and where they belong.
        :raises ApimartError: from the submission; the record says what is known about the money.
        """
        record = self.kept.load()
        known_before = False
        while True:
            self._take_up(record)
            record, view = self._look(record)
            if known_before and record and view and view.created_at:
                # Deadlines count from the first submission. Without a record of it, only APIMart knows when it was.
                record = record.but(submitted_at=min(view.created_at, record.submitted_at or view.created_at))
            same = record is not None and record.fingerprint == self.fingerprint
            whole = bool(same and record and record.landed and files_whole(record))
            decision = decide(
                record,
                fingerprint=self.fingerprint,
                clear_epoch=self.identity.clear_epoch,
                policy=self.policy,
                view=view,
                now=datetime.now(UTC),
                files_whole=whole,
                account=self.account,
            )
            if self.fallback is not None and record is not None and is_due(record, self.fingerprint, decision):
                record = self._change_over(self.fallback, record, view)
                continue
            if decision.action in (Action.SUBMIT, Action.KEEP, Action.REFUSE):
                self._tell_budget(record, view)
            if decision.action is Action.SUBMIT:
                self._approve()
                record, ours = self._intend(record, decision)
                if not ours:
                    self._begin()
                    continue
                try:
                    record, known_before, view = self._pay(record, doubtful=False)
                except (errors.ModelGoneError, errors.NoChannelError) as error:
                    record = self._after_refusal(record, error)
                    continue
            elif decision.action is Action.RESEND and record is not None:
                log.warning("%s: sending the identical request again under its key.", _sentence(decision.reason))
                if self.spending is not None:
                    self.spending.note_sent(self.client, self.request, record)
                record, known_before, view = self._pay(record, doubtful=True)
            else:
                if record is None:
                    raise AssertionError(f"a decision to {decision.action} needs a record")
                return Obtained(decision, self._seen(record), view)
            if view is not None and view.is_final:
                reason = f"generation {record.generation_id} was completed at once"
                return Obtained(Decision(Action.LAND, reason), record, view)
            if not known_before:
                decision = Decision(Action.WAIT, f"generation {record.generation_id} was submitted")
                return Obtained(decision, record, None)
            if record.number > MAX_NUMBER:
                raise errors.GenerationRefusedError(
                    f"{MAX_NUMBER} generations of this request have failed at APIMart; giving up. Nothing was "
                    "charged for them",
                    generation_id=record.generation_id or "",
                )

    def _approve(self) -> None:
        if self.approve is not None:
            self.approve(self.request)
            if self.fallback is not None:
                # An option that could not be used is told before anything is paid.
                self.approve(self.fallback.wanted.request)

    def _tell_budget(self, record: Record | None, view: Generation | None) -> None:
        """Tell the budget how an earlier generation has ended: the try that saw its end may have died before it did."""
        if self.spending is None or record is None:
            return
        if view is not None and view.is_final:
            record = settled(record, view)[1]
        self.spending.settle(record)

    def _begin(self) -> None:
        """Want what the task wants first."""
        self.wanted, self.fallback = self._first
        self.fallback_from: str | None = None
        self.fingerprint = self.wanted.fingerprint

    def _take_up(self, record: Record | None) -> None:
        """Go on with the fallback if an earlier try, or another one, has changed over to it."""
        fallback = self.fallback
        if fallback and is_taken_up(record, self.request, fallback, self.identity.clear_epoch, self.policy):
            self._use(fallback)

    def _use(self, fallback: Fallback) -> None:
        self.fallback_from = self.request.model
        self.wanted, self.fallback = fallback.wanted, None
        self.fingerprint = self.wanted.fingerprint

    def _change_over(self, fallback: Fallback, record: Record, view: Generation | None) -> Record:
        """Use the fallback from now on. That the model is gone is recorded first: a later try then does the same."""
        if record.state is not RecordState.MODEL_GONE and view is not None:
            record = settled(record, view)[1]
            self.kept.save_if_unchanged(record)
        if self.spending is not None:
            self.spending.settle(record)
        log.warning(
            "model=%r is gone (%s). %s not made and not charged. fallback_model=%r takes its place: a new generation, "
            "which is paid for, under its own key.",
            self.request.model,
            (record.note or "no reason given").rstrip("."),
            f"Generation {record.generation_id} was" if record.generation_id else "Its generation was",
            fallback.model,
        )
        self._use(fallback)
        return record

    def _after_refusal(self, record: Record, error: ApimartError) -> Record:
        """Return the record to go on with after a submission was refused because of its model, or raise the error."""
        if self.fallback is None or error.charge is not Charge.NO:
            raise error
        current = self.kept.from_another_try()
        if current is not None:
            return current
        if isinstance(error, errors.ModelGoneError) or self.fallback.at_last:
            return refused(record, error, model_gone=True)
        raise error

    def _seen(self, record: Record) -> Record:
        """Record that a try reused the generation after this clear, so that a later change to "regenerate" does not
        pay for this clear.
        """
        if (record.clear_epoch or record.epoch) < self.identity.clear_epoch and record == self.kept.known:
            record = record.but(clear_epoch=self.identity.clear_epoch)
            self.kept.save(record)
        return record

    def _look(self, record: Record | None) -> tuple[Record | None, Generation | None]:
        """Poll a recorded generation; return its record, and what APIMart says. A missing answer is no verdict."""
        if record is None or record.generation_id is None or record.fingerprint != self.fingerprint:
            return record, None
        if record.state not in (RecordState.SUBMITTED, RecordState.LANDED):
            return record, None
        try:
            if record.generation_id == record.idempotency_key:
                return self._replayed(record)
            return record, self.client.generation(record.generation_id)
        except ApimartError as error:
            log.warning("APIMart does not say how generation %s is: %s", record.generation_id, error)
            return record, None

    def _replayed(self, record: Record) -> tuple[Record, Generation | None]:
        """Return a result that APIMart gave with its first answer: it has no id, and only a replay gives it again."""
        if self.policy.on_unknown_submit == "fail":
            log.warning(
                "The video came with APIMart's answer, and only the same request again would give it again. With "
                'on_unknown_submit="fail" nothing is sent: look in APIMart\'s console for idempotency key %s.',
                record.idempotency_key,
            )
            return record, None
        if datetime.now(UTC) - record.intent_at >= KEY_LIFE or record.account not in (None, self.account):
            return record, None
        body = self.request.body(record.uploads)
        answer = self.client.submit(body, record.idempotency_key, remix_of=self.request.remix_of)
        if answer.result is None:
            # Now there is an id, and what it stands for is paid for.
            record = submitted(record, answer, datetime.now(UTC))
            self._remember(record, answer)
        return record, answer.result

    def _intend(self, old: Record | None, decision: Decision) -> tuple[Record, bool]:
        """Save the intent to pay. Return the record, and whether it is this try's own.

        Uploads take time. If another try has saved a record in the meantime, that record is returned instead, and the
        caller must decide again.
        """
        same = old is not None and old.fingerprint == self.fingerprint
        previous = old.previous if old else ()
        if old is not None and not (same and old.epoch == decision.epoch):
            previous = old.as_previous()
            if old.state in (RecordState.SUBMITTED, RecordState.INTENT):
                log.warning(
                    "%s. The earlier generation %s was or may have been paid for; it is left as it is, and stays in "
                    "the record.",
                    _sentence(decision.reason),
                    old.generation_id or f"under key {old.idempotency_key}",
                )
        key = idempotency_key(self.identity, epoch=decision.epoch, number=decision.number, fingerprint=self.fingerprint)
        uploads, uploaded_at = uploaded(self.client, self.wanted.images, old if same else None, datetime.now(UTC))
        record = Record(
            state=RecordState.INTENT,
            fingerprint=self.fingerprint,
            idempotency_key=key,
            epoch=decision.epoch,
            clear_epoch=self.identity.clear_epoch,
            number=decision.number,
            model=clipped(self.request.model, MAX_MODEL_LENGTH),
            account=self.account,
            fallback_from=self.fallback_from and clipped(self.fallback_from, MAX_MODEL_LENGTH),
            uploads=uploads,
            uploaded_at=uploaded_at,
            # Taken after the uploads, which can be slow: deadlines and the key's life count from the paid call, and so
            # does the budget's period.
            intent_at=datetime.now(UTC),
            asked_by=self.identity.place,
            output_path=clipped(self.output_path, MAX_PATH_LENGTH) if self.output_path else None,
            apimart_conn_id=self.apimart_conn_id and clipped(self.apimart_conn_id, MAX_ID_LENGTH),
            previous=previous,
        )
        if self.spending is not None:
            self.spending.reserve(self.client, self.request, key, record.intent_at)
        # If the record was replaced in the meantime, decide on the new one. If it was deleted, that was intended.
        # (Who does not resend must not overwrite what another try has learnt of its submission.)
        quick = self.kept.was_just_read() and not uploads and self.policy.on_unknown_submit == "resend"
        current = None if quick else self.kept.from_another_try()
        if current is not None:
            if self.spending is not None and current.idempotency_key != key:
                self.spending.release(record)
            return current, False
        self.kept.save(record)
        return record, True

    def _pay(self, record: Record, *, doubtful: bool) -> tuple[Record, bool, Generation | None]:
        """Send the paid POST and save its outcome. Return the record, whether the generation may be older than this
        POST, and the result if the answer holds it.

        :param doubtful: an earlier POST may have been carried out, so even "nothing was done" does not settle that.
        """
        body = self.request.body(record.uploads)
        try:
            answer = self.client.submit(
                body,
                record.idempotency_key,
                resend_unknown=self.policy.on_unknown_submit == "resend",
                remix_of=self.request.remix_of,
            )
        except ApimartError as error:
            if isinstance(error, errors.InsufficientBalanceError):
                error.message = f"{error.message}: {missing_balance(self.client, self.request)}"
            undone = nothing_was_done(error, doubtful=doubtful)
            if isinstance(error, (errors.ModelGoneError, errors.NoChannelError)):
                error = gone.explained(
                    error, self.request.model, self.client, undone=undone, has_fallback=self.fallback is not None
                )
            if undone and self._refused(record, error) and self.spending is not None:
                self.spending.release(record)
            raise error
        paid = submitted(record, answer, datetime.now(UTC))
        self._remember(paid, answer)
        return paid, answer.replayed or doubtful, answer.result

    def _refused(self, record: Record, error: ApimartError) -> bool:
        """Record that nothing was done, unless another try with the same key has got further. Return whether it is."""
        try:
            return self.kept.save_if_unchanged(refused(record, error))
        except Exception as failure:
            # The intent stays, which is safe. The error to report is the refusal, not this failure to save it.
            log.warning("The record could not be written (%s); it says that the outcome is not known.", failure)
            return False

    def _remember(self, record: Record, answer: Submission) -> None:
        log.info(
            "%s generation %s (number %d, key %s).",
            "Found again the paid" if answer.replayed else "Submitted",
            record.generation_id,
            record.number,
            record.idempotency_key,
        )
        try:
            self.kept.save(record)
        except Exception as error:
            # This process and the log still hold the id, and the saved intent finds it again through its key.
            log.error(
                "Generation %s is paid for, but its record could not be written (%s): a retry within 24 hours finds it "
                "through its idempotency key.",
                record.generation_id,
                error,
            )


def _sentence(reason: str) -> str:
    # Not str.capitalize: that would turn ids into lower case.
    return reason[:1].upper() + reason[1:]
