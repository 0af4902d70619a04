"""What to say and do when a model is gone: which models the account has instead, and how a DAG is switched.

Asking is best effort. An account without money, a slow host or a strange answer never hides the error itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge, ModelGoneError, NoChannelError
from airflow_provider_apimart.client.model_rules import ALIASES, MODELS, RETIRED
from airflow_provider_apimart.client.models import Model

#: At most this many models are named, and each with at most this many characters.
MAX_NAMED, MAX_NAME = 12, 60
SWITCH = (
    'To switch without a change of code, write model="{{ var.value.veo_model }}" and set the Variable veo_model; '
    "fallback_model= names a model to use when this one is gone"
)


def account_models(client: ApimartClient) -> tuple[Model, ...] | None:
    """Return the models that the key may use; ``None`` if APIMart does not say. Never raises."""
    try:
        # One try: this is only asked for while another error is being handled.
        return client.send(protocol.models(expand=True), repeat=False)
    except ApimartError:
        return None


def is_listed(model: str, models: Sequence[Model] | None) -> bool | None:
    """Return whether the account has a model, under any of its names; ``None`` if that is not known.

    An empty list says nothing.
    """
    family = ALIASES.get(model, model)
    return None if not models else family in {ALIASES.get(each.id, each.id) for each in models}


def without_channel_for_good(error: NoChannelError) -> ModelGoneError:
    """Return the error for a model that has no channel and that the account does not list either: it is gone."""
    return ModelGoneError(
        error.message,
        status=error.status,
        code=error.code,
        error_type=error.error_type,
        request_id=error.request_id,
    )


def explained(
    error: ModelGoneError | NoChannelError, model: str, client: ApimartClient, *, undone: bool, has_fallback: bool
) -> ModelGoneError | NoChannelError:
    """Return the error with what the account has instead. No channel, and no such model listed: it is gone.

    :param undone: whether it is certain that nothing was carried out.
    """
    models = account_models(client)
    if isinstance(error, NoChannelError) and is_listed(model, models) is False:
        error = without_channel_for_good(error)
    if not undone:
        # An earlier request under this key may have been carried out, whatever this answer says.
        error.charge = Charge.UNKNOWN
    unused = "" if undone or not has_fallback else "fallback_model is not used, since both might be paid for. "
    error.advice = f"{unused}{advice(model, models)}"
    return error


def advice(model: str, models: Sequence[Model] | None) -> str:
    """Return what to do about a model that is gone: its successor, what the account has, and how to switch."""
    parts = []
    if (retired := RETIRED.get(model)) is not None:
        parts.append(f"{model!r} {retired}")
    parts.append(_named(model, models))
    return ". ".join((*parts, SWITCH))


def _named(model: str, models: Sequence[Model] | None) -> str:
    if not models:
        return "APIMart does not say now which models the account has"
    others = sorted((each for each in models if each.id != model), key=_order)
    names = [each.id[:MAX_NAME] for each in others[:MAX_NAMED]]
    more = len(others) - len(names)
    if not names:
        return "The account has no other model"
    return f"The account has {', '.join(names)}{f' and {more} more' if more else ''}"


def _order(model: Model) -> tuple[int, str]:
    """Models that are known here come first, then other Veo models, then other video models."""
    if model.id in MODELS:
        return 0, model.id
    if "veo" in model.id.lower():
        return 1, model.id
    return (2 if "video" in model.category else 3), model.id
