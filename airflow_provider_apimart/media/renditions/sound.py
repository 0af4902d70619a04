"""The sound of a rendition: the video's own, a music bed under it, the loudness. All by FFmpeg's filters.

The sound has exactly as many samples as asked for, whatever the video brings: it is padded with silence and cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import av.filter

from airflow_provider_apimart.media.errors import BadInput, Refused, raise_if_out_of_memory
from airflow_provider_apimart.media.opening import frames_of, open_media
from airflow_provider_apimart.media.renditions.look import Loudness, Music
from airflow_provider_apimart.media.renditions.source import Reader, Source

RATE = 48_000
#: Both inputs of a mix have this form.
FORM = {"sample_fmts": "fltp", "sample_rates": str(RATE), "channel_layouts": "stereo"}
#: What ebur128 says where nothing is loud enough to be measured.
UNMEASURED_LUFS = -70.0
#: A sound that is quieter by more than this is left as it is: it is noise, not a sound recorded too low.
MAX_GAIN_DB = 30.0
#: Peaks between samples are seen at four times the rate, as EBU R128 measures them.
OVERSAMPLED = 4 * RATE
#: How the music yields to speech: down fast, up slowly, by about 10 dB under a voice at -20 LUFS.
DUCKING = {"threshold": "0.02", "ratio": "6", "attack": "20", "release": "400", "makeup": "1"}
AAC_FRAME = 1024


@dataclass(frozen=True)
class Gain:
    """What brings a sound to its loudness.

    :param measured_lufs: before; ``None`` if it is too quiet to be measured.
    :param limit_db: the true peak that a limiter keeps; ``None`` if nothing reaches it.
    """

    measured_lufs: float | None
    db: float
    limit_db: float | None


UNCHANGED = Gain(None, 0.0, None)


class Mix:
    """The graph of a sound: push the video's own, pull the whole.

    :param samples: how many come out, at :data:`RATE`.
    :param meter: measure the loudness of what comes out.
    """

    def __init__(
        self, source: Source, first: Any, samples: int, music: Music | None, gain: Gain, *, meter: bool = False
    ) -> None:
        self._done = False
        self._music = _Bed(music) if music is not None else None
        self._samples = samples
        graph = self._graph = av.filter.Graph()
        own = self._own(graph, first, samples) if first is not None else None
        bed = self._bed(graph, music, samples) if music is not None else None
        last = own or bed
        if own is not None and bed is not None and music is not None:
            last = _mixed(graph, own, bed, music.ducking)
        if gain.db:
            last = _then(graph, last, "volume", volume=f"{gain.db:.3f}dB", precision="float")
        if gain.limit_db is not None:
            last = _limited(graph, last, gain.limit_db)
        if meter:
            last = _then(graph, last, "ebur128", metadata="1", peak="true")
        last = _exact(graph, last, samples)
        self._sink = graph.add("abuffersink")
        last.link_to(self._sink)
        graph.configure()
        graph.set_audio_frame_size(AAC_FRAME)
        #: How far the video's own sound has been pushed, in seconds.
        self._at = 0.0

    def _own(self, graph: Any, first: Any, samples: int) -> Any:
        self._input = graph.add_abuffer(
            sample_rate=first.sample_rate, format=first.format.name, layout=first.layout.name, time_base=first.time_base
        )
        # Gaps in the sound stay gaps, and its start keeps its distance to the first picture.
        last = _then(graph, self._input, "aresample", sample_rate=str(RATE), **{"async": "1", "first_pts": "0"})
        return _exact(graph, _then(graph, last, "aformat", **FORM), samples)

    def _bed(self, graph: Any, music: Music, samples: int) -> Any:
        self._bed_input = graph.add_abuffer(
            sample_rate=RATE, format="fltp", layout="stereo", time_base=Fraction(1, RATE)
        )
        last = _then(graph, self._bed_input, "volume", volume=f"{music.volume_db:.3f}dB", precision="float")
        last = _exact(graph, last, samples)
        fade = min(music.fade_seconds, samples / RATE)
        if fade > 0:
            last = _then(graph, last, "afade", t="out", st=f"{samples / RATE - fade:.6f}", d=f"{fade:.6f}")
        return last

    def push(self, frame: Any) -> Iterator[Any]:
        """Push a frame of the video's own sound, and yield what comes out."""
        time = float(frame.time or 0) + frame.samples / frame.sample_rate
        self._push(self._input, frame)
        yield from self.reach(time)

    def reach(self, seconds: float) -> Iterator[Any]:
        """Bring the music up to a time, and yield what comes out."""
        if self._music is not None:
            for frame in self._music.until(min(seconds, self._samples / RATE)):
                self._push(self._bed_input, frame)
                yield from self._pull()
        yield from self._pull()

    def finish(self) -> Iterator[Any]:
        """End the video's own sound, and yield the rest."""
        if hasattr(self, "_input"):
            self._push(self._input, None)
        seconds = 0.0
        while self._music is not None and seconds < self._samples / RATE:
            seconds = max(seconds, self._music.seconds) + 1.0
            yield from self.reach(seconds)
        if self._music is not None:
            self._push(self._bed_input, None)
        yield from self._pull()

    def _push(self, target: Any, frame: Any) -> None:
        try:
            target.push(frame)
        except (EOFError, av.error.EOFError):
            # The graph has all that it needs.
            self._done = True

    def _pull(self) -> Iterator[Any]:
        while True:
            try:
                yield self._sink.pull()
            except (BlockingIOError, EOFError, av.error.BlockingIOError, av.error.EOFError):
                return


