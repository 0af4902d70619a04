"""Operator that brings a video into the shape, the look and the limits of the channels it goes to."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.renditions.installed import installed_fonts
from airflow_provider_apimart.media.renditions.look import Wanted, wanted
from airflow_provider_apimart.media.renditions.order import order_of
from airflow_provider_apimart.media.workshop import Source, make
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.media.base import MediaOperator
from airflow_provider_apimart.operators.videos import find
from airflow_provider_apimart.storage.naming import is_absolute

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: The arguments that say what all renditions share.
LOOK = ("logo", "captions", "end_card", "music", "loudness")


class VideoRenditionOperator(MediaOperator):
    """Makes renditions of a video: one for each channel, all in one decode.

    Each is H.264 and AAC in an MP4 that begins to play before it is loaded, in BT.709 and 4:2:0, within the limits of
    its network. What is made already is not made again, and what cannot be made as asked for is refused before anything
    is made. Nothing is paid.

    .. code-block:: python

        renditions = VideoRenditionOperator(
            task_id="renditions",
            video=generate.output,
            shapes=["youtube", {"preset": "reels", "fit": "blur"}],
            logo="s3://brand@assets/logo.png",
            captions={"text": "신제품 출시 🎉"},
            end_card="shop.example.com",
            loudness=-14,
        )
        InstagramReelPublishOperator(task_id="post", video=renditions.output["reels"], ...)

    Results (XCom): ``{"outputs": {name: output}, "videos": [...]}``, and each output under its own name as a key. An
    output is ``{"kind": "rendition", "path", "bytes", "sha256", "width", "height", "duration_seconds", "has_audio",
    "fingerprint", "parameters", "made_at", "videos": [...]}``, so everything that takes a generation's output takes it.
    That of a generated video has its ``generation_id`` as well.

    :param video: a generate task's output, one of its videos, a manifest's row, or the absolute path of any video.
    :param sample: which of a generation's several videos, counted from 1.
    :param shapes: what to make: a preset (``youtube``, ``shorts``, ``reels``, ``tiktok``, ``square``, ``feed``), a dict
        (:class:`~airflow_provider_apimart.media.renditions.look.Shape`: ``preset``, ``name``, ``width``, ``height``,
        ``fit`` = ``pad`` | ``crop`` | ``blur``, ``background``, ``frame_rate``, ``crf``, ``effort``, ``video_bitrate``,
        ``audio_bitrate``), or a list of these.
    :param logo: a picture's path, or a dict (``path``, ``position``, ``width``, ``margin``, ``opacity``).
    :param captions: an SRT, WebVTT or text file's path, or a dict (``path`` or ``text``, ``format``, ``mode`` =
        ``burn`` | ``soft``, ``fonts``, ``size``, ``colour``, ``outline``, ``margin``, ``language``). A text that no
        font has is refused with the characters named.
    :param end_card: a text, or a dict (``text``, ``path``, ``seconds``, ``fonts``, ``size``, ``colour``,
        ``background``).
    :param music: a sound file's path, or a dict (``path``, ``volume_db``, ``ducking``, ``fade_seconds``).
    :param loudness: in LUFS (networks bring videos to about -14), or a dict (``lufs``, ``true_peak_db``); ``None``
        leaves it.
    :param output_path: a folder for the renditions; ``None`` puts them beside the video.
    :param time_limit: how long the work may take: ``timedelta`` or seconds.
    :param memory_limit_mib: how much memory it may take, in MiB. Each rendition of 1080p needs about 500.
    """

    template_fields: Sequence[str] = ("video", "sample", "shapes", *LOOK, *MediaOperator.template_fields)
    object_fields: ClassVar[Collection[str]] = ("video", "shapes", *LOOK)
    needed_fields: ClassVar[Collection[str]] = ("video", "shapes")

    def __init__(
        self,
        *,
        video: Any,
        sample: int | str | None = None,
        shapes: Any,
        logo: Any = None,
        captions: Any = None,
        end_card: Any = None,
        music: Any = None,
        loudness: Any = None,
        time_limit: timedelta | float | str = timedelta(minutes=30),
        memory_limit_mib: int | str = 4096,
        **kwargs: Any,
    ) -> None:
        super().__init__(time_limit=time_limit, memory_limit_mib=memory_limit_mib, **kwargs)
        self.video = video
        self.sample = sample
        self.shapes = shapes
        self.logo = logo
        self.captions = captions
        self.end_card = end_card
        self.music = music
        self.loudness = loudness
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = self._one_video_problems(check, self.video, self.sample)
        problems += check(shape_problems, "shapes", self.shapes)
        for name in LOOK:
            problems += check(look_problems, name, getattr(self, name))
        return problems

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the renditions that are not there yet, and return all."""
        with self._work():
            place, known = find(self.video, self.sample)
            order = order_of(
                Source(place, known.sha256 if known else None),
                self._wanted(),
                lambda name, path: Source(file_of(path, name)),
                installed_fonts,
                folder=self._folder(),
                **self._bounds(),
            )
            made = {each.name: output for each, output in zip(order.wanted, make(order), strict=True)}
        self._tell_made(context, made)
        outputs = {name: output.as_result() for name, output in made.items()}
        for name, output in outputs.items():
            if known is not None and known.generation_id is not None:
                output["generation_id"] = known.generation_id
            context["ti"].xcom_push(key=name, value=output)
        return {"outputs": outputs, "videos": [video for output in outputs.values() for video in output["videos"]]}

    def _wanted(self) -> Wanted:
        asked, problems = wanted(plain(self.shapes), **{name: plain(getattr(self, name)) for name in LOOK})
        if asked is None:
            raise InvalidParameterError(tuple(problems))
        return asked


def shape_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with ``shapes=``."""
    if arguments.is_unset(value):
        return [FieldProblem(name, value, "allowed: a preset, a dict, or a list of these")]
    return wanted(plain(value))[1]


def look_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with an argument that all renditions share, one of :data:`LOOK`."""
    asked, problems = wanted("youtube", **{name: plain(value)})
    return problems if asked is None else problems + look_path_problems(asked)


def look_path_problems(asked: Wanted) -> list[FieldProblem]:
    """Return what is wrong with the paths of the files that renditions take, without looking at the storage."""
    return [problem for field, path in look_paths(asked) for problem in _path_problems(field, path)]


def look_paths(asked: Wanted) -> list[tuple[str, str]]:
    """Return the files that renditions take besides the video: the argument of each, and its path."""
    parts = [(name, getattr(asked.look, name)) for name in LOOK]
    paths = [(f"{name}.path", getattr(part, "path", None)) for name, part in parts]
    paths += [(f"{name}.fonts", path) for name, part in parts for path in getattr(part, "fonts", ())]
    return [(field, path) for field, path in paths if path is not None]


def _path_problems(name: str, path: str) -> list[FieldProblem]:
    if is_absolute(path) and not path.endswith("/") and "\x00" not in path:
        return []
    return [
        FieldProblem(name, path, "allowed: the absolute path of a file, such as /data/logo.png or s3://conn@bucket/a")
    ]


def plain(value: Any) -> Any:
    """Return a value with its paths as texts. A JSON object or list that a template rendered to is read."""
    try:
        found = arguments.from_json_text(value)
    except (ValueError, RecursionError):
        # A text of the user's own may begin like this.
        return value
    return None if arguments.is_unset(found) else _with_texts(found)


def _with_texts(value: Any) -> Any:
    if isinstance(value, os.PathLike | ObjectStoragePath):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _with_texts(item) for key, item in value.items()}
    return [_with_texts(item) for item in value] if isinstance(value, list | tuple) else value
