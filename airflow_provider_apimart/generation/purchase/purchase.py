"""From a request to a generation that is paid for once. This is the only file that sends the paid POST.

Why it never pays twice:

1. What to do is decided by :func:`.decide.decide` alone, from the record and APIMart's own word.
2. The intent (key, number, uploaded frames) is saved *before* the POST. A process that dies after it leaves the key
   behind, and the next try sends the identical body with the identical key, which APIMart answers with the first one's
   id.
3. The id is saved right after. From then on tries only ask.
4. A next number, and with it another key, comes only from APIMart's word that the last generation failed.
5. An error that does not say "nothing was done" leaves the intent as it is.
6. Two tries at once (a zombie and its retry) compute the same key, so APIMart gives both the same generation. Neither
   writes over what the other has written down meanwhile, as far as a store without a compare-and-swap allows.

Dying on the line before the POST costs nothing; on the line after it, the replay finds the generation. The crash
matrix in the tests kills a process at each of these lines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.models import Generation, Submission
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.balance import missing_balance
from airflow_provider_apimart.generation.purchase.decide import Action, Decision, Policy, decide
from airflow_provider_apimart.generation.purchase.identity import Identity, account_mark, fingerprint, idempotency_key
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.purchase.record import (
    MAX_ID_LENGTH,
    MAX_MODEL_LENGTH,
    MAX_PATH_LENGTH,
    MAX_UPLOAD_URL_LENGTH,
    Record,
    RecordState,
    RecordStore,
    clipped,
)
from airflow_provider_apimart.generation.purchase.transitions import nothing_was_done, refused, settled, submitted

log = logging.getLogger(__name__)

#: Failed generations that are walked over through replays where no record outlived the try.
MAX_NUMBER = 50
#: APIMart keeps an upload for 72 hours; one that a new body may still name.
UPLOAD_LIFE = timedelta(hours=48)


@dataclass(frozen=True)
class Obtained:
    """Where the generation stands after :meth:`Purchase.obtain`.

    :param decision: WAIT, LAND, KEEP, FAIL or REFUSE.
    :param view: APIMart's word, where it was asked and answered.
    """

    decision: Decision
    record: Record
    view: Generation | None


class Purchase:
    """Obtains the one generation of a request.

    :param images: the local frames by field, read and checked.
    :param output_path: where the videos are to go, and
    :param apimart_conn_id: who pays: both only for the record, so that a parked generation can be landed by others.
    :param approve: called before a new generation is paid for, and not for one that is paid for already; raises to
        refuse it.
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
        approve: Callable[[], None] | None = None,
    ) -> None:
        self.approve = approve
        self.client = client
        self.store = store
        self.identity = identity
        self.request = request
        self.images = images
        self.policy = policy
        self.output_path = output_path
        self.apimart_conn_id = apimart_conn_id
        self.account = account_mark(client.settings.base_url, client.settings.api_key)
        # What the store holds as far as this try knows: anything else was written by another one.
        self._stored: Record | None = None
        checksums = {name: f"sha256:{image.sha256}" for name, image in images.items()}
        self.fingerprint = fingerprint(request.body(checksums))

    def obtain(self, files_whole: Callable[[Record], bool] = lambda record: False) -> Obtained:
        """Submit, resend or re-attach, until there is a generation to wait for, to land, to keep, or an error.

        :param files_whole: tells whether the files of a landed record are whole and where they belong.
        :raises ApimartError: from the submission; the record says what is known of the money.
        """
        record = self._stored = self.store.load()
        known_before = False
        while True:
            view = self._look(record)
            if known_before and record and view and view.created_at:
                # Without a record of the first submission only APIMart knows when that was; deadlines count from it.
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
            if decision.action is Action.SUBMIT:
                if self.approve is not None:
                    self.approve()
                record, ours = self._intend(record, decision)
                if not ours:
                    continue
                record, known_before = self._pay(record, doubtful=False)
            elif decision.action is Action.RESEND and record is not None:
                log.warning("%s: sending the identical request again under its key.", _sentence(decision.reason))
                record, known_before = self._pay(record, doubtful=True)
            else:
                if record is None:
                    raise AssertionError(f"a decision to {decision.action} needs a record")
                return Obtained(decision, self._seen(record), view)
            if not known_before:
                decision = Decision(Action.WAIT, f"generation {record.generation_id} was submitted")
                return Obtained(decision, record, None)
            if record.number > MAX_NUMBER:
                raise errors.GenerationRefusedError(
                    f"{MAX_NUMBER} generations of this request have failed at APIMart; giving up. Nothing was "
                    "charged for them",
                    generation_id=record.generation_id or "",
                )

    def _seen(self, record: Record) -> Record:
        """Write down that this clear was gone on with, so that a later change to "regenerate" does not pay for it."""
        if (record.clear_epoch or record.epoch) < self.identity.clear_epoch and record == self._stored:
            record = record.but(clear_epoch=self.identity.clear_epoch)
            self._save(record)
        return record

    def _look(self, record: Record | None) -> Generation | None:
        """Ask about a recorded generation. No answer is no verdict."""
        if record is None or record.generation_id is None or record.fingerprint != self.fingerprint:
            return None
        if record.state not in (RecordState.SUBMITTED, RecordState.LANDED):
            return None
        try:
            return self.client.generation(record.generation_id)
        except ApimartError as error:
            log.warning("APIMart does not say how generation %s is: %s", record.generation_id, error)
            return None

    def _intend(self, old: Record | None, decision: Decision) -> tuple[Record, bool]:
        """Write down what is about to be paid for. Returns the record, and whether it is this: where another try has
        written one meanwhile (uploads take their time), it is that one, and has to be decided on anew.
        """
        now = datetime.now(UTC)
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
        uploads, uploaded_at = self._uploads(old if same else None, now)
        record = Record(
            state=RecordState.INTENT,
            fingerprint=self.fingerprint,
            idempotency_key=key,
            epoch=decision.epoch,
            clear_epoch=self.identity.clear_epoch,
            number=decision.number,
            model=clipped(self.request.model, MAX_MODEL_LENGTH),
            account=self.account,
            uploads=uploads,
            uploaded_at=uploaded_at,
            # After the uploads, which can be slow: deadlines and the key's life count from the paid call.
            intent_at=datetime.now(UTC),
            asked_by=self.identity.place,
            output_path=clipped(self.output_path, MAX_PATH_LENGTH) if self.output_path else None,
            apimart_conn_id=self.apimart_conn_id and clipped(self.apimart_conn_id, MAX_ID_LENGTH),
            previous=previous,
        )
        # A record that was replaced meanwhile is decided on; one that was deleted meanwhile was meant to be.
        current = self.store.load()
        if current is not None and current != self._stored:
            log.warning("Another try of this task has written its record meanwhile: deciding anew.")
            self._stored = current
            return current, False
        self._save(record)
        return record, True

    def _save(self, record: Record) -> None:
        self.store.save(record)
        self._stored = record

    def _uploads(self, old: Record | None, now: datetime) -> tuple[dict[str, str], datetime | None]:
        """Return the URLs of the local frames and when they were uploaded, uploading what is not up already."""
        if old and set(old.uploads) == set(self.images) and now - (old.uploaded_at or old.intent_at) < UPLOAD_LIFE:
            return old.uploads, old.uploaded_at
        uploads = {}
        for name, image in self.images.items():
            try:
                url = self.client.upload_image(image.filename, image.content, image.content_type).url
            except ApimartError as error:
                # Whether or not it arrived: uploads cost nothing, and nothing else has been sent.
                error.charge = Charge.NO
                raise
            if len(url) > MAX_UPLOAD_URL_LENGTH:
                raise errors.ResponseError(f"APIMart's upload answer holds a URL of {len(url)} characters")
            uploads[name] = url
            log.info("Uploaded %s (%s, %d bytes).", name, image.content_type, len(image.content))
        return uploads, now if uploads else None

    def _pay(self, record: Record, *, doubtful: bool) -> tuple[Record, bool]:
        """Send the paid POST and write down what came of it. Returns the record, and whether the generation may be
        older than this POST.

        :param doubtful: an earlier try may have been carried out, so that even "nothing was done" leaves the doubt.
        """
        body = self.request.body(record.uploads)
        try:
            answer = self.client.submit(
                body, record.idempotency_key, resend_unknown=self.policy.on_unknown_submit == "resend"
            )
        except ApimartError as error:
            if isinstance(error, errors.InsufficientBalanceError):
                error.message = f"{error.message}: {missing_balance(self.client, self.request)}"
            if nothing_was_done(error, doubtful=doubtful):
                self._refused(record, error)
            raise
        paid = submitted(record, answer, datetime.now(UTC))
        self._remember(paid, answer)
        return paid, answer.replayed or doubtful

    def _refused(self, record: Record, error: ApimartError) -> None:
        """Write down that nothing was done, unless another try under the same key has got further."""
        try:
            if self.store.load() == self._stored:
                self._save(refused(record, error))
        except Exception as failure:
            # The intent stays, which is safe, and the refusal is what the user has to hear.
            log.warning("The record could not be written (%s); it says that the outcome is not known.", failure)

    def _remember(self, record: Record, answer: Submission) -> None:
        log.info(
            "%s generation %s (number %d, key %s).",
            "Found again the paid" if answer.replayed else "Submitted",
            record.generation_id,
            record.number,
            record.idempotency_key,
        )
        try:
            self._save(record)
        except Exception as error:
            # The id is in this process's hands and in the log; the intent still finds it again through its key.
            log.error(
                "Generation %s is paid for, but its record could not be written (%s): a retry within 24 hours finds it "
                "through its idempotency key.",
                record.generation_id,
                error,
            )


def settle(store: RecordStore, record: Record, view: Generation) -> tuple[Decision, Record]:
    """Write down APIMart's final word, and return what it means for the try that waited for it."""
    decision, record = settled(record, view)
    keep(store, record)
    return decision, record


def keep(store: RecordStore, record: Record) -> None:
    """Save what has become of a generation, unless the record is another generation's by now: an old try that comes to
    its end must not make the store forget what a newer one has paid for.
    """
    current = store.load()
    if current is None or current.idempotency_key == record.idempotency_key:
        store.save(record)
        return
    log.warning(
        "The record of generation %s was replaced meanwhile by that of %s, which stays.",
        record.generation_id,
        current.generation_id or f"the one under key {current.idempotency_key}",
    )


def _sentence(reason: str) -> str:
    # Not str.capitalize: that would make lower case of ids.
    return reason[:1].upper() + reason[1:]
