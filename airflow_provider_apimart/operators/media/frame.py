"""``VideoFrameOperator``: the first or the last frame of a video, as a picture beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.media.frame_orders import JOB, VERSION, Format, Which, frame_wanted
from airflow_provider_apimart.media.workshop import Order, make
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.media.base import MediaOperator, source_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class VideoFrameOperator(MediaOperator):
    """Store the first or the last frame of a video as a picture, such as the next shot can begin with.

    Returns (XCom) ``{"kind": "first_frame" | "last_frame", "path", "bytes", "sha256", "width", "height", "fingerprint",
    "parameters", "made_at", …}``. With ``multiple_outputs=True``, ``frame.output["path"]`` is what another task's
    ``first_frame_image=`` takes.

    :param video: a generate task's output (``generate.output``), one entry of its ``videos``, a row of a batch's
        manifest, or the absolute path of any video.
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param frame: ``first`` or ``last``.
    :param picture_format: ``png`` is exact; ``jpeg`` is a tenth of its size. APIMart takes pictures of up to 20 MB, and
        of up to 10 MB for the models that are not official, which a PNG at 4K exceeds.
    """

    template_fields: Sequence[str] = ("video", "sample", "frame", "picture_format", *MediaOperator.template_fields)
    object_fields: ClassVar[Collection[str]] = ("video",)

    def __init__(
        self,
        *,
        video: Any,
        sample: int | str | None = None,
        frame: Which = "last",
        picture_format: Format = "png",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.video = video
        self.sample = sample
        self.frame = frame
        self.picture_format = picture_format
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = self._one_video_problems(check, self.video, self.sample)
        problems += check(arguments.choice_problems, "frame", self.frame, ("first", "last"))
        return problems + check(arguments.choice_problems, "picture_format", self.picture_format, ("png", "jpeg"))

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the picture, unless it is there already, whole."""
        with self._work():
            source = source_of(self.video, self.sample)
            wanted = frame_wanted(self.frame, self.picture_format)
            (output,) = make(Order(JOB, VERSION, (source,), (wanted,), folder=self._folder(), **self._bounds()))
        self._tell_made(context, {"frame": output})
        return output.as_result()
