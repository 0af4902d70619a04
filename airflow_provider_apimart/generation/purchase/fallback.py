"""``fallback_model``: the same request for another model, if the model that was wanted is gone.

The fallback is another request: it has its own body, fingerprint and idempotency key, and
:func:`.decide.decide` decides about it as about any other. Two things are added here. When to change over: only if it
is certain that no generation of the wanted model was made or is charged. And how a later try finds the way back: the
record of a fallback's generation names the model that was wanted, so a try that finds such a record goes on with it and
does not ask for the wanted model again. A crash at any line leads to the same keys:

=============================================  ==============================================================
the process dies                               the next try finds                        and then
=============================================  ==============================================================
before the refusal of the model is recorded    the intent, or nothing                    asks under the same key
after that, before the fallback's intent       "model gone"                              changes over
after the fallback's intent                    the fallback's intent                     sends it under its own key
after the fallback's POST                      the fallback's intent or its generation   re-attaches
=============================================  ==============================================================

If the outcome of the wanted model's submission is unknown, its later refusal does not settle that: the fallback is not
paid for, because both might then be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_apimart.client.errors import GenerationModelGoneError
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.decide import Action, Decision, Policy, is_cleared_anew
from airflow_provider_apimart.generation.purchase.identity import fingerprint
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.purchase.record import Record, RecordState


@dataclass(frozen=True)
class Wanted:
    """A request and its local frames by field, read and checked."""

    request: VeoRequest
    images: Mapping[str, LocalImage]

    @property
    def fingerprint(self) -> str:
        """The request's fingerprint, with checksums in the place of local frames."""
        checksums = {name: f"sha256:{image.sha256}" for name, image in self.images.items()}
        return fingerprint(self.request.identity(checksums))


@dataclass(frozen=True)
class Fallback:
    """What to pay for if the model is gone.

    :param at_last: this is the last try, so a model for which APIMart has no channel counts as gone, too.
    """

    wanted: Wanted
    at_last: bool = False

    @property
    def model(self) -> str:
        """The fallback model."""
        return self.wanted.request.model


def is_taken_up(record: Record | None, first: VeoRequest, fallback: Fallback, clear_epoch: int, policy: Policy) -> bool:
    """Return whether ``record`` is the fallback's, in the place of ``first``: a later try then goes on with it."""
    return (
        record is not None
        and record.fallback_from == first.model
        and record.fingerprint == fallback.wanted.fingerprint
        and not is_cleared_anew(record, clear_epoch, policy)
    )


def is_due(record: Record | None, wanted_fingerprint: str, decision: Decision) -> bool:
    """Return whether the model that was wanted is gone for certain, so that the fallback takes its place."""
    if record is None or record.fingerprint != wanted_fingerprint:
        return False
    if isinstance(decision.error, GenerationModelGoneError):
        return True
    # Refused for its model. A clear that wants a new generation asks for the wanted model first.
    again = decision.action is Action.SUBMIT and (decision.epoch, decision.number) == (record.epoch, record.number)
    return again and record.state is RecordState.MODEL_GONE
