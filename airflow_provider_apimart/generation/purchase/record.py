"""The record: what is known about one generation, kept outside the worker so that the next try finds it.

It is small (under 64 KB whatever the prompt and whatever APIMart answers), versioned, and holds no secret: no key, no
URL of a video. It is saved twice around the paid call: as an intent before it, and with the id after it. After a crash
between the two, the intent tells the next try which key to send again.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from airflow_provider_apimart.client.errors import ApimartError

#: Superseded generations that are remembered, so that a paid one can still be found.
MAX_PREVIOUS = 20
#: Limits that keep the whole record under 64 KB, in characters of JSON. Real values are a tenth as long.
MAX_MODEL_LENGTH = 200
MAX_PATH_LENGTH = 4000
MAX_NOTE_LENGTH = 1000
MAX_ID_LENGTH = 500
MAX_UPLOAD_URL_LENGTH = 4000


class RecordState(StrEnum):
    """How far a generation has come, as far as this side knows."""

    #: The paid call is about to be made, or was made and its outcome is not known.
    INTENT = "intent"
    #: The paid call was answered with an error that says that nothing was done.
    REFUSED = "refused"
    #: APIMart named the generation's id.
    SUBMITTED = "submitted"
    #: The videos are in the user's storage.
    LANDED = "landed"
    #: APIMart reported a failure. Failed generations are not charged.
    FAILED = "failed"
    #: APIMart refused the content.
    REJECTED = "rejected"
    #: APIMart has the model no longer: the paid call was refused, or the generation failed. Not charged.
    MODEL_GONE = "model_gone"


class LandedVideo(BaseModel):
    """A video in the user's storage: where it is, and what the checks found."""

    model_config = ConfigDict(frozen=True)

    path: str
    bytes: int
    sha256: str
    duration_seconds: float
    width: int
    height: int
    has_audio: bool


class Previous(BaseModel):
    """A generation that was superseded: by changed inputs, by a clear that requested a new one, or by the fallback
    model's because its own model is gone.
    """

    model_config = ConfigDict(frozen=True)

    generation_id: str | None
    idempotency_key: str
    state: RecordState
    model: str
    submitted_at: AwareDatetime | None = None
    closed_at: AwareDatetime | None = None


class Record(BaseModel):
    """What is known about one generation.

    :param fingerprint: the fingerprint of its request.
    :param epoch: the clear epoch in its key.
    :param clear_epoch: the last clear epoch in which a try reused it; ``None`` stands for the one in its key.
    :param number: 1 for the first generation of a request; higher only after APIMart reported a failure.
    :param account: distinguishes API keys without revealing them: APIMart knows an idempotency key only under the API
        key that it was sent with.
    :param uploads: URLs of uploaded frames, by field: a resend has to send the identical body.
    :param uploaded_at: when the oldest of them was uploaded.
    :param intent_at: when the paid call was about to be made. The key's 24 hours count from here.
    :param asked_by: the dag, run, task and map index (and row) that requested it.
    :param output_path: where the task wanted its videos, for a later landing by ``reconcile``.
    :param apimart_conn_id: the connection that paid.
    :param extra: what else APIMart's final answer said, for its support.
    :param fallback_from: the model that was wanted, if this is the generation of a fallback model in its place.
    :param closed_at: when ``reconcile`` reported for the last time that it cannot land this generation. It affects no
        decision: a task ignores it.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    state: RecordState
    fingerprint: str
    idempotency_key: str
    epoch: int
    clear_epoch: int | None = None
    number: int
    model: str
    account: str | None = None
    uploads: dict[str, str] = {}
    uploaded_at: AwareDatetime | None = None
    intent_at: AwareDatetime
    generation_id: str | None = None
    submitted_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    cost_usd: float | None = None
    note: str | None = None
    asked_by: dict[str, str | int] = {}
    output_path: str | None = None
    apimart_conn_id: str | None = None
    landed: tuple[LandedVideo, ...] = ()
    previous: tuple[Previous, ...] = ()
    fallback_from: str | None = None
    closed_at: AwareDatetime | None = None
    extra: dict[str, str] = {}

    def but(self, **changes: Any) -> Record:
        """Return a copy with ``changes``."""
        return self.model_copy(update=changes)

    def as_previous(self) -> tuple[Previous, ...]:
        """Return the superseded generations for a record that replaces this one."""
        if self.state is RecordState.REFUSED:
            return self.previous
        last = Previous(
            generation_id=self.generation_id,
            idempotency_key=self.idempotency_key,
            state=self.state,
            model=self.model,
            submitted_at=self.submitted_at,
            closed_at=self.closed_at,
        )
        return (*self.previous, last)[-MAX_PREVIOUS:]


class RecordStore(Protocol):
    """Keeps one record. A ``load`` that fails must raise, never return ``None``: "no record" means "nothing was
    paid".
    """

    #: For a log line: what is kept and where, or why nothing is.
    description: str
    #: False if nothing outlives the try.
    durable: bool

    def load(self) -> Record | None:
        """Return the record, or ``None`` if none exists."""
        ...

    def save(self, record: Record) -> None:
        """Keep ``record``, replacing any other."""
        ...


class SharedRecordStore(RecordStore, Protocol):
    """A store that others may write to at the same time: a task, or another ``reconcile``."""

    def replace(self, old: Record, new: Record) -> bool:
        """Replace ``old`` with ``new`` if the store still holds ``old``, and return whether it did."""
        ...


class UnreadableRecordError(ApimartError):
    """A record exists but cannot be read. Paying again without knowing its content is refused."""

    terminal = True


def read_record(data: Any, where: str) -> Record:
    """Return the record that ``data`` (an object, or its JSON text) holds."""
    try:
        if isinstance(data, (str, bytes)):
            return Record.model_validate_json(data)
        return Record.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where_wrong = ".".join(map(str, first["loc"]))
        wrong = f"{where_wrong}: {first['msg']}" if where_wrong else first["msg"]
        raise UnreadableRecordError(
            f"the record of this task's generation in {where} cannot be read ({wrong}). A generation may have been "
            "paid for, so nothing was submitted. If a newer version of the provider has written it, use that version; "
            "else look for the generation in APIMart's console, then delete the record"
        ) from None


class NoRecordStore:
    """Keeps the record for this try only: a retry relies on the idempotency key alone."""

    durable = False

    def __init__(self, description: str) -> None:
        self.description = description
        self._record: Record | None = None

    def load(self) -> Record | None:
        """Return what this try has saved."""
        return self._record

    def save(self, record: Record) -> None:
        """Keep ``record`` as long as this try lives."""
        self._record = record


def clipped(text: str, limit: int) -> str:
    """Return ``text`` cut so that it takes at most ``limit`` characters of JSON."""
    if len(json.dumps(text[: limit + 1])) - 2 <= limit:
        return text
    text = text[: limit - 3]
    while len(json.dumps(text)) - 2 > limit - 3:
        text = text[: len(text) * 3 // 4]
    return f"{text}..."


def note_of(text: str | None) -> str | None:
    """Return the part of a message that a record may keep: short, and without URLs, which can be signed."""
    return None if text is None else clipped(re.sub(r"\bhttps?://\S+", "<url>", text), MAX_NOTE_LENGTH)
