"""The workshop: makes files of videos, in any storage, once.

It owns the order of the steps: read the inputs' checksums, find what is already made, stage the inputs, run the job in
a child process, deliver, note. Keeps invariant 12: an output's name holds a fingerprint of its inputs and parameters,
and it appears whole or not at all. A try that is killed anywhere leaves nothing but whole files; the next one makes
what is missing. No file is held in memory.

A piece of work is a job (a function in :data:`.child.JOBS`) and an :class:`Order`:

.. code-block:: python

    # media/poster.py; in JOBS: "poster": ("airflow_provider_apimart.media.poster", "make_posters")
    def make_posters(inputs: list[str], outputs: list[dict[str, Any]]) -> dict[str, Any]:
        with open_media(inputs[0]) as container:       # media/opening.py: never av.open() on a file from outside
            ...
        for output in outputs:                          # only those that are missing
            write(output["path"], output["parameters"])  # no suffix to guess from: name the format
        return {output["name"]: {"width": 1280, "height": 720} for output in outputs}

    # in the operator or wherever it is asked for
    order = Order(
        job="poster",
        version=1,                                      # raise it when the work itself changes
        inputs=(Source(place, sha256=sha256),),         # the outputs are named after the first one
        wanted=(Wanted(kind="poster", name="poster", suffix=".jpg", parameters={"quality": 85}),),
        folder=None,                                    # beside the first input, or a folder
    )
    (poster,) = make(order)                             # an Output of media/sidecar.py
    return poster.as_result()

A job refuses with :class:`.errors.BadInput` (an input is to blame) or :class:`.errors.Refused` (a parameter is). It
opens an output's path for writing from the start, as often as it likes, and neither renames nor removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from airflow_provider_apimart.media.child import DEFAULT_MEMORY_BYTES, DEFAULT_SECONDS, run_isolated
from airflow_provider_apimart.media.errors import MediaSourceError, MediaToolError, UndecodableVideoError
from airflow_provider_apimart.media.sidecar import MadeOf, MediaNote, Output, keep_outputs, now, place_of, read_note
from airflow_provider_apimart.storage.files import (
    Staged,
    Target,
    check_same_machine,
    exclusive,
    is_local,
    is_object_store,
    local_path,
    staging,
    storage_errors,
    stored_sha256,
    stored_size,
)
from airflow_provider_apimart.storage.uploads import BLOCK_BYTES

log = logging.getLogger(__name__)

FINGERPRINT_LENGTH = 10
MAX_STEM_BYTES = 120
READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Source:
    """A file that something is made of.

    :param sha256: as it was landed; ``None`` if that is not known. A file with another checksum is refused.
    """

    place: Target
    sha256: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A file that is to be made.

    :param kind: see :class:`.Output`.
    :param name: its name among the order's, and in its file name: letters, digits, ``-`` and ``_``.
    :param suffix: of its file, such as ``.mp4``.
    :param parameters: plain JSON; part of the fingerprint and of the note. No path of this machine, no secret.
    """

    kind: str
    name: str
    suffix: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """A piece of work; see the module's own text.

    :param version: of the work: raised when the same inputs and parameters are to give something else.
    :param folder: where the outputs go; ``None`` puts them beside the first input.
    :param stem: the beginning of the outputs' names; ``None`` takes the first input's.
    :param private: further arguments of the job that are neither in the fingerprint nor in the note.
    :param seconds: how long the job may take.
    :param memory_bytes: how much memory the job may take.
    """

    job: str
    version: int
    inputs: tuple[Source, ...]
    wanted: tuple[Wanted, ...]
    folder: Target | None = None
    stem: str | None = None
    private: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = DEFAULT_SECONDS
    memory_bytes: int = DEFAULT_MEMORY_BYTES


