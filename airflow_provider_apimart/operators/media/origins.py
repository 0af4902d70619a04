"""Finds out what a file is and what it was made of, from the sidecars beside it.

A landed video has ``<video>.json``; what was made of a video is in that video's media sidecar (``made_of``). A sidecar
counts only if it names the file's checksum. What nobody knows stays unknown: nothing is claimed about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.generation.landing.sidecars import MAX_SIDECAR_BYTES, sidecar_of
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.history import output_of, parts_of
from airflow_provider_apimart.media.provenance.pieces import MAX_DEPTH, MAX_PIECES, Generated, How, Piece
from airflow_provider_apimart.media.sidecar import Output
from airflow_provider_apimart.media.workshop import Source
from airflow_provider_apimart.storage.files import Target, read_small

#: Who ran the model of a generation that this provider has paid for.
PROVIDER = "APIMart"
_IMAGES = frozenset({"poster", "preview", "first_frame", "last_frame", "contact_sheet"})
PROVENANCE = "provenance"


class Origins:
    """Reads the history of one file, and collects the files that a signature needs.

    :param signed: whether the files that it was made of are needed: a signature has them as ingredients.
    :param tell_prompt: whether the prompts are told.
    """

    def __init__(self, *, signed: bool, tell_prompt: bool) -> None:
        self.sources: list[Source] = []
        self._signed = signed
        self._tell_prompt = tell_prompt
        self._pieces = 0

    def of(self, place: Target, sha256: str, depth: int = 0) -> Piece:
        """Return the history of a file.

        :raises InvalidParameterError: if it is made of more than anybody cuts by hand.
        :raises LandingError: if a storage does not answer.
        """
        self._pieces += 1
        if depth > MAX_DEPTH or self._pieces > MAX_PIECES:
            limits = f"allowed: a video made of at most {MAX_PIECES} files, in at most {MAX_DEPTH} steps"
            raise InvalidParameterError((FieldProblem("video", place.uri, limits),))
        number = self._number(place, sha256) if depth == 0 or self._signed else None
        about: dict[str, Any] = {"input": number, "title": place.name}
        generated = self._generated(place, sha256)
        if generated is not None:
            return Piece(**about, how=How.GENERATED, generated=generated)
        made = output_of(place, sha256)
        if made is None or not made.made_of:
            return Piece(**about, how=How.UNKNOWN)
        if made.kind == PROVENANCE:
            return self._marked(made, about, depth)
        pieces = tuple(self.of(file_of(each.path, "video"), each.sha256, depth + 1) for each in parts_of(made))
        return Piece(**about, how=_how(made), made_of=pieces)

    def _marked(self, made: Output, about: dict[str, Any], depth: int) -> Piece:
        """Return the history of what was marked or signed before. A signed file tells its own."""
        if made.parameters.get("signer"):
            told = Piece.model_validate(made.parameters.get("piece")).without_files()
        else:
            before = made.made_of[0]
            told = self.of(file_of(before.path, "video"), before.sha256, depth + 1)
        if not self._tell_prompt:
            told = told.without_prompts()
        return told.model_copy(update=about)

    def _number(self, place: Target, sha256: str) -> int:
        for number, source in enumerate(self.sources):
            if source.sha256 == sha256:
                return number
        self.sources.append(Source(place, sha256))
        return len(self.sources) - 1

    def _generated(self, place: Target, sha256: str) -> Generated | None:
        found = _json(read_small(sidecar_of(place), MAX_SIDECAR_BYTES))
        video, request = found.get("video"), found.get("request")
        if not isinstance(video, Mapping) or video.get("sha256") != sha256:
            return None
        if not isinstance(found.get("model"), str) or not found.get("generation_id"):
            return None
        prompt = request.get("prompt") if isinstance(request, Mapping) and self._tell_prompt else None
        return Generated(
            model=found["model"],
            provider=PROVIDER,
            generation_id=str(found["generation_id"]),
            created_at=found.get("completed_at"),
            prompt=prompt,
        )


def _how(made: Output) -> How:
    if made.kind == "join":
        return How.JOINED
    if made.kind in _IMAGES:
        return How.CONVERTED if len(made.made_of) == 1 else How.JOINED
    return How.DERIVED


def _json(data: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(data) if data else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
