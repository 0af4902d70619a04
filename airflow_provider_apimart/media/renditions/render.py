"""Makes the renditions of one video: one decode, all outputs. Runs in the child process (:mod:`..child`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_apimart.media.errors import BadInput, Refused
from airflow_provider_apimart.media.renditions.captions import Cue, cues_of
from airflow_provider_apimart.media.renditions.drawn import CaptionStrip, end_card_frame
from airflow_provider_apimart.media.renditions.fonts import BUILT_IN, Font, check_drawable
from airflow_provider_apimart.media.renditions.look import EndCard, Look, Shape
from airflow_provider_apimart.media.renditions.order import with_files
from airflow_provider_apimart.media.renditions.output import Output
from airflow_provider_apimart.media.renditions.pictures import Pictures
from airflow_provider_apimart.media.renditions.plan import Plan, plan
from airflow_provider_apimart.media.renditions.presets import PRESETS
from airflow_provider_apimart.media.renditions.sound import UNCHANGED, Gain, Mix, first_sound, measured_gain
from airflow_provider_apimart.media.renditions.source import Reader, Source, scan


def render(inputs: list[str], outputs: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Make renditions of a local video.

    :param inputs: the video, then the files that the look names (see :mod:`.order`).
    :param outputs: what to make: ``parameters`` hold its ``shape`` and the ``look``, which is the same for all.
    :param names: of the inputs, as the user knows them.
    :returns: by name, ``{"width", "height", "duration_seconds", "has_audio"}``.
    :raises Refused: if it cannot be made as asked for.
    :raises BadInput: if the video is damaged.
    """
    look = Look.model_validate(with_files(outputs[0]["parameters"]["look"], inputs))
    video = scan(inputs[0])
    first = first_sound(video)
    if first is None:
        # A track of sound without any.
        video = replace(video, has_sound=False)
    plans = [plan(video, Shape.model_validate(each["parameters"]["shape"]), look, each["path"]) for each in outputs]
    called = dict(zip(inputs, names, strict=True))
    cues, caption_fonts = _captions(look, float(video.seconds), called)
    card_fonts = _card_fonts(look.end_card, called)
    gain = _gain(video, first, look, plans)
    writers = [_output(video, each, look, cues, caption_fonts, card_fonts) for each in plans]
    _feed(video, first, look, gain, writers)
    for each in plans:
        _check_size(each)
    return {output["name"]: _told(each) for output, each in zip(outputs, plans, strict=True)}


def _captions(look: Look, seconds: float, called: Mapping[str, str]) -> tuple[list[Cue], tuple[Font, ...]]:
    if look.captions is None:
        return [], ()
    cues = cues_of(look.captions, seconds)
    if look.captions.mode == "soft":
        return cues, ()
    fonts = _fonts(look.captions.fonts, called)
    check_drawable("captions", "\n".join(cue.text for cue in cues), fonts)
    return cues, fonts


def _card_fonts(card: EndCard | None, called: Mapping[str, str]) -> tuple[Font, ...]:
    if card is None or not card.text:
        return ()
    fonts = _fonts(card.fonts, called)
    check_drawable("end_card", card.text, fonts)
    return fonts


def _fonts(paths: Sequence[str], called: Mapping[str, str]) -> tuple[Font, ...]:
    return tuple(Font(path, called[path]) for path in paths) or (BUILT_IN,)


def _gain(video: Source, first: Any, look: Look, plans: Sequence[Plan]) -> Gain:
    samples = max((each.samples for each in plans), default=0)
    if look.loudness is None or not samples:
        return UNCHANGED
    return measured_gain(video, first, samples, look.music, look.loudness)


def _output(
    video: Source,
    each: Plan,
    look: Look,
    cues: Sequence[Cue],
    caption_fonts: tuple[Font, ...],
    card_fonts: tuple[Font, ...],
) -> Output:
    strip = soft = None
    if look.captions is not None and look.captions.mode == "burn":
        strip = CaptionStrip(each.shape, look.captions, cues, caption_fonts)
    elif look.captions is not None:
        soft = (cues, look.captions.language)
    card = end_card_frame(each.shape, look.end_card, card_fonts) if look.end_card else None
    return Output(each, Pictures(video, each.shape, each.frame_rate, look.logo, strip), card, soft)


def _feed(video: Source, first: Any, look: Look, gain: Gain, outputs: Sequence[Output]) -> None:
    """Decode the video once, and hand everything to all outputs."""
    lengths = sorted({each.samples for each in outputs if each.samples})
    mixes = {length: Mix(video, first, length, look.music, gain) for length in lengths}

    def hear(length: int, frames: Any) -> None:
        for frame in frames:
            for output in outputs:
                if output.samples == length:
                    output.put("sound", frame)

    reader = Reader(video)
    for frame in reader:
        if hasattr(frame, "samples"):
            for length, mix in mixes.items():
                hear(length, mix.push(frame))
            continue
        for output in outputs:
            output.put("picture", frame)
        if first is None:
            for length, mix in mixes.items():
                hear(length, mix.reach(float(frame.time)))
    for length, mix in mixes.items():
        hear(length, mix.finish())
    for output in outputs:
        output.close()
    if reader.errors:
        # Encoding them anew would hide the damage from every later check.
        raise BadInput(0, f"{reader.errors} packets or pictures of it are damaged; VideoCheckOperator tells more")


def _check_size(each: Plan) -> None:
    preset = PRESETS.get(each.shape.preset or "")
    size = Path(each.path).stat().st_size
    if preset is not None and size > preset.max_bytes:
        raise Refused(f"{each.shape.name}: {size} bytes; {each.shape.preset} takes {preset.max_bytes} ({preset.page})")


def _told(each: Plan) -> dict[str, Any]:
    return {
        "width": each.shape.width,
        "height": each.shape.height,
        "duration_seconds": round(float(each.seconds), 3),
        "has_audio": each.samples > 0,
    }
