"""The workshop: made once, whole or absent, from and to any storage, whatever ends the process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.media import child, workshop
from airflow_provider_apimart.media.errors import (
    MediaRefusedError,
    MediaSourceError,
    MediaToolError,
    UndecodableVideoError,
)
from airflow_provider_apimart.media.sidecar import beside, keep_check, read_note
from airflow_provider_apimart.media.workshop import Order, Source, Wanted, make
from airflow_provider_apimart.storage import files, rewriting
from airflow_provider_apimart.storage.files import Target
from tests.media import workshop_jobs
from tests.storage.places import local

PLAIN = Wanted("rendition", "plain", ".txt")
UPPER = Wanted("poster", "upper", ".txt", {"upper": True})


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_MODULE", "tests.media.workshop_child")


def in_this_process(job: str, arguments: dict[str, Any], **_: Any) -> Any:
    """Run a job without a child process."""
    return getattr(workshop_jobs, job)(**arguments)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run the jobs in this process; return the names of what each run has made."""
    made: list[list[str]] = []

    def run(job: str, arguments: dict[str, Any], **_: Any) -> Any:
        made.append([output["name"] for output in arguments["outputs"]])
        return in_this_process(job, arguments)

    monkeypatch.setattr(workshop, "run_isolated", run)
    return made


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _put(place: Target, data: bytes) -> Source:
    place.fs.makedirs(os.path.dirname(place.path), exist_ok=True)
    place.fs.pipe_file(place.path, data)
    return Source(place, _sha256(data))


def _order(*inputs: Source, wanted: tuple[Wanted, ...] = (PLAIN, UPPER), **more: Any) -> Order:
    return Order("join_text", 1, inputs, wanted, **more)


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    if request.param == "local":
        yield local(f"{tmp_path}/")
    else:
        fs = MemoryFileSystem(skip_instance_cache=True)
        fs.store, fs.pseudo_dirs = {}, [""]
        yield Target(fs, "/videos/", "memory://videos/")


def _names(folder: Target) -> list[str]:
    found = folder.fs.find(folder.path.rstrip("/"))
    return sorted(os.path.basename(path) for path in found)


