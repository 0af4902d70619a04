"""Another take: one new generation of the same request, paid for once, within the budget.

It takes the road of every paid generation (``generation/purchase``, ``generation/landing``). What differs is who pays:
the number of the take is part of the idempotency key, and each take has a record of its own.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge, GenerationFailedError, GenerationParkedError
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.client.request import SEED_MAX, VeoRequest
from airflow_provider_apimart.generation.landing import delivery
from airflow_provider_apimart.generation.pricing.balance import price_list
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.decide import Action, Policy
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.kept import keep, settle
from airflow_provider_apimart.generation.purchase.purchase import Purchase
from airflow_provider_apimart.generation.purchase.record import Record, RecordState, RecordStore
from airflow_provider_apimart.generation.waiting.schedule import expected_seconds, kind_of
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.reports import metrics
from airflow_provider_apimart.hooks.storage.paths import read_images
from airflow_provider_apimart.operators.arguments import TRIGGERER_GRACE
from airflow_provider_apimart.operators.task import final_word, waited_for_record
from airflow_provider_apimart.publishing.approval.case import Candidate
from airflow_provider_apimart.storage.files import Target
from airflow_provider_apimart.storage.places import check_target
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger

if TYPE_CHECKING:
    from airflow_provider_apimart.generation.purchase.spending import Spending

log = logging.getLogger(__name__)

#: Beside the candidates of all takes it has to fit into 64 KB of Airflow's task state store.
MAX_REQUEST_BYTES = 40_000


class TakeRefusedError(ApimartError):
    """Another take is not paid for: there are enough of them, it costs too much, or its request is not known."""

    charge = Charge.NO
    terminal = True


def request_of(known: Mapping[str, Any] | None, take: int) -> VeoRequest:
    """Return the request of a take: that of the first one, with another seed.

    The same seed would give the same video. So a fixed seed is raised by one for each take, which can be repeated later
    and is told in the sidecar; without a seed APIMart chooses one each time.

    :raises TakeRefusedError: if the request of the first take is not known.
    :raises InvalidParameterError: if it cannot be sent as it is.
    """
    if not known:
        raise TakeRefusedError(
            "another take cannot be made: how the video was made is not known, because no sidecar lies beside it. "
            "Nothing was paid. Give the approval task veo={...} with the request's parameters"
        )
    values = dict(known)
    if values.get("seed") not in (None, ""):
        values["seed"] = (int(values["seed"]) + take - 1) % (SEED_MAX + 1)
    return VeoRequest.checked(values)


def kept(request: VeoRequest) -> dict[str, Any]:
    """Return a request as a case keeps it.

    :raises TakeRefusedError: if it is too long to be kept.
    """
    found = _as_json(request)
    size = len(json.dumps(found))
    if size > MAX_REQUEST_BYTES:
        raise TakeRefusedError(
            f"another take is refused: its request is too long to be kept with the question ({size:,} bytes as JSON; "
            f"at most {MAX_REQUEST_BYTES:,}). Nothing was paid. Give the approval task veo={{...}} with a shorter one"
        )
    return found


def _as_json(request: VeoRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Order:
    """One take that was asked for.

    :param identity: who pays; see :func:`~airflow_provider_apimart.hooks.stores.approval_stores.take_identity`.
    :param output: where its videos go.
    :param spent: what all takes so far have cost, in USD; ``None`` for each take whose cost is not known.
    :param most: how many takes there may be.
    :param limit: what all takes together may cost.
    :param timeout_seconds: how long the generation may take.
    :param spending: the budget that it is paid from.
    """

    take: int
    request: VeoRequest
    identity: Identity
    output: Target
    store: RecordStore
    apimart_conn_id: str
    spent: tuple[float | None, ...]
    most: int
    limit: Decimal | None
    timeout_seconds: float
    poll_seconds: float | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    try_number: int | None = None
    spending: Spending | None = None

    def deadline(self, record: Record) -> float:
        """Return when the wait for it ends, in unix seconds."""
        return (record.submitted_at or record.intent_at).timestamp() + self.timeout_seconds

    def known(self) -> Record | None:
        """Return its record, or ``None`` if there is none or it cannot be read."""
        try:
            return self.store.load()
        except Exception:
            # This runs while another error is being reported, which matters more than the store's.
            return None

    # --- the ways on -----------------------------------------------------------------------------------------

    def obtain(self, defer: Callable[[Record], NoReturn]) -> Record:
        """Pay for the take, or go on with what is paid for, until its videos are landed.

        :param defer: begins the wait in the triggerer.
        :raises ApimartError: the record says what is known about the money.
        """
        check_target(self.output)
        images = read_images(self.request)
        with ApimartHook(self.apimart_conn_id).get_conn() as client:
            purchase = Purchase(
                client=client,
                store=self.store,
                identity=self.identity,
                request=self.request,
                images=images,
                policy=Policy(on_unknown_submit=client.settings.on_unknown_submit),
                output_path=self.output.uri,
                apimart_conn_id=self.apimart_conn_id,
                approve=lambda wanted: self._check_limits(wanted, client),
                spending=self.spending,
            )
            obtained = purchase.obtain(lambda record: delivery.files_whole(record, self.output))
            record = obtained.record
            match obtained.decision.action:
                case Action.KEEP:
                    return record
                case Action.WAIT:
                    if time.time() >= self.deadline(record):
                        raise self._parked(record, "")
                    log.info("Waiting for take %d: %s.", self.take, obtained.decision.reason)
                    defer(record)
                case _ if obtained.decision.error is not None:
                    raise obtained.decision.error
            return self._land(client, record, obtained.view)

    def complete(self, event: Any, kept: Any) -> Record:
        """Land the take that the trigger has waited for.

        :param kept: the record from the deferral; ``None`` if Airflow dropped it.
        :raises ApimartError: the record says what is known about the money.
        """
        current = self.store.load()
        waited_for = waited_for_record(kept, current, event, self.request)
        if current is None or current.generation_id != waited_for.generation_id:
            current = waited_for
        with ApimartHook(self.apimart_conn_id).get_conn() as client:
            return self._land(client, current, final_word(client, current, event), report.last_word_of(event))

    def deferral(self, record: Record) -> dict[str, Any]:
        """Return how to wait for it in the triggerer, as the arguments of ``BaseOperator.defer``."""
        trigger = VeoGenerationTrigger(
            generation_id=record.generation_id or "",
            submitted_at=(record.submitted_at or record.intent_at).timestamp(),
            deadline=self.deadline(record),
            median_seconds=expected_seconds(record.model, self.request.resolution),
            poll_interval=self.poll_seconds,
            apimart_conn_id=self.apimart_conn_id,
            kind=kind_of(record.model, self.request.resolution, self.request.generate_audio),
        )
        kwargs = {"record": record.model_dump(mode="json"), "request": _as_json(self.request)}
        left = max(0.0, self.deadline(record) - time.time())
        return {"trigger": trigger, "kwargs": kwargs, "timeout": timedelta(seconds=left) + TRIGGERER_GRACE}

    def candidates(self, record: Record, first: int) -> tuple[Candidate, ...]:
        """Return its videos for a person to choose from.

        :param first: the number of the first one.
        """
        return tuple(
            Candidate(
                number=number,
                take=self.take,
                generation_id=record.generation_id,
                cost_usd=record.cost_usd,
                **video.model_dump(),
            )
            for number, video in enumerate(record.landed, start=first)
        )

    # --- steps -----------------------------------------------------------------------------------------------------

    def check_number(self) -> None:
        """Refuse one take too many.

        :raises TakeRefusedError: if there are to be fewer takes.
        """
        if self.take > self.most:
            raise TakeRefusedError(
                f"another take is refused: there are {self.take - 1}, and max_takes={self.most}. Nothing was paid"
            )

    def _check_limits(self, wanted: VeoRequest, client: ApimartClient) -> None:
        """Refuse a take too many, and one that would make all of them together cost more than the limit. Called before
        it is paid for, and not for one that is or may be paid for already.
        """
        self.check_number()
        if self.limit is None:
            return
        price = price_list(client).estimate(wanted)
        if price is None:
            raise TakeRefusedError(
                f"another take is refused: the price of {wanted.model} is not known for this request, so it cannot be "
                f"compared with max_cost_usd={self.limit}. Nothing was paid"
            )
        # A take whose cost is not known has cost about the same.
        spent = sum((price.usd if cost is None else Decimal(str(cost)) for cost in self.spent), Decimal(0))
        if spent + price.usd > self.limit:
            raise TakeRefusedError(
                f"another take is refused: the takes so far cost {spent:f} USD, and one more costs about {price}. "
                f"That is more than max_cost_usd={self.limit} for all of them. Nothing was paid"
            )
        log.info("Take %d costs about %s; %s USD are spent of max_cost_usd=%s.", self.take, price, spent, self.limit)

    def _land(self, client: ApimartClient, record: Record, view: Generation | None, last_word: str = "") -> Record:
        if view is None or not view.is_final:
            raise self._parked(record, last_word)
        decision, record = settle(self.store, record, view, self.spending)
        if decision.error is not None:
            metrics.count_error(decision.error, record)
            raise decision.error
        log.info("%s", report.summary(view, record))
        airflow = {**self.identity.place, "try_number": self.try_number}
        landed = delivery.deliver(
            client=client,
            record=record,
            videos=view.videos,
            output=self.output,
            provenance=delivery.provenance_of(record, self.request, airflow, self.labels),
            request=self.request,
        )
        record = record.but(state=RecordState.LANDED, landed=landed)
        keep(self.store, record)
        metrics.count("completed", record, videos=len(landed))
        return record

    @staticmethod
    def _parked(record: Record, last_word: str) -> GenerationParkedError:
        metrics.count("parked", record)
        text = report.parked_text(record, polls_failed=False, last_word=last_word)
        return GenerationParkedError(text, generation_id=record.generation_id or "")


def spent_of(candidates: tuple[Candidate, ...]) -> tuple[float | None, ...]:
    """Return what each take has cost."""
    return tuple({candidate.take: candidate.cost_usd for candidate in candidates}.values())


def is_for_good(error: ApimartError) -> bool:
    """Return whether an error ends a take, so that the person is asked again; else Airflow's retries go on with it."""
    return error.terminal or isinstance(error, GenerationFailedError)
