"""Checks a video's file: decodes it once, notes what was found beside it, and judges that.

What was measured depends on nothing but the file. So a video that was measured before is only judged again: a retry, a
cleared task or another set of rules costs no decoding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.media.check import Asked, Report, Rules, judge, undecodable
from airflow_provider_apimart.media.child import DEFAULT_MEMORY_BYTES, DEFAULT_SECONDS, run_isolated
from airflow_provider_apimart.media.errors import UndecodableVideoError
from airflow_provider_apimart.media.facts import VideoFacts
from airflow_provider_apimart.media.sidecar import keep_check, now, place_of, read_note
from airflow_provider_apimart.media.workshop import Source, staged
from airflow_provider_apimart.storage.files import Target

log = logging.getLogger(__name__)

#: Raised when ``measure.py`` finds other facts in the same file.
MEASURE_VERSION = 1


@dataclass(frozen=True)
class Checked:
    """A video and the report on it.

    :param sha256: of the file that was checked.
    """

    source: Source
    sha256: str
    report: Report
    checked_at: str

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON, for XCom and the media sidecar."""
        return {**self.report.as_json(), "checked_at": self.checked_at}


def check_video(
    source: Source,
    asked: Asked,
    rules: Rules,
    *,
    folder: Target | None = None,
    seconds: float = DEFAULT_SECONDS,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Checked:
    """Check a video and note the report in its media sidecar. A file that cannot be decoded is a finding, not an error.

    :param folder: where the sidecar goes; ``None`` puts it beside the video.
    :raises MediaSourceError: if the file is not there, or is not the one that was landed.
    :raises MediaBoundsError: if decoding takes more time or memory than it may.
    :raises MediaToolError: if the extra is missing or its process cannot be started.
    :raises LandingError: if the storage does not answer.
    """
    known = _noted(source, folder)
    sha256 = source.sha256 or ""
    if known is None:
        with staged(source) as (file, sha256):
            path = f"/dev/fd/{file.fileno()}"
            try:
                known = {
                    "facts": run_isolated(
                        "measure",
                        {"path": path},
                        seconds=seconds,
                        memory_bytes=memory_bytes,
                        open_files=(file.fileno(),),
                    )
                }
            except UndecodableVideoError as error:
                known = {"facts": None, "reason": error.message}
    report = _judged(known, asked, rules)
    checked = Checked(source, sha256, report, now())
    _note(checked, known, folder)
    return checked


def _judged(known: Mapping[str, Any], asked: Asked, rules: Rules) -> Report:
    if known["facts"] is None:
        return undecodable(str(known["reason"]), rules)
    return judge(VideoFacts.model_validate(known["facts"]), asked, rules)


def _noted(source: Source, folder: Target | None) -> dict[str, Any] | None:
    """Return what an earlier check has measured in the same file; ``None`` if it has to be measured."""
    if source.sha256 is None:
        return None
    try:
        note = read_note(place_of(source.place, source.sha256, folder), source.sha256)
        check = note.check if note else None
        if check is None or check.get("measured_by") != MEASURE_VERSION:
            return None
        if check["facts"] is not None:
            VideoFacts.model_validate(check["facts"])
        return {"facts": check["facts"], "reason": check.get("reason")}
    except (ApimartError, ValidationError, KeyError) as error:
        log.debug("The note beside %s cannot be used: %s", source.place.uri, error)
        return None


def _note(checked: Checked, known: Mapping[str, Any], folder: Target | None) -> None:
    """Note the report. The verdict holds without it, so a folder that cannot be written is a warning."""
    place = place_of(checked.source.place, checked.sha256, folder)
    report = {**checked.as_json(), "measured_by": MEASURE_VERSION, "reason": known.get("reason")}
    try:
        keep_check(place, checked.sha256, report)
    except Exception as error:
        # Each storage raises its own errors.
        log.warning("The report is not noted in %s (%s): %s", place.uri, type(error).__name__, error)
