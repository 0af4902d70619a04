"""Judges a video by what was measured in it and by what was asked for. Pure: a rule and its verdict are data.

A verdict never pays: a video that fails was generated and billed as it is, and only a person decides on another.
What is measured is what ffprobe calls ``width``, ``height``, ``r_frame_rate``, ``codec_name`` and ``pix_fmt`` of a
stream, but found by decoding all of it, not read from the container.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from airflow_provider_apimart.media.facts import VideoFacts


class Verdict(StrEnum):
    """What follows from a broken rule, from harmless to grave."""

    OK = "ok"
    WARN = "warn"
    SKIP = "skip"
    FAIL = "fail"


GRAVITY = list(Verdict)
#: What a user can choose for a rule. ``off`` leaves it out.
CHOICES = ("fail", "skip", "warn", "off")
#: FFmpeg's names of what every network and browser plays.
PLAYABLE_VIDEO, PLAYABLE_AUDIO, PLAYABLE_PIXELS = ("h264",), ("aac",), ("yuv420p", "yuvj420p")
#: A file whose pictures end so much before, or after, what its index says is damaged or was cut off.
CUT_OFF_SECONDS = 0.5
#: Encoders round, so a few lines of the picture do not count.
SIZE_OFF, RATIO_OFF = 0.05, 0.03
#: The shorter side of each resolution, by its name in a request.
SHORT_SIDES = {"720p": 720, "1080p": 1080, "4k": 2160}


@dataclass(frozen=True)
class Asked:
    """What the video's request asked for; ``None`` where it is not known.

    :param resolution: as in the request: ``720p``, ``1080p`` or ``4K``.
    """

    duration_seconds: float | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    audio: bool | None = None


@dataclass(frozen=True)
class Limits:
    """From where on a rule is broken.

    :param duration_tolerance_seconds: how far the duration may be off.
    :param black_share: black pictures, as a share of the time.
    :param frozen_share: a picture that stands still, as a share of the time.
    :param silent_share: silence, as a share of the sound.
    :param clipped_share: samples at full scale, as a share of all.
    :param loudness_lufs: the lowest and the highest loudness. Networks bring videos to about -14 LUFS.
    :param frame_rate: the lowest and the highest pictures a second. Networks take 23 to 60.
    """

    duration_tolerance_seconds: float = 0.5
    black_share: float = 0.25
    frozen_share: float = 0.5
    silent_share: float = 0.9
    clipped_share: float = 0.001
    loudness_lufs: tuple[float, float] = (-33.0, -9.0)
    frame_rate: tuple[float, float] = (23.0, 60.1)


@dataclass(frozen=True)
class Finding:
    """One rule, and whether the video keeps it.

    :param measured: what was found, as plain JSON.
    :param wanted: what the rule allows, in words.
    """

    rule: str
    verdict: Verdict
    measured: Any
    wanted: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.measured} (wanted: {self.wanted})"

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "rule": self.rule,
            "verdict": str(self.verdict),
            "measured": self.measured,
            "wanted": self.wanted,
            "text": str(self),
        }


@dataclass(frozen=True)
class Report:
    """The findings of all rules that apply.

    :param facts: ``None`` if the video cannot be decoded at all.
    """

    facts: VideoFacts | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict."""
        return max((finding.verdict for finding in self.findings), key=GRAVITY.index, default=Verdict.OK)

    def broken(self, *verdicts: Verdict) -> tuple[Finding, ...]:
        """Return the findings with one of ``verdicts``; without any, all that are not ok."""
        return tuple(
            finding
            for finding in self.findings
            if finding.verdict is not Verdict.OK and (not verdicts or finding.verdict in verdicts)
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON, for XCom and the report beside the video."""
        return {
            "verdict": str(self.verdict),
            "rules": [finding.as_json() for finding in self.findings],
            "facts": self.facts.model_dump(mode="json") if self.facts else None,
        }


@dataclass(frozen=True)
class _Case:
    """Everything that a rule sees."""

    facts: VideoFacts
    asked: Asked
    limits: Limits


#: A rule returns what was measured, what is allowed, and whether that is kept; ``None`` if it does not apply.
_Rule = Callable[[_Case], tuple[Any, str, bool] | None]


def _decode(case: _Case) -> tuple[Any, str, bool]:
    return case.facts.decode_errors, "no packet or picture that cannot be decoded", case.facts.decode_errors == 0


def _complete(case: _Case) -> tuple[Any, str, bool] | None:
    declared, found = case.facts.declared_seconds, case.facts.duration_seconds
    if declared is None:
        return None
    wanted = f"{declared:g} s, as the file says of itself, give or take {CUT_OFF_SECONDS:g} s"
    return found, wanted, abs(found - declared) <= CUT_OFF_SECONDS


def _duration(case: _Case) -> tuple[Any, str, bool] | None:
    asked, tolerance = case.asked.duration_seconds, case.limits.duration_tolerance_seconds
    if asked is None:
        return None
    found = case.facts.duration_seconds
    return found, f"{asked:g} s, as asked, give or take {tolerance:g} s", abs(found - asked) <= tolerance


def _resolution(case: _Case) -> tuple[Any, str, bool] | None:
    short = SHORT_SIDES.get((case.asked.resolution or "").lower())
    if short is None:
        return None
    found = min(case.facts.width, case.facts.height)
    return (
        f"{case.facts.width}x{case.facts.height}",
        f"{case.asked.resolution}, as asked",
        abs(found - short) <= SIZE_OFF * short,
    )


def _aspect_ratio(case: _Case) -> tuple[Any, str, bool] | None:
    wide, colon, high = (case.asked.aspect_ratio or "").partition(":")
    if not (colon and wide.isdigit() and high.isdigit() and int(high)):
        return None
    kept = abs(case.facts.width / case.facts.height / (int(wide) / int(high)) - 1) <= RATIO_OFF
    return f"{case.facts.width}x{case.facts.height}", f"{case.asked.aspect_ratio}, as asked", kept


def _audio_track(case: _Case) -> tuple[Any, str, bool] | None:
    if case.asked.audio is None:
        return None
    found = bool(case.facts.audio_seconds)
    return (
        "sound" if found else "no sound",
        "sound, as asked" if case.asked.audio else "any",
        found or not case.asked.audio,
    )


def _black(case: _Case) -> tuple[Any, str, bool]:
    return _at_most(case.facts.black_share, case.limits.black_share, "of the time black")


def _frozen(case: _Case) -> tuple[Any, str, bool]:
    return _at_most(case.facts.frozen_share, case.limits.frozen_share, "of the time standing still")


def _silent(case: _Case) -> tuple[Any, str, bool] | None:
    if not case.facts.audio_seconds:
        return None
    return _at_most(case.facts.silent_share, case.limits.silent_share, "of the sound silent")


def _clipped(case: _Case) -> tuple[Any, str, bool] | None:
    if case.facts.clipped_share is None:
        return None
    return _at_most(case.facts.clipped_share, case.limits.clipped_share, "of the samples at full scale")


def _loudness(case: _Case) -> tuple[Any, str, bool] | None:
    if case.facts.loudness_lufs is None:
        return None
    return _within(case.facts.loudness_lufs, case.limits.loudness_lufs, "LUFS")


def _frame_rate(case: _Case) -> tuple[Any, str, bool]:
    return _within(case.facts.frame_rate, case.limits.frame_rate, "pictures a second")


def _codec(case: _Case) -> tuple[Any, str, bool]:
    facts = case.facts
    found = "/".join(name for name in (facts.video_codec, facts.pixel_format, facts.audio_codec) if name)
    kept = facts.video_codec in PLAYABLE_VIDEO and facts.pixel_format in (None, *PLAYABLE_PIXELS)
    return found, "H.264 in 4:2:0 with AAC", kept and facts.audio_codec in (None, *PLAYABLE_AUDIO)


def _faststart(case: _Case) -> tuple[Any, str, bool] | None:
    if case.facts.faststart is None:
        return None
    return case.facts.faststart, "the index before the pictures, so that players begin at once", case.facts.faststart


def _at_most(share: float, most: float, what: str) -> tuple[Any, str, bool]:
    return round(share, 4), f"at most {most:.4g} {what}", share <= most


def _within(value: float, limits: tuple[float, float], unit: str) -> tuple[Any, str, bool]:
    return value, f"{limits[0]:g} to {limits[1]:g} {unit}", limits[0] <= value <= limits[1]


_RULES: dict[str, _Rule] = {
    "decode": _decode,
    "complete": _complete,
    "duration": _duration,
    "resolution": _resolution,
    "aspect_ratio": _aspect_ratio,
    "audio_track": _audio_track,
    "black": _black,
    "frozen": _frozen,
    "silent": _silent,
    "clipped": _clipped,
    "loudness": _loudness,
    "frame_rate": _frame_rate,
    "codec": _codec,
    "faststart": _faststart,
}
#: What a broken rule means unless the user says otherwise: a video that nobody would publish fails.
DEFAULT_VERDICTS: Mapping[str, str] = {
    "decode": "fail",
    "complete": "fail",
    "duration": "fail",
    "resolution": "fail",
    "aspect_ratio": "fail",
    "audio_track": "fail",
    "black": "fail",
    "frozen": "fail",
    "silent": "fail",
    "clipped": "warn",
    "loudness": "warn",
    "frame_rate": "warn",
    "codec": "warn",
    "faststart": "warn",
}


@dataclass(frozen=True)
class Rules:
    """What to judge by.

    :param verdicts: by rule, what a broken one means: ``fail``, ``skip``, ``warn`` or ``off``. The others keep
        :data:`DEFAULT_VERDICTS`.
    """

    verdicts: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()


def verdict_problems(value: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield what is wrong with a mapping of rules to verdicts: the rule, the value, what is allowed."""
    for rule, verdict in value.items():
        if rule not in DEFAULT_VERDICTS:
            yield str(rule), verdict, f"no such rule; allowed: {', '.join(DEFAULT_VERDICTS)}"
        elif verdict not in CHOICES:
            yield rule, verdict, f"allowed: {', '.join(CHOICES)}"


def limits_of(value: Mapping[str, Any]) -> Limits:
    """Return limits from plain JSON; what is not given keeps its default.

    :raises ValueError: names the limit, and what is allowed.
    """
    unknown = [name for name in value if name not in _LIMITS]
    if unknown:
        raise ValueError(f"{', '.join(map(str, unknown))}: no such limit; allowed: {', '.join(_LIMITS)}")
    found: dict[str, Any] = {}
    for name, limit in value.items():
        pair = isinstance(_LIMITS[name], tuple)
        numbers = limit if pair and isinstance(limit, (list, tuple)) else [limit]
        if len(numbers) != (2 if pair else 1) or not all(_is_number(number) for number in numbers):
            raise ValueError(f"{name}={limit!r}: allowed: {'two numbers, lowest and highest' if pair else 'a number'}")
        if numbers[0] > numbers[-1] or (name not in ("loudness_lufs",) and numbers[0] < 0):
            raise ValueError(f"{name}={limit!r}: allowed: {'lowest before highest' if pair else '0 or more'}")
        found[name] = tuple(map(float, numbers)) if pair else float(limit)
    return Limits(**found)


_LIMITS: Mapping[str, Any] = {one.name: one.default for one in fields(Limits)}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def judge(facts: VideoFacts, asked: Asked, rules: Rules) -> Report:
    """Return what each rule says about a video."""
    return Report(facts, tuple(_findings(_Case(facts, asked, rules.limits), {**DEFAULT_VERDICTS, **rules.verdicts})))


def undecodable(reason: str, rules: Rules) -> Report:
    """Return the report on a video of which nothing can be decoded."""
    verdict = {**DEFAULT_VERDICTS, **rules.verdicts}["decode"]
    if verdict == "off":
        return Report(None, ())
    return Report(None, (Finding("decode", Verdict(verdict), reason, "a video that can be decoded"),))


def _findings(case: _Case, verdicts: Mapping[str, str]) -> Iterator[Finding]:
    for name, rule in _RULES.items():
        seen = None if verdicts[name] == "off" else rule(case)
        if seen is not None:
            measured, allowed, kept = seen
            yield Finding(name, Verdict.OK if kept else Verdict(verdicts[name]), measured, allowed)