def test_in_a_child_process_and_once(folder: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    source, second = _put(folder.child("clip.mp4"), b"abc"), _put(folder.child("second.mp4"), b"def")
    plain, upper = make(_order(source, second))
    assert (plain.kind, plain.bytes, plain.sha256) == ("rendition", 6, _sha256(b"abcdef"))
    assert (plain.width, plain.height, plain.duration_seconds, plain.has_audio) == (16, 9, 1.5, True)
    assert folder.fs.cat_file(folder.child(Path(upper.path).name).path) == b"ABCDEF"
    assert plain.path == f"{folder.uri}clip.plain-{plain.fingerprint[:10]}.txt"
    assert _names(folder) == sorted(
        ["clip.mp4", "second.mp4", "clip.mp4.media.json", Path(plain.path).name, Path(upper.path).name]
    )
    note = read_note(beside(source.place), source.sha256)
    assert note is not None and note.outputs == (plain, upper)
    assert plain.as_result()["videos"] == [
        {
            "path": plain.path,
            "bytes": 6,
            "sha256": plain.sha256,
            "duration_seconds": 1.5,
            "width": 16,
            "height": 9,
            "has_audio": True,
        }
    ]

    monkeypatch.setattr(workshop, "run_isolated", None)
    monkeypatch.setattr(workshop, "_copy", None)
    assert make(_order(source, second)) == (plain, upper)


def test_only_what_is_missing_is_made(folder: Target, runs: list[list[str]]) -> None:
    source = _put(folder.child("clip.mp4"), b"abc")
    (plain,) = make(_order(source, wanted=(PLAIN,)))
    assert make(_order(source))[0] == plain
    assert runs == [["plain"], ["upper"]]


def test_what_was_damaged_is_made_anew(folder: Target, runs: list[list[str]]) -> None:
    source = _put(folder.child("clip.mp4"), b"abc")
    plain, _ = make(_order(source))
    place = folder.child(Path(plain.path).name)
    place.fs.pipe_file(place.path, b"xyz")
    again, _ = make(_order(source))
    assert (again.sha256, place.fs.cat_file(place.path)) == (plain.sha256, b"abc")
    assert runs == [["plain", "upper"], ["plain"]]


def test_other_inputs_parameters_and_versions_have_other_names(folder: Target, runs: list[list[str]]) -> None:
    one, two = _put(folder.child("clip.mp4"), b"abc"), _put(folder.child("other.mp4"), b"abcd")
    base = _order(one, wanted=(PLAIN,))
    orders = [
        base,
        _order(one, two, wanted=(PLAIN,)),
        _order(one, wanted=(Wanted("rendition", "plain", ".txt", {"upper": True}),)),
        Order("join_text", 2, (one,), (PLAIN,)),
    ]
    assert len({make(order)[0].path for order in orders}) == len(runs) == 4
    assert make(_order(one, wanted=(PLAIN,), private={"font": "/a/path"}, seconds=1.0)) == make(base)
    assert len(runs) == 4


def test_a_video_of_ones_own_has_no_known_checksum(folder: Target, runs: list[list[str]]) -> None:
    source = _put(folder.child("clip.mp4"), b"abc")
    assert make(_order(Source(source.place))) == make(_order(source)) == make(_order(Source(source.place)))
    assert len(runs) == 1


def test_into_a_folder_of_its_own(folder: Target, runs: list[list[str]]) -> None:
    one, two = _put(folder.child("a").child("clip.mp4"), b"abc"), _put(folder.child("b").child("clip.mp4"), b"abcd")
    made = folder.child("made").child("")
    first, second = (make(_order(source, wanted=(PLAIN,), folder=made))[0] for source in (one, two))
    assert make(_order(one, wanted=(PLAIN,), folder=made)) == (first,)
    assert make(_order(two, wanted=(PLAIN,), folder=made)) == (second,)
    assert len(runs) == 2
    assert len(_names(made)) == 4
    assert _names(folder.child("a")) == ["clip.mp4"]


def test_a_replaced_video_starts_a_new_note(folder: Target, runs: list[list[str]]) -> None:
    old = _put(folder.child("clip.mp4"), b"abc")
    make(_order(old, wanted=(PLAIN,)))
    new = _put(folder.child("clip.mp4"), b"new")
    (made,) = make(_order(new, wanted=(PLAIN,)))
    note = read_note(beside(new.place))
    assert note is not None and (note.video_sha256, note.outputs) == (new.sha256, (made,))
    assert read_note(beside(new.place), old.sha256) is None


def test_the_note_keeps_what_others_have_written(folder: Target, runs: list[list[str]]) -> None:
    source = _put(folder.child("clip.mp4"), b"abc")
    sidecar = beside(source.place)
    make(_order(source, wanted=(PLAIN,)))
    found = json.loads(sidecar.fs.cat_file(sidecar.path))
    found["of_a_later_version"] = {"a": 1}
    found["outputs"][0]["later"] = 2
    sidecar.fs.pipe_file(sidecar.path, json.dumps(found).encode())
    keep_check(sidecar, _sha256(b"abc"), {"verdict": "ok"})
    make(_order(source))
    found = json.loads(sidecar.fs.cat_file(sidecar.path))
    assert found["of_a_later_version"] == {"a": 1} and found["outputs"][0]["later"] == 2
    assert found["check"]["verdict"] == "ok" and len(found["outputs"]) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2, "video_sha256": "a"}'])
def test_another_file_of_that_name_is_left_alone(folder: Target, runs: list[list[str]], content: str) -> None:
    source = _put(folder.child("clip.mp4"), b"abc")
    sidecar = beside(source.place)
    sidecar.fs.pipe_file(sidecar.path, content.encode())
    with pytest.raises(LandingError, match="left as it is"):
        make(_order(source))
    assert sidecar.fs.cat_file(sidecar.path) == content.encode()


def test_a_changed_input_is_refused(folder: Target, runs: list[list[str]]) -> None:
    source = _put(folder.child("clip.mp4"), b"abc")
    _put(source.place, b"xyz")
    with pytest.raises(MediaSourceError, match="has changed since"):
        make(_order(source))
    assert _names(folder) == ["clip.mp4"]


def test_a_missing_input(folder: Target, runs: list[list[str]]) -> None:
    with pytest.raises((MediaSourceError, LandingError), match=r"clip\.mp4"):
        make(_order(Source(folder.child("clip.mp4"), "0" * 64)))


