"""``VeoGenerationSensor``: wait for a generation that something else has submitted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from pydantic import ValidationError

from airflow_provider_apimart._compat import AirflowFailException, PokeReturnValue
from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError, FieldProblem
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.client.null_words import is_null_word
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.record import Record
from airflow_provider_apimart.generation.purchase.settling import may_fill
from airflow_provider_apimart.generation.waiting.polling import last_word, poll_error_text
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.arguments import TRIGGERER_GRACE
from airflow_provider_apimart.operators.task import record_without_request
from airflow_provider_apimart.operators.templates import AuthorTemplates
from airflow_provider_apimart.sensors.deferral import DeferrableSensor
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

NOT_OURS = "This sensor submits nothing and lands nothing"


class VeoGenerationSensor(AuthorTemplates, DeferrableSensor):
    """Wait until a generation has ended that something else has submitted: another DAG, a script, a service.

    It pays for nothing and lands nothing. (``VeoGenerateOperator`` waits for its own generation and lands it.) Returns
    (XCom) what that operator returns, with ``path`` and the fields after it null; each ``url`` lives until
    ``expires_at``. A generation that has failed, was refused, or has no video fails the task for good. No error while
    polling ends the wait, only ``timeout`` does; only a connection that cannot be used fails at once.

    :param generation_id: APIMart's id of the generation (``task_...``); templated.
    :param apimart_conn_id: the connection of the account that has paid for it.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param poke_interval: seconds between two questions. A sensor's other arguments (``timeout``, ``soft_fail``,
        ``never_fail``, ``silent_fail``, ``mode``, ``execution_timeout``, ...) are Airflow's own and mean the same in
        the worker and in the triggerer; ``timeout`` counts from the try's start.
    """

    template_fields: Sequence[str] = ("generation_id", "apimart_conn_id")
    ui_color = "#e8e0ff"
    awaited = "the generation had ended"

    def __init__(
        self,
        *,
        generation_id: str,
        apimart_conn_id: str = ApimartHook.default_conn_name,
        deferrable: bool = True,
        poke_interval: float = 15.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.generation_id = generation_id
        self.apimart_conn_id = apimart_conn_id
        self.deferrable = deferrable
        if not arguments.is_template(generation_id, arguments.marks_of(self)):
            self._id()

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once. If deferrable and the generation has not ended, defer.

        ``execute`` is Airflow's own in both cases, so ``soft_fail`` and the like treat errors as usual.
        """
        wanted = self._id()
        try:
            with ApimartHook(self.apimart_conn_id).get_conn() as client:
                view = self._ask(client, wanted)
        except ConfigurationError as error:
            raise AirflowFailException(f"{error}. {NOT_OURS}: the generation goes on") from error
        if view is not None:
            return PokeReturnValue(is_done=True, xcom_value=self._result(view))
        if self.deferrable:
            now = time.time()
            self.defer(
                trigger=VeoGenerationTrigger(
                    generation_id=wanted,
                    submitted_at=now,
                    deadline=now + self._longest.total_seconds(),
                    poll_interval=self.poke_interval,
                    apimart_conn_id=self.apimart_conn_id,
                ),
                method_name="execute_complete",
                timeout=self._longest + TRIGGERER_GRACE,
            )
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Return what the trigger has seen.

        :param event: the trigger's; see :class:`~airflow_provider_apimart.triggers.veo.VeoGenerationTrigger`.
        """
        view = _told(event, self._id())
        if view is None and isinstance(event, Mapping) and event.get("reason") == "deadline":
            last = report.last_word_of(event)
            raise AirflowSensorTimeout(
                f"Generation {self.generation_id} has not ended within {self._longest}"
                f"{f'; what was seen last: {last}' if last else ''}. It goes on at APIMart. {NOT_OURS}; to wait "
                "longer, clear the task or raise timeout="
            )
        if view is None:
            self.log.warning("The trigger's event cannot be read (another version?); asking APIMart instead.")
            with ApimartHook(self.apimart_conn_id).get_conn() as client:
                view = client.generation(self._id())
            if not view.is_final:
                raise AirflowSensorTimeout(f"Generation {self.generation_id} has not ended yet. {NOT_OURS}")
        return self._result(view)

    def _ask(self, client: ApimartClient, wanted: str) -> Generation | None:
        """Return the generation if it has ended. A poll that fails decides nothing."""
        try:
            view = client.send(protocol.generation(wanted), repeat=False)
        except ApimartError as error:
            why = poll_error_text(error)
            self.log.warning("No usable answer about generation %s (%s); the wait goes on.", wanted, why)
            return None
        now = time.time()
        if view.is_final and not may_fill(view, now, now):
            return view
        strange = last_word(view)
        progress = "" if view.progress is None else f", {view.progress} %"
        self.log.info("Generation %s: %s%s.", wanted, strange or view.raw_status or view.status, progress)
        return None

    def _result(self, view: Generation) -> dict[str, Any]:
        if not view.videos:
            raise AirflowFailException(_ended_badly(view))
        record = _record_of(view)
        self.log.info("%s", report.summary(view, record))
        # APIMart does not always say which model it was.
        return {**report.result(record, view.videos, ()), "model": record.model or None}

    def _id(self) -> str:
        """Return the generation's id, checked."""
        wanted = self.generation_id.strip() if isinstance(self.generation_id, str) else ""
        if not 0 < len(wanted) <= protocol.ID_MAX or is_null_word(wanted):
            allowed = f"allowed: APIMart's id of a generation, such as task_01ABC, 1 to {protocol.ID_MAX} characters"
            arguments.refuse(arguments.owner_of(self), [FieldProblem("generation_id", self.generation_id, allowed)])
        return wanted


def _told(event: Any, wanted: str) -> Generation | None:
    """Return the ended generation that an event tells of, or ``None``."""
    if not isinstance(event, Mapping) or event.get("generation_id") != wanted:
        return None
    try:
        view = Generation.model_validate(event.get("generation"))
    except ValidationError:
        return None
    return view if view.is_final else None


def _record_of(view: Generation) -> Record:
    """Return what is known of a generation that this provider may not have submitted."""
    return record_without_request(
        view.generation_id,
        view.extra.get("model", ""),
        view.created_at or datetime.now(UTC),
        submitted_at=view.created_at,
        completed_at=view.completed_at,
        cost_usd=view.cost_usd,
    )


def _ended_badly(view: Generation) -> str:
    why = (view.error_message or "no reason given").strip().rstrip(".")
    if view.status is GenerationStatus.COMPLETED:
        cost = "an unknown amount" if view.cost_usd is None else f"{view.cost_usd:g} USD"
        return (
            f"APIMart reports generation {view.generation_id} as completed, but without a video: {why}. It was billed "
            f"with {cost}. A clear asks again; if no video appears, that is for APIMart's support to settle"
        )
    what = "refused the content of" if view.rejected else "reports as failed"
    return (
        f"APIMart {what} generation {view.generation_id}: {why}. It was not charged. {NOT_OURS}: to have another one "
        "made, run again what has submitted it"
    )