def make(order: Order) -> tuple[Output, ...]:
    """Make what is wanted, in its order. What is there already, whole, is not made again.

    :raises MediaSourceError: if an input is not there, or is not the one that was landed.
    :raises MediaError: if the job fails; its text names the input.
    :raises LandingError: if a storage does not answer.
    """
    with contextlib.ExitStack() as stack:
        files: list[BinaryIO] | None = None
        if any(source.sha256 is None for source in order.inputs):
            opened = [stack.enter_context(staged(source)) for source in order.inputs]
            files, checksums = [file for file, _ in opened], [sha256 for _, sha256 in opened]
        else:
            checksums = [str(source.sha256) for source in order.inputs]
        plan = _plan(order, checksums)
        found = {job.wanted.name: _whole(plan.note(), job) for job in plan.jobs}
        missing = [job for job in plan.jobs if found[job.wanted.name] is None]
        if missing:
            if files is None:
                files = [stack.enter_context(staged(source))[0] for source in order.inputs]
            found.update(_made(order, plan, files, missing))
    for job in plan.jobs:
        log.info("%s %s.", job.place.uri, "is made" if job in missing else "is there already, whole: not made again")
    return tuple(output for job in plan.jobs if (output := found[job.wanted.name]) is not None)


@dataclass(frozen=True)
class _Job:
    """One wanted file, with its name."""

    wanted: Wanted
    fingerprint: str
    place: Target


@dataclass(frozen=True)
class _Plan:
    sidecar: Target
    made_of: tuple[MadeOf, ...]
    jobs: tuple[_Job, ...]

    @property
    def video_sha256(self) -> str:
        return self.made_of[0].sha256

    def note(self) -> MediaNote | None:
        return read_note(self.sidecar, self.video_sha256)


def fingerprint_of(order: Order, wanted: Wanted, checksums: list[str]) -> str:
    """Return what distinguishes an output from every other: the work, its version, its inputs and parameters."""
    parts = [order.job, order.version, checksums, wanted.kind, wanted.name, wanted.suffix, wanted.parameters]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _plan(order: Order, checksums: list[str]) -> _Plan:
    first = order.inputs[0].place
    stem = _stem(first.name) if order.stem is None else order.stem
    jobs = []
    for wanted in order.wanted:
        fingerprint = fingerprint_of(order, wanted, checksums)
        name = f"{stem}.{wanted.name}-{fingerprint[:FINGERPRINT_LENGTH]}{wanted.suffix}"
        place = first.sibling(name) if order.folder is None else order.folder.child(name)
        jobs.append(_Job(wanted, fingerprint, place))
    made_of = (
        MadeOf(path=source.place.uri, sha256=sha256) for source, sha256 in zip(order.inputs, checksums, strict=True)
    )
    return _Plan(place_of(first, checksums[0], order.folder), tuple(made_of), tuple(jobs))


def _stem(name: str) -> str:
    stem = posixpath.splitext(name)[0]
    if len(os.fsencode(stem)) <= MAX_STEM_BYTES:
        return stem
    return os.fsencode(stem)[:MAX_STEM_BYTES].decode(errors="ignore")


def _whole(note: MediaNote | None, job: _Job) -> Output | None:
    """Return the output if it is in storage, whole: the note says so and its bytes prove it."""
    output = note.output(job.fingerprint) if note else None
    if output is None or stored_size(job.place) != output.bytes or stored_sha256(job.place) != output.sha256:
        return None
    return output.model_copy(update={"path": job.place.uri})


