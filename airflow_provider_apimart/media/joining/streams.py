"""Joins clips by FFmpeg: reads what they are made of, decides what can be copied, and writes the joined video.

Pictures are copied, bit by bit, where all clips have the same codec parameters and only cuts are wanted. Sound is
copied where the same holds for it, and else encoded alone: that is quick, and the pictures stay as they are. Anything
else is encoded once, in the shape of the first clip unless another is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error

from airflow_provider_apimart.media.errors import BadInput, Refused
from airflow_provider_apimart.media.joining.clip import Clip, difference, sound_difference
from airflow_provider_apimart.media.joining.copying import (
    CopiedPictures,
    CopiedSound,
    NotCopyable,
    SoundNotCopyable,
    best_shift,
    check_whole,
)
from airflow_provider_apimart.media.joining.pictures import EncodedPictures, Look
from airflow_provider_apimart.media.joining.reading import opened, read_clip
from airflow_provider_apimart.media.joining.sound import EncodedSound
from airflow_provider_apimart.media.joining.wish import Wish
from airflow_provider_apimart.media.opening import picture_stream, sound_stream

#: What the index of a file takes at most: for the file, and for each packet.
INDEX_BYTES, INDEX_BYTES_A_PACKET = 16_384, 48
#: Sound follows the pictures in steps of so many: at each one it would take longer than the copying.
FLOW_EVERY = 8
#: Buffers of this size make copying as quick as the disk.
IO_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """What is copied and what is encoded.

    :param why: why the pictures are not copied; ``None`` if they are.
    :param sound_shift: see :class:`.copying.CopiedSound`; ``None`` if the sound is encoded.
    :param sound: whether there is any.
    """

    look: Look
    why: str | None
    sound: bool
    sound_shift: int | None


def joined(inputs: Sequence[str], wish: Wish, path: str) -> dict[str, Any]:
    """Join the inputs into ``path``, in their order, and return the facts of the result.

    :raises BadInput: if a clip cannot be read whole.
    :raises Refused: if what is asked for cannot be made of these clips.
    """
    clips = [read_clip(each, number) for number, each in enumerate(inputs)]
    plan = plan_of(clips, wish)
    while True:
        if wish.encode == "never" and plan.why is not None:
            raise Refused(f'encode="never", but the clips cannot be joined as they are: {plan.why}')
        try:
            return _write(clips, plan, path)
        except SoundNotCopyable:
            plan = Plan(plan.look, plan.why, plan.sound, None)
        except NotCopyable as error:
            plan = Plan(plan.look, str(error), plan.sound, None)


def plan_of(clips: Sequence[Clip], wish: Wish) -> Plan:
    """Return what can be copied of the clips, and how the rest is encoded."""
    first = clips[0]
    rate = first.pictures.rate if wish.frame_rate is None else Fraction(wish.frame_rate).limit_denominator(1001)
    wide, high = wish.size or first.shown_size
    look = Look(
        size=(wide + wide % 2, high + high % 2),
        rate=rate,
        fade=wish.transition,
        fade_frames=max(1, round(wish.fade_seconds * rate)) if wish.fades(len(clips)) else 0,
        crf=wish.crf,
        preset=wish.preset,
    )
    why = wish.why_not_copied(first.shown_size, first.pictures.rate, len(clips)) or difference(clips)
    sound = any(clip.sound is not None for clip in clips)
    shift = None
    if why is None and sound and sound_difference(clips) is None and all(clip.seconds for clip in clips):
        shift = best_shift(clips)
    return Plan(look, why, sound, shift)


def _write(clips: Sequence[Clip], plan: Plan, path: str) -> dict[str, Any]:
    options = {"movflags": "+faststart"}
    if plan.why is None and all(clip.packets for clip in clips):
        # The index gets its room at the beginning. Moving everything at the end would take as long as all the rest.
        packets = sum(clip.packets for clip in clips)
        options = {"moov_size": str(INDEX_BYTES + INDEX_BYTES_A_PACKET * packets)}
    with av.open(path, "w", format="mp4", options=options, buffer_size=IO_BYTES) as container:
        pictures, sound = _sinks(container, clips, plan)
        start = end = Fraction(0)
        for clip in clips:
            seconds = _add(clip, pictures, sound, start)
            end = start + seconds
            start = end - plan.look.fade_frames / plan.look.rate
        pictures.close()
        if sound is not None:
            sound.close()
    width, height = clips[0].shown_size if plan.why is None else plan.look.size
    return {
        "width": width,
        "height": height,
        "duration_seconds": round(float(end if plan.why is None else pictures.total), 3),
        "has_audio": plan.sound,
    }


def _sinks(container: Any, clips: Sequence[Clip], plan: Plan) -> tuple[Any, Any]:
    first = clips[0]
    with opened(first.path, 0) as template:
        pictures: Any
        if plan.why is None:
            stream = picture_stream(template)
            pictures = CopiedPictures(_muxed(container, stream), Fraction(stream.time_base))
        else:
            pictures = EncodedPictures(container, plan.look)
        if not plan.sound:
            return pictures, None
        if plan.sound_shift is not None and first.sound is not None:
            put = _muxed(container, sound_stream(template))
            return pictures, CopiedSound(put, first.sound.rate, plan.sound_shift)
        return pictures, EncodedSound(container, plan.look.fade_frames / plan.look.rate)


def _muxed(container: Any, template: Any) -> Callable[[Any, int, int], None]:
    """Add a stream, and return what puts packets into it.

    :raises NotCopyable: if the container cannot hold it, or if FFmpeg writes no such codec.
    """
    try:
        stream = container.add_stream_from_template(template)
    except ValueError:
        refused = NotCopyable if template.type == "video" else SoundNotCopyable
        raise refused(f"an MP4 of {template.codec_context.name} cannot be written here") from None
    stream.time_base = template.time_base

    def put(packet: Any, pts: int, dts: int) -> None:
        packet.pts, packet.dts, packet.stream = pts, dts, stream
        container.mux_one(packet)

    return put


def _add(clip: Clip, pictures: Any, sound: Any, start: Fraction) -> Fraction:
    """Add a clip to the joined video at ``start``, and return how long it is."""
    count = 0
    copied = isinstance(pictures, CopiedPictures) and not isinstance(sound, EncodedSound)
    with opened(clip.path, clip.number, for_packets=copied and clip.indexed) as container:
        picture = picture_stream(container)
        heard = None if sound is None else sound_stream(container)
        pictures.begin(clip, picture, start)
        if sound is not None:
            sound.begin(clip, heard, clip.start, start)
        try:
            for packet in container.demux([picture, heard] if heard is not None else [picture]):
                if packet.is_corrupt:
                    raise BadInput(clip.number, "it is cut off, or damaged")
                if packet.has_sidedata("encryption_info"):
                    raise BadInput(clip.number, "it is encrypted")
                if packet.stream.type == "video":
                    pictures.packet(packet)
                    count += 1
                    if sound is not None and count % FLOW_EVERY == 0:
                        sound.flow(pictures.seconds)
                else:
                    sound.packet(packet)
        except av.error.InvalidDataError as error:
            raise BadInput(clip.number, str(error.strerror)) from None
        seconds: Fraction = pictures.end()
        check_whole(clip, seconds)
        if sound is not None:
            sound.end(seconds)
        return seconds
