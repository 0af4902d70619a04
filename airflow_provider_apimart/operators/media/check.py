"""``VideoCheckOperator``: looks at every picture and hears all the sound of a video, and says whether it is good."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart._compat import AirflowFailException, AirflowSkipException
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.hooks.reports import lineage
from airflow_provider_apimart.media.check import Asked, Report, Rules, Verdict, limits_of, verdict_problems
from airflow_provider_apimart.media.checking import Checked, check_video
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.checks import asked_of, tell
from airflow_provider_apimart.operators.media.base import MediaOperator, source_of
from airflow_provider_apimart.operators.videos import generation_ids_of, request_of
from airflow_provider_apimart.storage.files import stored_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

RESOLUTIONS = ("720p", "1080p", "4K", "4k")


class VideoCheckOperator(MediaOperator):
    """Check a video: decode all of it, and compare what it shows with what was asked for and with what is publishable.

    The rules are ``decode``, ``complete``, ``duration``, ``resolution``, ``aspect_ratio``, ``audio_track``, ``black``,
    ``frozen``, ``silent`` (a broken one fails the task), ``clipped``, ``loudness``, ``frame_rate``, ``codec`` and
    ``faststart`` (a broken one is a warning in the log); docs/media.md explains each. What was asked for comes from the
    sidecar of a generated video. A failed check never pays for another video by itself.

    Returns (XCom) ``{"path", "bytes", "sha256", "verdict", "rules": [{"rule", "verdict", "measured", "wanted",
    "text"}], "facts": {"duration_seconds", "declared_seconds", "frames", "frame_rate", "width", "height",
    "video_codec", "pixel_format", "audio_codec", "audio_seconds", "sample_rate", "channels", "faststart",
    "decode_errors", "black", "frozen", "silent", "loudness_lufs", "peak_dbfs", "clipped_share"}, "checked_at",
    "videos": [{"path", "bytes", "sha256", "duration_seconds", "width", "height", "has_audio"}]}``, so the output is a
    ``video=`` for the next task.
    The report is also in the XCom ``check`` (a list of one), even if the task fails or is skipped, and in
    ``<video>.media.json`` beside the video, or in ``output_path``.

    :param video: what to check: a generate task's output (``generate.output``), one entry of its ``videos``, a row of a
        batch's manifest, or the absolute path of any landed or own video (text or ``ObjectStoragePath``).
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param rules: by rule, what a broken one means: ``"fail"`` (the task, for good), ``"skip"`` (the tasks after it),
        ``"warn"`` or ``"off"``. What is not given keeps its default. A dict, or its JSON text.
    :param limits: from where on a rule is broken: any of ``duration_tolerance_seconds`` (0.5), ``black_share`` (0.25),
        ``frozen_share`` (0.5), ``silent_share`` (0.9), ``clipped_share`` (0.001), ``loudness_lufs`` (``[-33, -9]``) and
        ``frame_rate`` (``[23, 60.1]``). A dict, or its JSON text.
    :param duration: the seconds that were asked for; ``None`` takes them from the sidecar.
    :param resolution: ``720p``, ``1080p`` or ``4K``; ``None`` takes it from the sidecar.
    :param aspect_ratio: such as ``16:9``; ``None`` takes it from the sidecar.
    :param audio: whether there has to be a sound track; ``None`` takes it from the sidecar.
    :param output_path: a folder for the report, with ``/`` at the end; ``None`` puts it beside the video.
    :param time_limit: how long decoding may take: ``timedelta`` or seconds.
    :param memory_limit_mib: how much memory decoding may take, in MiB.
    """

    template_fields: Sequence[str] = (
        *("video", "sample", "rules", "limits", "duration", "resolution", "aspect_ratio", "audio"),
        *MediaOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"rules": "json", "limits": "json"}
    object_fields: ClassVar[Collection[str]] = ("video", "rules", "limits")

    def __init__(
        self,
        *,
        video: Any,
        sample: int | str | None = None,
        rules: Mapping[str, str] | str | None = None,
        limits: Mapping[str, Any] | str | None = None,
        duration: float | str | None = None,
        resolution: str | None = None,
        aspect_ratio: str | None = None,
        audio: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.video = video
        self.sample = sample
        self.rules = rules
        self.limits = limits
        self.duration = duration
        self.resolution = resolution
        self.aspect_ratio = aspect_ratio
        self.audio = audio
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = self._one_video_problems(check, self.video, self.sample)
        problems += check(rules_problems, "rules", self.rules)
        problems += check(limits_problems, "limits", self.limits)
        problems += check(arguments.seconds_problems, "duration", self.duration)
        if not arguments.is_unset(self.resolution):
            problems += check(arguments.choice_problems, "resolution", self.resolution, RESOLUTIONS)
        problems += check(ratio_problems, "aspect_ratio", self.aspect_ratio)
        return problems + check(arguments.truth_problems, "audio", self.audio)

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the video, note the report, and fail, skip or go on as its verdict says."""
        with self._work():
            source = source_of(self.video, self.sample)
            rules = Rules(arguments.object_of(self.rules) or {}, limits_of(arguments.object_of(self.limits) or {}))
            checked = check_video(source, self._asked(source.place), rules, folder=self._folder(), **self._bounds())
            size = stored_size(source.place)
        tell(context, [checked])
        self._judge(checked)
        result = _result(checked, size)
        self._tell(context, partial(lineage.of_check, result, generation_ids=generation_ids_of(self.video)))
        return result

    def _asked(self, place: Any) -> Asked:
        request = request_of(place)
        asked = Asked() if request is None else asked_of(request)
        given: dict[str, Any] = {
            "duration_seconds": arguments.seconds_of(self.duration),
            "resolution": None if arguments.is_unset(self.resolution) else self.resolution,
            "aspect_ratio": None if arguments.is_unset(self.aspect_ratio) else self.aspect_ratio,
            "audio": arguments.truth_of(self.audio),
        }
        return replace(asked, **{name: value for name, value in given.items() if value is not None})

    def _judge(self, checked: Checked) -> None:
        report, place = checked.report, checked.source.place.uri
        if report.verdict not in (Verdict.FAIL, Verdict.SKIP):
            self.log.info("%s: %s.", place, _summary(report))
            return
        broken = "; ".join(map(str, report.broken(report.verdict)))
        text = (
            f"{place} fails its check: {broken}. The video stays where it is, and nothing is paid for by this. To go "
            f"on with it, set {_names(report)} to 'warn' or 'off' in rules= and clear this task. For another video, "
            'clear the task that generated it with on_clear="regenerate", which pays for a new one'
        )
        if report.verdict is Verdict.SKIP:
            raise AirflowSkipException(f"{text}.")
        raise AirflowFailException(f"{text}.")