# --- the inputs -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def staged(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """Open an input on this machine, and yield the file and its checksum.

    A local file is opened where it is, any other as an unnamed copy. An open file stays the same one even if another
    takes its name meanwhile.

    :raises MediaSourceError: if it is not there, or is not the one that was landed.
    :raises LandingError: if the storage does not answer, or if a local file is not on this machine.
    """
    check_same_machine(source.place, "the file")
    if is_local(source.place.fs):
        with _opened(source.place) as file:
            yield file, _checked(source, file)
        return
    with tempfile.TemporaryFile() as unnamed:
        copy = cast(BinaryIO, unnamed)
        _copy(source.place, copy)
        yield copy, _checked(source, copy)


@contextlib.contextmanager
def _opened(place: Target) -> Iterator[BinaryIO]:
    with storage_errors(place, "read"):
        # Without O_NONBLOCK a pipe of that name would hold the task for good.
        number = os.open(local_path(place), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise MediaSourceError(f"{place.uri} is not a file")
    with open(number, "rb") as file:
        yield file


def _copy(place: Target, sink: BinaryIO) -> None:
    # Read once from end to end, so a read-ahead cache would only hold the bytes twice.
    uncached = {"cache_type": "none"} if is_object_store(place.fs) else {}
    with storage_errors(place, "read"):
        try:
            with place.fs.open(place.path, "rb", **uncached) as file:
                while chunk := file.read(BLOCK_BYTES):
                    sink.write(chunk)
            sink.flush()
        except FileNotFoundError:
            raise MediaSourceError(f"{place.uri} does not exist") from None


def _checked(source: Source, file: BinaryIO) -> str:
    """Return the checksum of a staged input."""
    found = _sha256(file)
    if source.sha256 not in (None, found):
        raise MediaSourceError(
            f"{source.place.uri} has the checksum {found}, but {source.sha256} was landed: the file has changed since"
        )
    return found


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(READ_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


# --- the work ---------------------------------------------------------------------------------------------------------


def _made(order: Order, plan: _Plan, files: list[BinaryIO], missing: list[_Job]) -> dict[str, Output]:
    with contextlib.ExitStack() as stack:
        staged = [stack.enter_context(staging(job.place, writer=job.fingerprint[:32])) for job in missing]
        facts = _run(order, files, missing, staged)
        with exclusive(plan.sidecar):
            note = plan.note()
            made = {}
            for job, file in zip(missing, staged, strict=True):
                # Another task may have made the same meanwhile. Its note stays true only if its file stays.
                made[job.wanted.name] = _whole(note, job) or _delivered(job, file, facts[job.wanted.name], plan.made_of)
            keep_outputs(plan.sidecar, plan.video_sha256, made.values(), locked=True)
    return made


def _run(order: Order, files: list[BinaryIO], missing: list[_Job], staged: list[Staged]) -> dict[str, Any]:
    arguments = {
        "inputs": [_path(file) for file in files],
        "outputs": [
            {"name": job.wanted.name, "path": _path(file.file), "parameters": dict(job.wanted.parameters)}
            for job, file in zip(missing, staged, strict=True)
        ],
        **order.private,
    }
    numbers = [file.fileno() for file in (*files, *(each.file for each in staged))]
    try:
        facts = run_isolated(
            order.job, arguments, seconds=order.seconds, memory_bytes=order.memory_bytes, open_files=numbers
        )
    except UndecodableVideoError as error:
        error.message = f"{_names(order, error.input_number)}: {error.message}"
        raise
    lacking = [job.wanted.name for job in missing if job.wanted.name not in facts]
    if lacking:
        raise MediaToolError(f"the job {order.job!r} made nothing of {', '.join(lacking)}")
    return dict(facts)


def _names(order: Order, number: int | None) -> str:
    to_blame = order.inputs if number is None else order.inputs[number : number + 1]
    return ", ".join(source.place.uri for source in to_blame[:5])


def _path(file: BinaryIO) -> str:
    """Return a path under which the child process opens a file that may have no name."""
    return f"/dev/fd/{file.fileno()}"


def _delivered(job: _Job, staged: Staged, facts: Mapping[str, Any], made_of: tuple[MadeOf, ...]) -> Output:
    size = staged.file.seek(0, os.SEEK_END)
    if not size:
        raise MediaToolError(f"the job made an empty {job.wanted.name}")
    sha256 = _sha256(staged.file)
    staged.commit(job.place)
    return Output(
        kind=job.wanted.kind,
        path=job.place.uri,
        bytes=size,
        sha256=sha256,
        fingerprint=job.fingerprint,
        parameters=dict(job.wanted.parameters),
        made_of=made_of,
        made_at=now(),
        **{name: facts.get(name) for name in ("width", "height", "duration_seconds", "has_audio")},
    )