class _Bed:
    """Reads the music, again from its start where it is shorter than the video."""

    def __init__(self, music: Music) -> None:
        self._frames = self._read(music.path)
        self.seconds = 0.0

    def until(self, seconds: float) -> Iterator[Any]:
        while self.seconds < seconds:
            frame = next(self._frames)
            frame.pts, frame.time_base = round(self.seconds * RATE), Fraction(1, RATE)
            self.seconds += frame.samples / RATE
            yield frame

    @staticmethod
    def _read(path: str) -> Iterator[Any]:
        while True:
            heard = 0
            try:
                with open_media(path) as container:
                    if not container.streams.audio:
                        raise Refused("music: the file holds no sound")
                    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
                    for packet in container.demux(container.streams.audio[0]):
                        for frame in frames_of(packet):
                            for made in resampler.resample(frame):
                                heard += made.samples
                                yield made
            except av.error.FFmpegError as error:
                raise_if_out_of_memory(error)
                raise Refused(f"music: the file cannot be read: {error.strerror}") from None
            if not heard:
                raise Refused("music: no sound of it can be decoded")


def first_sound(source: Source) -> Any:
    """Return the first frame of a video's sound; ``None`` without one.

    :raises BadInput: if there is sound, and nothing of it can be decoded.
    """
    if not source.has_sound:
        return None
    reader = Reader(source, pictures=False)
    first = next(iter(reader), None)
    if first is None and reader.errors:
        raise BadInput(0, "nothing of its sound can be decoded")
    return first


def measured_gain(source: Source, first: Any, samples: int, music: Music | None, wanted: Loudness) -> Gain:
    """Read the whole sound, and return what brings it to its loudness."""
    loudness, peak = _measure(source, first, samples, music, UNCHANGED)
    if loudness is None or wanted.lufs - loudness > MAX_GAIN_DB:
        return Gain(loudness, 0.0, None)
    db = wanted.lufs - loudness
    if peak is None or peak + db <= wanted.true_peak_db:
        return Gain(loudness, db, None)
    limited = Gain(loudness, db, wanted.true_peak_db)
    after, _ = _measure(source, first, samples, music, limited)
    # A limiter takes some loudness. Once more makes up for it, as far as the peaks allow.
    more = min(3.0, max(0.0, wanted.lufs - after)) if after is not None else 0.0
    return Gain(loudness, db + more, wanted.true_peak_db)


def _measure(
    source: Source, first: Any, samples: int, music: Music | None, gain: Gain
) -> tuple[float | None, float | None]:
    """Return the integrated loudness and the true peak in dB; ``None`` where there is nothing to measure."""
    mix = Mix(source, first, samples, music, gain, meter=True)
    loudness, peak = None, 0.0
    for frame in sounds(mix, Reader(source, pictures=False) if first is not None else ()):
        told = frame.metadata.get("lavfi.r128.I")
        if told is not None and math.isfinite(float(told)) and float(told) > UNMEASURED_LUFS:
            loudness = float(told)
        peak = max([peak, *(_finite(frame.metadata.get(f"lavfi.r128.true_peaks_ch{side}")) for side in (0, 1))])
    return loudness, 20 * math.log10(peak) if peak > 0 else None


def _finite(told: str | None) -> float:
    value = float(told) if told is not None else 0.0
    return value if math.isfinite(value) else 0.0


def sounds(mix: Mix, frames: Any) -> Iterator[Any]:
    """Yield a whole mix."""
    for frame in frames:
        yield from mix.push(frame)
    yield from mix.finish()


def _then(graph: Any, last: Any, name: str, **options: str) -> Any:
    following = graph.add(name, **options)
    last.link_to(following)
    return following


def _exact(graph: Any, last: Any, samples: int) -> Any:
    return _then(graph, _then(graph, last, "apad", whole_len=str(samples)), "atrim", end_sample=str(samples))


def _limited(graph: Any, last: Any, limit_db: float) -> Any:
    last = _then(graph, last, "aresample", sample_rate=str(OVERSAMPLED))
    # AAC adds a little to the peaks.
    limit = 10 ** ((limit_db - 0.3) / 20)
    last = _then(graph, last, "alimiter", limit=f"{limit:.6f}", level="disabled", attack="5", release="50", latency="1")
    last = _then(graph, last, "aresample", sample_rate=str(RATE))
    return _then(graph, last, "aformat", **FORM)


def _mixed(graph: Any, own: Any, bed: Any, ducking: bool) -> Any:
    if ducking:
        split = _then(graph, own, "asplit")
        compress = graph.add("sidechaincompress", **DUCKING)
        bed.link_to(compress, 0, 0)
        split.link_to(compress, 1, 1)
        own, bed = split, compress
    mix = graph.add("amix", inputs="2", normalize="0", duration="longest")
    own.link_to(mix, 0, 0)
    bed.link_to(mix, 0, 1)
    return mix