def _names(report: Report) -> str:
    return ", ".join(repr(finding.rule) for finding in report.broken(report.verdict))


def _summary(report: Report) -> str:
    kept = sum(finding.verdict is Verdict.OK for finding in report.findings)
    return f"{kept} of {len(report.findings)} rules are kept, and no broken one matters"


def _result(checked: Checked, size: int | None) -> dict[str, Any]:
    facts = checked.report.facts
    file = {"path": checked.source.place.uri, "bytes": size, "sha256": checked.sha256}
    video = {
        **file,
        "duration_seconds": facts.duration_seconds if facts else None,
        "width": facts.width if facts else None,
        "height": facts.height if facts else None,
        "has_audio": bool(facts.audio_seconds) if facts else None,
    }
    return {**file, **checked.as_json(), "videos": [video]}


def rules_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with verdicts by rule."""
    if problems := arguments.mapping_problems(name, value):
        return problems
    found = verdict_problems(arguments.object_of(value) or {})
    return [FieldProblem(f"{name}[{rule!r}]", verdict, allowed) for rule, verdict, allowed in found]


def limits_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with limits."""
    if problems := arguments.mapping_problems(name, value):
        return problems
    try:
        limits_of(arguments.object_of(value) or {})
    except ValueError as error:
        return [FieldProblem(name, value, str(error))]
    return []


def ratio_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with an optional aspect ratio."""
    wide, _, high = str(value).strip().partition(":")
    if arguments.is_unset(value) or (wide.isdecimal() and high.isdecimal() and int(wide) and int(high)):
        return []
    return [FieldProblem(name, value, "allowed: width:height, such as 16:9, or None")]
