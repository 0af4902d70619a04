"""What the media operators share: ``video=``, ``output_path=``, the bounds of the work, and their errors.

Media work is a worker's work: it runs in ``execute``, in a child process, and waits for nobody. It never pays.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart._compat import AirflowFailException, BaseOperator
from airflow_provider_apimart.client.errors import ApimartError, FieldProblem
from airflow_provider_apimart.hooks.reports import lineage
from airflow_provider_apimart.hooks.storage.paths import VIDEO_SUFFIXES, target_of
from airflow_provider_apimart.media.child import stop_children
from airflow_provider_apimart.media.extra import require_media
from airflow_provider_apimart.media.sidecar import Output
from airflow_provider_apimart.media.workshop import Source
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.lineage import TellsLineage
from airflow_provider_apimart.operators.templates import AuthorTemplates
from airflow_provider_apimart.operators.videos import (
    find,
    generation_ids_of,
    path_of,
    sample_problems,
    video_problems,
)
from airflow_provider_apimart.storage.files import Target
from airflow_provider_apimart.storage.localfs import drop_parts
from airflow_provider_apimart.storage.places import check_target

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

MIB = 1024 * 1024


class MediaOperator(TellsLineage, AuthorTemplates, BaseOperator):
    """What the media operators share. A subclass with one video takes ``video`` and ``sample`` as well.

    A subclass sets its own arguments, calls :meth:`_refuse_literals` at the end of its ``__init__``, returns what is
    wrong with them from :meth:`_own_problems`, and does its work within :meth:`_work`:

    .. code-block:: python

        def execute(self, context: Context) -> dict[str, Any]:
            with self._work():
                source = source_of(self.video, self.sample)
                (output,) = make(Order(..., inputs=(source,), folder=self._folder(), **self._bounds()))
                self._tell_made(context, {"poster": output})
                return output.as_result()

    :param output_path: a folder for what is made: a local path or any ``ObjectStoragePath``, with ``/`` at the end.
        ``None`` puts it beside the video. The files' names hold a fingerprint, so they never replace one another.
    :param time_limit: how long the work on one video may take: ``timedelta`` or seconds.
    :param memory_limit_mib: how much memory it may take, in MiB.
    """

    template_fields: Sequence[str] = ("output_path", "time_limit", "memory_limit_mib")
    needed_fields: ClassVar[Collection[str]] = ("video", "videos")
    ui_color = "#e6f5ec"

    def __init__(
        self,
        *,
        output_path: Any = None,
        time_limit: timedelta | float | str = timedelta(minutes=5),
        memory_limit_mib: int | str = 2048,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.time_limit = time_limit
        self.memory_limit_mib = memory_limit_mib

    # --- arguments ----------------------------------------------------------------------------------------------------

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        """Return what is wrong with the operator's own arguments.

        :param check: runs a check now, or skips it for a value that is not known before the task runs.
        """
        return []

    def _problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = self._own_problems(check)
        problems += check(folder_problems, "output_path", self.output_path)
        problems += check(limit_problems, "time_limit", self.time_limit)
        return problems + check(arguments.count_problems, "memory_limit_mib", self.memory_limit_mib)

    def _refuse_literals(self) -> None:
        """Check those arguments that are known while the DAG is parsed."""
        arguments.refuse(arguments.owner_of(self), self._problems(arguments.unless_late(self)))

    def _one_video_problems(self, check: arguments.Check, video: Any, sample: Any) -> list[FieldProblem]:
        """Return what is wrong with ``video=`` and ``sample=``."""
        problems = check(sample_problems, "sample", sample)
        if problems or arguments.is_template(sample, arguments.marks_of(self)):
            return problems
        return check(video_problems, "video", video, sample)

    # --- the work -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _work(self) -> Iterator[None]:
        """Check the rendered arguments and the extra, and turn errors into Airflow's.

        An error that a retry cannot mend fails the task for good.
        """
        arguments.refuse(arguments.owner_of(self), self._problems(arguments.always))
        with media_failures():
            require_media()
            yield

    def on_kill(self) -> None:
        """Stop the work: Airflow kills this process next. What was delivered stays, and the next try makes the rest."""
        stop_children()
        drop_parts()

    def _folder(self) -> Target | None:
        """Return the folder of ``output_path``, after checking that it can be written to."""
        if arguments.is_unset(self.output_path):
            return None
        folder = target_of(self.output_path)
        check_target(folder)
        return folder

    def _bounds(self) -> dict[str, Any]:
        """Return the bounds of the work as arguments of :class:`.Order` or :func:`.run_isolated`."""
        return {
            "seconds": arguments.seconds_of(self.time_limit),
            "memory_bytes": int(arguments.number_of(self.memory_limit_mib) or 0) * MIB,
        }

    # --- lineage ------------------------------------------------------------------------------------------------------

    def _tell_made(self, context: Context, made: Mapping[str, Output], clips: Sequence[Any] = ()) -> None:
        """Tell the task's asset events and OpenLineage what was made, each file under its name in the result.

        :param clips: what ``videos=`` turned out to be.
        """
        ids = generation_ids_of([*self._given(), *clips])
        self._tell(context, partial(lineage.of_media, tuple(made.items()), generation_ids=ids))

    def _sources(self) -> Iterable[Any]:
        sample = getattr(self, "sample", None)
        return [path for given in self._given() for path in path_of(given, sample)]

    def _given(self) -> list[Any]:
        """Return what the rendered arguments name. A mapped task's outputs are not fetched for it."""
        several = getattr(self, "videos", None)
        return [getattr(self, "video", None), *(several if isinstance(several, (list, tuple)) else (several,))]


@contextmanager
def media_failures() -> Iterator[None]:
    """Fail the task for good on errors that a retry cannot mend, and say that nothing was paid."""
    try:
        yield
    except ApimartError as error:
        text = f"{str(error).rstrip('. ')}. Nothing was paid, and no video was changed"
        if error.terminal:
            raise AirflowFailException(f"{text}. A retry would end in the same way.") from error
        error.explained = f"{text}. A retry goes on from here."
        raise


def source_of(video: Any, sample: Any = None, name: str = "video") -> Source:
    """Return the file of ``video=`` for an :class:`.Order`.

    :param name: the argument that named it.
    :raises InvalidParameterError: if it names no video.
    :raises LandingError: if the storage does not answer.
    """
    place, known = find(video, sample, name)
    return Source(place, known.sha256 if known else None)


def folder_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with an optional folder for outputs, without looking at the storage."""
    if arguments.is_unset(value):
        return []
    problems = arguments.output_problems(name, value)
    text = str(value)
    is_file = posixpath.splitext(text)[1].lower() in VIDEO_SUFFIXES
    if problems or text.endswith("/") or (not isinstance(value, str) and not is_file):
        return problems
    return [FieldProblem(name, text, f"allowed: a folder, such as {text + '/'!r}: each file in it is named by itself")]


def limit_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with a duration that must be given."""
    if arguments.is_unset(value):
        return [FieldProblem(name, value, "allowed: a timedelta or a number of seconds, 1 or more")]
    return arguments.seconds_problems(name, value)