@pytest.mark.parametrize("make_it", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_is_no_input(tmp_path: Path, runs: list[list[str]], make_it: Callable[[Path], None]) -> None:
    make_it(tmp_path / "clip.mp4")
    with pytest.raises(MediaSourceError, match="is not a file"):
        make(_order(Source(local(tmp_path / "clip.mp4"))))


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ("input", UndecodableVideoError, r"^\S*second\.mp4: .*no picture"),
        ("other", UndecodableVideoError, r"^\S*clip\.mp4, \S*second\.mp4: .*broken"),
        ("refused", MediaRefusedError, "^no font has this letter$"),
        ("empty", MediaToolError, "made an empty plain"),
        ("forgotten", MediaToolError, "made nothing of plain, upper"),
    ],
)
def test_a_job_that_fails_leaves_nothing(tmp_path: Path, how: str, error: type[Exception], text: str) -> None:
    sources = _put(local(tmp_path / "clip.mp4"), b"abc"), _put(local(tmp_path / "second.mp4"), b"def")
    with pytest.raises(error, match=text):
        make(Order("complain", 1, sources, (PLAIN, UPPER), private={"how": how}))
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "second.mp4"]


# --- killed anywhere --------------------------------------------------------------------------------------------------


class Death(BaseException):
    """The process ends here."""


#: What the workshop asks of a storage and of the child.
POINTS: tuple[tuple[Any, str], ...] = (
    (workshop, "read_note"),
    (workshop, "stored_size"),
    (workshop, "stored_sha256"),
    (workshop, "_copy"),
    (workshop, "_opened"),
    (workshop, "staging"),
    (workshop, "run_isolated"),
    (workshop, "keep_outputs"),
    (files._LocalStaged, "commit"),
    (files._RemoteStaged, "commit"),
    (files, "upload"),
    (files, "move"),
    (rewriting, "read_small"),
    (rewriting, "commit_bytes"),
)


class Deaths:
    """Counts the points that a try passes, and ends it at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None]) -> None:
        self.passed, self.at, self.end = 0, 0, end
        for owner, name in POINTS:
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    def _point(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            self.end()

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._point()
            result = original(*args, **kwargs)
            self._point()
            return result

        return wrapper


def _die() -> None:
    raise Death


def _whole_or_absent(folder: Target) -> None:
    for name in _names(folder):
        if name.startswith("clip.") and name.endswith(".txt"):
            content = folder.fs.cat_file(folder.child(name).path)
            assert content == (b"ABC" if ".upper-" in name else b"abc")


def test_wherever_it_dies_the_next_try_finishes(
    folder: Target, runs: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = Deaths(monkeypatch, _die)
    order = _order(_put(folder.child("clip.mp4"), b"abc"))
    deaths.at = number = 1
    while True:
        deaths.passed = 0
        try:
            make(order)
        except Death:
            pass
        else:
            break
        _whole_or_absent(folder)
        deaths.at = 0
        plain, upper = make(order)
        _whole_or_absent(folder)
        assert len(_names(folder)) == 4
        assert (plain.bytes, upper.sha256) == (3, _sha256(b"ABC"))
        before = len(runs)
        assert make(order) == (plain, upper) and len(runs) == before
        for name in _names(folder):
            if name != "clip.mp4":
                folder.fs.rm_file(folder.child(name).path)
        number += 1
        deaths.at = number
    assert number > 20


def killed_at_every_point(folder: str) -> None:
    """End a process without a word at each point of a try, and let the next one finish. It forks, so no threads."""
    patch = pytest.MonkeyPatch()
    patch.setattr(workshop, "run_isolated", in_this_process)
    deaths = Deaths(patch, lambda: os._exit(9))
    place = local(f"{folder}/")
    order = _order(_put(place.child("clip.mp4"), b"abc"))
    for number in range(1, 200):
        pid = os.fork()
        if not pid:
            deaths.passed, deaths.at = 0, number
            make(order)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        _whole_or_absent(place)
        make(order)
        assert len(os.listdir(folder)) == 4
        if os.waitstatus_to_exitcode(status) == 0:
            break
        for name in os.listdir(folder):
            if name != "clip.mp4":
                os.unlink(f"{folder}/{name}")
    assert 20 < number < 199


def test_killed_without_a_word_it_leaves_no_rubbish(tmp_path: Path) -> None:
    code = "import sys; from tests.media.test_workshop import killed_at_every_point as run; run(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
