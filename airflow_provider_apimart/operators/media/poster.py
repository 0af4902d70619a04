"""``VideoPosterOperator``: the pictures that stand for a video."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.media import frame_orders, poster_orders
from airflow_provider_apimart.media.sidecar import Output
from airflow_provider_apimart.media.workshop import Order, Source, Wanted, make
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.media.base import MediaOperator, source_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

FRAMES = ("first", "last")
FRAME_FORMATS = ("png", "jpeg")
#: What the result always has.
KINDS = ("poster", "preview", "first_frame", "last_frame")


class VideoPosterOperator(MediaOperator):
    """Make a poster of a video: its sharpest picture that is not black. On request also an animated preview, and the
    first and the last frame, which are what a next shot begins or ends with (``first_frame_image=``).

    Colours are those that a player shows (BT.601, BT.709, limited and full range), and the pictures stand upright. What
    is there already, whole, is not made again.

    Returns (XCom) ``{"video": {"path", "sha256"}, "poster", "preview", "first_frame", "last_frame"}``. Each of the four
    is null or ``{"kind", "path", "bytes", "sha256", "width", "height", "fingerprint", "parameters", "made_at"}``.
    All are noted in ``<video>.media.json``.

    :param video: a generate task's output (``generate.output``), one entry of its ``videos``, a row of a batch's
        manifest, or the absolute path of any landed or own video (text or ``ObjectStoragePath``).
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param poster_format: ``jpeg`` or ``webp``.
    :param width: of the poster, in pixels; ``None`` keeps the video's. It is never made larger.
    :param quality: of the poster, 1 to 100.
    :param preview: also make an animated WebP of the first 4 seconds, 360 pixels wide.
    :param frames: also make these frames: any of ``first`` and ``last``.
    :param frame_format: of these: ``png`` (exact) or ``jpeg``.
    :param output_path: a folder for the pictures, with ``/`` at the end; ``None`` puts them beside the video.
    :param time_limit: how long the work may take: ``timedelta`` or seconds.
    :param memory_limit_mib: how much memory it may take, in MiB.
    """

    template_fields: Sequence[str] = (
        *("video", "sample", "poster_format", "width", "quality", "preview", "frames", "frame_format"),
        *MediaOperator.template_fields,
    )
    object_fields: ClassVar[Collection[str]] = ("video", "frames")

    def __init__(
        self,
        *,
        video: Any,
        sample: int | str | None = None,
        poster_format: str = "jpeg",
        width: int | str | None = None,
        quality: int | str = 85,
        preview: bool | str = False,
        frames: Sequence[str] | None = None,
        frame_format: str = "png",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.video = video
        self.sample = sample
        self.poster_format = poster_format
        self.width = width
        self.quality = quality
        self.preview = preview
        self.frames = frames
        self.frame_format = frame_format
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = self._one_video_problems(check, self.video, self.sample)
        problems += check(arguments.choice_problems, "poster_format", self.poster_format, poster_orders.FORMATS)
        if not arguments.is_unset(self.width):
            problems += check(arguments.count_problems, "width", self.width)
        problems += check(arguments.range_problems, "quality", self.quality, 1, 100, "1 to 100")
        problems += check(arguments.truth_problems, "preview", self.preview)
        problems += check(frames_problems, "frames", self.frames)
        return problems + check(arguments.choice_problems, "frame_format", self.frame_format, FRAME_FORMATS)

    def execute(self, context: Context) -> dict[str, Any]:
        """Make what is wanted and is not there yet."""
        with self._work():
            source = source_of(self.video, self.sample)
            width = arguments.number_of(self.width)
            wanted = [
                poster_orders.poster_wanted(
                    self.poster_format,
                    None if width is None else int(width),
                    int(arguments.number_of(self.quality) or 0),
                )
            ]
            if arguments.truth_of(self.preview):
                wanted.append(poster_orders.preview_wanted())
            made = list(self._made(poster_orders.JOB, poster_orders.VERSION, source, wanted))
            frames: list[Any] = list(dict.fromkeys(self.frames or ()))
            # The poster was made of what was there then, and the frames are of the same file.
            source = Source(source.place, made[0].made_of[0].sha256)
            if frames:
                shots = [frame_orders.frame_wanted(which, self.frame_format) for which in frames]  # type: ignore[arg-type]
                made += self._made(frame_orders.JOB, frame_orders.VERSION, source, shots)
        self._tell_made(context, {output.kind: output for output in made})
        found = {output.kind: output.as_result() for output in made}
        return {
            "video": {"path": source.place.uri, "sha256": source.sha256},
            **{kind: found.get(kind) for kind in KINDS},
        }

    def _made(self, job: str, version: int, source: Source, wanted: Sequence[Wanted]) -> tuple[Output, ...]:
        return make(Order(job, version, (source,), tuple(wanted), folder=self._folder(), **self._bounds()))


def frames_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with the frames that are wanted."""
    if value is None or (isinstance(value, (list, tuple)) and all(which in FRAMES for which in value)):
        return []
    return [FieldProblem(name, value, "allowed: None, or a list of 'first' and 'last'")]
