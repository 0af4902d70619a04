"""What was measured in a video."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Span(BaseModel):
    """A stretch of time, in seconds from the start."""

    model_config = ConfigDict(frozen=True)

    start: float
    end: float


class VideoFacts(BaseModel):
    """What a whole decode of a video found.

    :param duration_seconds: of the pictures, from the first to the end of the last.
    :param declared_seconds: what the container says of the duration of its pictures (ffprobe's ``duration`` of the
        stream); ``None`` if it says nothing.
    :param frames: pictures that were decoded.
    :param frame_rate: pictures a second.
    :param width: as shown, after rotation, in square pixels.
    :param height: as shown, after rotation.
    :param video_codec: FFmpeg's name of it, such as ``h264``.
    :param pixel_format: FFmpeg's name of it, such as ``yuv420p``.
    :param audio_codec: ``None`` without sound, as is all below about sound.
    :param audio_seconds: how long the sound is.
    :param faststart: whether a player can begin before it has the whole file; ``None`` if the file is no MP4.
    :param decode_errors: packets that could not be decoded, and pictures that are marked as damaged.
    :param black: where the picture is black.
    :param frozen: where the picture stands still.
    :param silent: where no sound is heard.
    :param loudness_lufs: integrated loudness by EBU R128; ``None`` if too short or too silent to measure.
    :param peak_dbfs: the loudest sample.
    :param clipped_share: samples at full scale, as a share of all.
    """

    model_config = ConfigDict(frozen=True)

    duration_seconds: float
    declared_seconds: float | None = None
    frames: int
    frame_rate: float
    width: int
    height: int
    video_codec: str
    pixel_format: str | None = None
    audio_codec: str | None = None
    audio_seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    faststart: bool | None = None
    decode_errors: int = 0
    black: tuple[Span, ...] = ()
    frozen: tuple[Span, ...] = ()
    silent: tuple[Span, ...] = ()
    loudness_lufs: float | None = None
    peak_dbfs: float | None = None
    clipped_share: float | None = None

    @property
    def black_share(self) -> float:
        """The share of the time in which the picture is black."""
        return _share(self.black, self.duration_seconds)

    @property
    def frozen_share(self) -> float:
        """The share of the time in which the picture stands still."""
        return _share(self.frozen, self.duration_seconds)

    @property
    def silent_share(self) -> float:
        """The share of the sound in which nothing is heard."""
        return _share(self.silent, self.audio_seconds or 0)


def _share(spans: tuple[Span, ...], whole: float) -> float:
    return min(1.0, sum(span.end - span.start for span in spans) / whole) if whole > 0 else 0.0
