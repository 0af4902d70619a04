"""Reads by FFmpeg what a clip is made of."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av.error

from airflow_provider_apimart.media.errors import BadInput, raise_if_out_of_memory
from airflow_provider_apimart.media.joining.clip import RATES, USUAL_RATE, Clip, Pictures, Sound
from airflow_provider_apimart.media.opening import frames_of, open_media, open_packets, picture_stream, sound_stream


def read_clip(path: str, number: int) -> Clip:
    """Read what a clip is made of.

    :raises BadInput: if it is none.
    """
    with opened(path, number) as container:
        picture, sound = picture_stream(container), sound_stream(container)
        start = (picture.start_time or 0) * Fraction(picture.time_base)
        try:
            lead, rotation = _beginnings(container, picture, sound, start)
        except ValueError as error:
            raise BadInput(number, str(error)) from None
        return Clip(
            number=number,
            path=path,
            pictures=_pictures(picture, rotation),
            sound=None if sound is None else _sound(sound),
            seconds=_seconds(picture),
            packets=picture.frames + (0 if sound is None else sound.frames),
            start=start,
            sound_lead=lead,
            indexed="mp4" in container.format.name.split(","),
        )


def decoded(packet: Any, number: int, what: str) -> list[Any]:
    """Return the frames of a packet.

    :param number: of the clip.
    :param what: that it holds, for the message.
    :raises BadInput: if it cannot be decoded.
    """
    try:
        return list(packet.decode())
    except av.error.FFmpegError as error:
        raise_if_out_of_memory(error)
        raise BadInput(number, f"{what} cannot be decoded: {error.strerror}") from None


def opened(path: str, number: int, *, for_packets: bool = False) -> Any:
    """Open a clip.

    :param for_packets: nothing of it will be decoded.
    :raises BadInput: if it holds no pictures.
    """
    try:
        container = open_packets(path) if for_packets else open_media(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise BadInput(number, str(getattr(error, "strerror", None) or error)) from None
    try:
        # A codec whose size only its pictures tell has none here if nothing is decoded.
        if not picture_stream(container).codec_context.width and not for_packets:
            raise ValueError("its pictures have no size")
    except ValueError as error:
        container.close()
        raise BadInput(number, str(error)) from None
    return container


def _pictures(stream: Any, rotation: int) -> Pictures:
    context = stream.codec_context
    rate = Fraction(stream.average_rate or stream.guessed_rate or 0)
    return Pictures(
        codec=context.name,
        parameter_sets=bytes(context.extradata or b""),
        size=(context.width, context.height),
        pixel_format=context.pix_fmt,
        pixel_shape=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
        rate=rate if RATES[0] <= rate <= RATES[1] else USUAL_RATE,
        time_base=Fraction(stream.time_base),
        rotation=rotation,
        colours=(context.color_range, context.color_primaries, context.color_trc, context.colorspace),
    )


def _sound(stream: Any) -> Sound:
    context = stream.codec_context
    return Sound(
        codec=context.name,
        profile=context.profile,
        parameters=bytes(context.extradata or b""),
        rate=context.sample_rate,
        layout=context.layout.name,
        time_base=Fraction(stream.time_base),
    )


def _seconds(stream: Any) -> Fraction | None:
    return None if stream.duration is None else stream.duration * Fraction(stream.time_base)


def _beginnings(container: Any, picture: Any, sound: Any, start: Fraction) -> tuple[int, int]:
    """Return when the sound begins, in samples from the first picture, and by how many degrees a player turns the
    pictures, counterclockwise: that of the first one.

    :raises ValueError: if no picture can be decoded, or if it is encrypted.
    """
    lead = None if sound is not None else 0
    rotation = None
    try:
        for packet in container.demux([picture, sound] if sound is not None else [picture]):
            if packet.has_sidedata("encryption_info"):
                raise ValueError("it is encrypted")
            if packet.stream is not picture:
                if lead is None and packet.pts is not None:
                    lead = round((packet.pts * Fraction(sound.time_base) - start) * sound.codec_context.sample_rate)
            elif rotation is None:
                rotation = _rotation(packet)
            if lead is not None and rotation is not None:
                break
    except av.error.FFmpegError:
        # Whoever reads it whole says what is wrong with it.
        pass
    if rotation is None:
        raise ValueError("no picture of it can be decoded")
    return lead or 0, rotation


def _rotation(packet: Any) -> int | None:
    """Return how the first picture of a packet is turned; ``None`` if it holds none that can be decoded."""
    frame = next(iter(frames_of(packet)), None)
    return None if frame is None else round(getattr(frame, "rotation", 0) or 0) % 360
