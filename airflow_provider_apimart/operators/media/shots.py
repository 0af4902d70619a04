"""What the shots of a storyboard ask for, and what is wrong with them: while the DAG is parsed, and once rendered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.client.fallback import fallback_problems, with_model
from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.hooks.storage.paths import read_image
from airflow_provider_apimart.operators import arguments

#: Each shot is two tasks. Longer films are storyboards that are joined.
MOST_SHOTS = 100
#: Stands for the last frame of the shot before, where only the rest of a request is looked at.
LATER = "/last-frame.png"


def shots_problems(shots: Any) -> list[FieldProblem]:
    """Return what is wrong with ``shots=`` as a list; not what is in it."""
    if not isinstance(shots, (str, bytes)) and isinstance(shots, Sequence) and 1 <= len(shots) <= MOST_SHOTS:
        return []
    allowed = (
        f"allowed: a list of 1 to {MOST_SHOTS} shots, each a dict of parameters or a prompt. How many there are has to "
        "be known while the DAG is parsed"
    )
    return [FieldProblem("shots", f"{len(shots)} shots" if isinstance(shots, (list, tuple)) else shots, allowed)]


def shots_of(shots: Sequence[Mapping[str, Any] | Any], common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of each shot.

    :param common: those that all have, unless a shot sets its own.
    """
    found: list[dict[str, Any]] = []
    for number, shot in enumerate(shots, start=1):
        own = dict(shot) if isinstance(shot, Mapping) else {"prompt": shot}
        # A first frame that all have is the one that the first shot begins with.
        values = {name: value for name, value in common.items() if number == 1 or name != "first_frame_image"}
        found.append({**values, **own})
    return found


def continues(number: int, shot: Mapping[str, Any]) -> bool:
    """Return whether a shot begins with the last frame of the one before.

    :param number: of the shot, counted from 1.
    """
    return number > 1 and shot.get("first_frame_image") is None


def shot_problems(
    number: int, shot: Mapping[str, Any], fallback_model: Any = None, late: Collection[str] = ()
) -> list[FieldProblem]:
    """Return what is wrong with a shot's parameters.

    :param fallback_model: of all shots; ``None`` if there is none, or if it has no value yet.
    :param late: the parameters that have no value yet.
    """
    values = _values(number, shot)
    problems = VeoRequest.problems(values, late)
    samples, prompt = shot.get("sample_count"), shot.get("prompt")
    if "sample_count" not in late and not arguments.is_unset(samples) and arguments.number_of(samples) != 1:
        problems.append(FieldProblem("sample_count", samples, "a shot is one video: leave it out"))
    if isinstance(prompt, Mapping) and "prompt" in prompt and set(prompt) <= set(VeoRequest.FIELDS):
        allowed = "these are parameters, not a prompt: name them in the DAG, each with its own value"
        problems.append(FieldProblem("prompt", sorted(prompt), allowed))
    if not problems and not arguments.is_unset(fallback_model):
        problems += fallback_problems({"model": DEFAULT_MODEL, **values}, fallback_model, late)
    return [FieldProblem(f"shot_{number}.{each.field}", each.value, each.allowed) for each in problems]


def requests_of(number: int, shot: Mapping[str, Any], fallback_model: Any) -> list[VeoRequest]:
    """Return the requests that a shot, whose parameters are right, may pay for: its own, and the fallback model's."""
    request = VeoRequest.checked(_values(number, shot))
    return [request] if arguments.is_unset(fallback_model) else [request, with_model(request, str(fallback_model))]


def picture_problems(number: int, requests: Sequence[VeoRequest]) -> list[FieldProblem]:
    """Return what is wrong with the pictures that a shot names and that are files already.

    :param requests: from :func:`requests_of`.
    :raises StorageReadError: if the storage cannot be reached this time.
    """
    problems: dict[str, FieldProblem] = {}
    for request in requests:
        for name, path in request.local_images.items():
            if path == LATER:
                continue
            try:
                read_image(name, path, request)
            except InvalidParameterError as error:
                for each in error.problems:
                    problems.setdefault(name, FieldProblem(f"shot_{number}.{each.field}", each.value, each.allowed))
    return list(problems.values())


def _values(number: int, shot: Mapping[str, Any]) -> dict[str, Any]:
    """Return a shot's parameters, with something in the place of the frame that it is to begin with."""
    return {"prompt": None, **shot, **({"first_frame_image": LATER} if continues(number, shot) else {})}
