"""``VideoJoinOperator``: joins clips into one video, as they are where they agree."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.media.workshop import Order, Wanted, make
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.media.base import MediaOperator, source_of
from airflow_provider_apimart.operators.videos import ALLOWED, video_problems

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Raised when the same clips and parameters are to give another video.
VERSION = 1
Transition = Literal["cut", "fade", "fadeblack", "fadewhite", "wipeleft", "slideleft"]
TRANSITIONS = ("cut", "fade", "fadeblack", "fadewhite", "wipeleft", "slideleft")
Encode = Literal["auto", "never", "always"]
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
#: Each clip is an open file while they are joined.
MOST_CLIPS = 400
MAX_FADE_SECONDS = 2.0
LEAST_SIDE, MOST_SIDE = 16, 4096


class VideoJoinOperator(MediaOperator):
    """Join clips into one video, in their order.

    Where all clips have the same codec parameters and only cuts are wanted, their pictures are copied bit by bit. Their
    sound is copied, too, where its packets meet within 10 ms of their time at every cut, and else encoded alone.
    Anything else is encoded once, as H.264 and AAC, in the size and frame rate of the first clip: other sizes are
    fitted with black bars, and other frame rates repeat or drop frames. A clip without sound among clips with sound is
    silent. The sound stays with its pictures to the sample. The index comes first, so that players begin at once.

    Returns (XCom) ``{"kind": "join", "path", "bytes", "sha256", "width", "height", "duration_seconds", "has_audio",
    "fingerprint", "parameters", "made_at", "videos": [{"path", …}]}``, which ``video=`` of the other operators takes.

    :param videos: the clips: a list whose entries are what ``video=`` takes elsewhere (a generate task's output, one
        entry of its ``videos``, a manifest's row, an absolute path), or the output of a mapped task.
    :param transition: ``cut``, ``fade``, ``fadeblack``, ``fadewhite``, ``wipeleft`` or ``slideleft``.
    :param fade_seconds: how long a transition takes: up to 2 seconds. The two clips overlap by so much.
    :param size: of the joined video, as ``1280x720``; ``None``: that of the first clip.
    :param frame_rate: frames a second, up to 120; ``None``: that of the first clip.
    :param encode: ``auto``: what cannot be copied. ``never``: fail if the pictures cannot be copied. ``always``.
    :param crf: the quality of what is encoded, 0 to 40: lower is better and larger.
    :param preset: x264's: how much time goes into making it smaller.
    """

    template_fields: Sequence[str] = (
        *("videos", "transition", "fade_seconds", "size", "frame_rate", "encode", "crf", "preset"),
        *MediaOperator.template_fields,
    )
    object_fields: ClassVar[Collection[str]] = ("videos",)

    def __init__(
        self,
        *,
        videos: Any,
        transition: Transition = "cut",
        fade_seconds: float | str = 0.5,
        size: str | None = None,
        frame_rate: float | str | None = None,
        encode: Encode = "auto",
        crf: int | str = 18,
        preset: str = "medium",
        time_limit: timedelta | float | str = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(time_limit=time_limit, **kwargs)
        self.videos = videos
        self.transition = transition
        self.fade_seconds = fade_seconds
        self.size = size
        self.frame_rate = frame_rate
        self.encode = encode
        self.crf = crf
        self.preset = preset
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = check(clip_problems, "videos", self.videos)
        problems += check(arguments.choice_problems, "transition", self.transition, TRANSITIONS)
        fade = f"seconds, up to {MAX_FADE_SECONDS:g}"
        problems += check(arguments.range_problems, "fade_seconds", self.fade_seconds, 0.04, MAX_FADE_SECONDS, fade)
        if not arguments.is_unset(self.frame_rate):
            problems += check(arguments.range_problems, "frame_rate", self.frame_rate, 1, 120, "1 to 120, or None")
        problems += check(size_problems, "size", self.size)
        problems += check(arguments.choice_problems, "encode", self.encode, ("auto", "never", "always"))
        problems += check(arguments.range_problems, "crf", self.crf, 0, 40, "a number from 0 to 40")
        return problems + check(arguments.choice_problems, "preset", self.preset, PRESETS)

    def execute(self, context: Context) -> dict[str, Any]:
        """Join the clips, unless the joined video is there already, whole."""
        with self._work():
            clips = clips_of(self.videos)
            (output,) = make(
                Order(
                    job="join",
                    version=VERSION,
                    inputs=tuple(source_of(clip, name="videos") for clip in clips),
                    wanted=(Wanted("join", "join", ".mp4", self._parameters()),),
                    folder=self._folder(),
                    **self._bounds(),
                )
            )
        self._tell_made(context, {"join": output}, clips)
        return output.as_result()

    def _parameters(self) -> dict[str, Any]:
        rate = None if arguments.is_unset(self.frame_rate) else arguments.number_of(self.frame_rate)
        fades = self.transition != "cut"
        return {
            "transition": self.transition,
            # What does not matter is not to change the name of the file.
            "fade_seconds": arguments.number_of(self.fade_seconds) if fades else 0,
            "size": size_of(self.size),
            "frame_rate": rate,
            "encode": self.encode,
            "crf": int(arguments.number_of(self.crf) or 0),
            "preset": self.preset,
        }


def clips_of(videos: Any) -> list[Any]:
    """Return the clips of ``videos=``, each as what ``video=`` takes.

    :raises ValueError: if it is no list of clips.
    """
    videos = arguments.from_json_text(videos)
    if isinstance(videos, Mapping):
        # The videos of one generation.
        videos = videos.get("videos")
    if isinstance(videos, (str, bytes, ObjectStoragePath)) or not isinstance(videos, Iterable):
        raise ValueError("not a list")
    # A mapped task's outputs come one by one.
    return list(videos)


def clip_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with ``videos=``, without looking at the storage."""
    allowed = f"allowed: a list of 1 to {MOST_CLIPS} videos; of each, {ALLOWED.removeprefix('allowed: ')}"
    try:
        clips = clips_of(value)
    except (ValueError, RecursionError):
        return [FieldProblem(name, value, allowed)]
    if not 1 <= len(clips) <= MOST_CLIPS:
        return [FieldProblem(name, f"{len(clips)} videos", allowed)]
    problems: list[FieldProblem] = []
    for number, clip in enumerate(clips):
        found = video_problems(name, clip, None)
        problems += [FieldProblem(f"{name}[{number}]", problem.value, problem.allowed) for problem in found]
    return problems


def size_of(size: Any) -> list[int] | None:
    """Return the sides of ``1280x720``; ``None`` if none is set.

    :raises ValueError: for anything else.
    """
    if arguments.is_unset(size):
        return None
    match = re.fullmatch(r"\s*([0-9]{2,4})\s*[xX]\s*([0-9]{2,4})\s*", str(size), re.ASCII)
    sides = [int(side) for side in match.groups()] if match else []
    if len(sides) != 2 or not all(LEAST_SIDE <= side <= MOST_SIDE and side % 2 == 0 for side in sides):
        raise ValueError("not a size")
    return sides


def size_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with a size."""
    try:
        size_of(value)
    except ValueError:
        allowed = f"allowed: even numbers from {LEAST_SIDE} to {MOST_SIDE}, such as '1280x720', or None"
        return [FieldProblem(name, value, allowed)]
    return []
