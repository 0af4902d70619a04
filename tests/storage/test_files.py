"""Where a video may go, and how a file gets there whole: onto this machine, or where it shows while it is written."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
import s3fs
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.client.errors import ConfigurationError, LandingError
from airflow_provider_apimart.storage import localfs
from airflow_provider_apimart.storage.files import (
    BLOCK_BYTES,
    Target,
    commit_bytes,
    exclusive,
    read_small,
    safe_name,
    staging,
    stored_sha256,
    stored_size,
    video_targets,
)
from airflow_provider_apimart.storage.places import check_target
from tests.generation.landing.media_server import free_port
from tests.storage.object_store import Store, store
from tests.storage.places import LOCAL, local

__all__ = ["store"]

# --- names ---


def names(path: str, generation_id: str, count: int) -> list[str]:
    return [each.uri for each in video_targets(local(path), generation_id, count)]


def test_names_in_a_folder_and_of_a_file() -> None:
    assert names("/out/", "task_01K8", 1) == ["/out/task_01K8.mp4"]
    assert names("/out/", "task_01K8", 2) == ["/out/task_01K8-1.mp4", "/out/task_01K8-2.mp4"]
    assert names("/out/clip.mp4", "task_01K8", 1) == ["/out/clip.mp4"]
    assert names("/out/clip.v1.mp4", "x", 3) == [f"/out/clip.v1-{n}.mp4" for n in (1, 2, 3)]
    assert names("/out.d/clip", "x", 2) == ["/out.d/clip-1", "/out.d/clip-2"]


def test_the_slash_of_the_uri_counts_where_the_path_lost_it() -> None:
    (target,) = video_targets(Target(LOCAL, "bucket/out", "s3://conn@bucket/out/"), "g", 1)
    assert (target.path, target.uri) == ("bucket/out/g.mp4", "s3://conn@bucket/out/g.mp4")
    assert target.sibling("x.json").uri == "s3://conn@bucket/out/x.json"


@given(st.text(max_size=120))
def test_any_id_becomes_one_visible_name(generation_id: str) -> None:
    name = safe_name(generation_id)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}", name)
    assert name == safe_name(generation_id)


def test_ids_that_clean_to_the_same_stay_apart() -> None:
    ids = ["a/b", "a_b", "a:b", "../a_b", ".a_b", "", "..", "a" * 150, "a" * 151]
    assert len({safe_name(each) for each in ids}) == len(ids)


# --- before anything is paid ---


def test_check_accepts_what_can_be_made(tmp_path: Path, memory: Any) -> None:
    check_target(local(tmp_path / "new" / "deeper" / "clip.mp4"))
    check_target(local(f"{tmp_path}/"))
    check_target(local(f"{tmp_path}/new/"))
    check_target(Target(memory, "/x/clip.mp4", "memory://x/clip.mp4"))
    assert not list(tmp_path.iterdir())


def test_check_refuses_a_directory_without_its_slash(tmp_path: Path, memory: Any) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"write '{tmp_path}/'")):
        check_target(local(tmp_path))
    memory.makedirs("/x/y")
    with pytest.raises(ConfigurationError, match="is a folder"):
        check_target(Target(memory, "/x/y", "memory://x/y"))


def test_check_refuses_a_folder_with_a_space_behind_its_slash(tmp_path: Path) -> None:
    """It would be a file called " ", which each run replaces."""
    with pytest.raises(ConfigurationError, match="names no file"):
        check_target(local(f"{tmp_path}/videos/ "))


def test_check_refuses_what_is_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (f"{tmp_path}/file/clip.mp4", f"{tmp_path}/file/deeper/clip.mp4"):
        with pytest.raises(ConfigurationError, match="is not a directory"):
            check_target(local(path))
    with pytest.raises(ConfigurationError, match="is not a directory"):
        check_target(local(f"{tmp_path}/file/"))


def test_check_refuses_where_it_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked of the system: the tests may run as root, whom no mode stops.
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and str(path) == str(tmp_path)))
    with pytest.raises(ConfigurationError, match="no permission"):
        check_target(local(tmp_path / "new" / "clip.mp4"))


def test_check_of_a_storage_that_does_not_answer(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(memory, "/x/clip.mp4", "memory://x/clip.mp4")
    for error, kind in ((OSError("timed out"), LandingError), (PermissionError("no"), ConfigurationError)):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(memory, "info", fail)
        with pytest.raises(kind, match=r"memory://x/clip\.mp4"):
            check_target(target)


def test_check_of_a_bucket(store: Store) -> None:
    check_target(store.target("clips/clip.mp4"))
    check_target(store.target("clips/"))
    with pytest.raises(ConfigurationError, match="no bucket 'absent'"):
        check_target(Target(store.fs, "absent/clip.mp4", "s3://absent/clip.mp4"))


def test_check_of_an_s3_that_is_out_of_reach_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it taken for a missing bucket, the task would fail for good over a passing fault."""
    fs = s3fs.S3FileSystem(
        key="test",
        secret="test",
        endpoint_url=f"http://127.0.0.1:{free_port()}",
        config_kwargs={"retries": {"max_attempts": 0}},
        skip_instance_cache=True,
    )
    monkeypatch.setattr(fs, "retries", 1)
    with pytest.raises(LandingError, match="does not answer"):
        check_target(Target(fs, "videos/clip.mp4", "s3://videos/clip.mp4"))
    s3fs.S3FileSystem.close_session(fs.loop, fs.s3)


def test_check_with_a_key_that_may_not_look_at_the_bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    original = store.fs._call_s3

    async def limited(method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "head_bucket":
            raise PermissionError("Forbidden")
        return await original(method, *args, **kwargs)

    monkeypatch.setattr(store.fs, "_call_s3", limited)
    check_target(store.target("clip.mp4"))
    commit_bytes(store.target("clip/part"), b"x")
    with pytest.raises(ConfigurationError, match="is a folder"):
        check_target(store.target("clip"))


# --- local ---


def test_local_file_appears_at_the_commit_and_leaves_nothing(tmp_path: Path) -> None:
    target = local(tmp_path / "deep" / "clip.mp4")
    with staging(target) as staged:
        staged.file.write(b"whole")
        assert not os.path.exists(target.path)
        staged.commit(target)
        assert Path(target.path).read_bytes() == b"whole"
    assert os.listdir(tmp_path / "deep") == ["clip.mp4"]


def test_local_file_without_a_commit_vanishes(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError), staging(local(tmp_path / "clip.mp4")) as staged:
        staged.file.write(b"half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["clip.mp4"] and (tmp_path / "clip.mp4").read_bytes() == b"old"


def test_local_permissions_are_those_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        commit_bytes(local(tmp_path / "clip.mp4"), b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "clip.mp4").stat().st_mode & 0o777 == 0o640


def test_a_file_under_way_has_no_name_where_the_system_can_do_that(tmp_path: Path) -> None:
    with staging(local(tmp_path / "clip.mp4")) as held:
        held.file.write(b"still going on")
        held.file.flush()
        assert os.listdir(tmp_path) == []
        held.commit(local(tmp_path / "clip.mp4"))
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_sweep_takes_what_nobody_holds_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localfs, "_create_anonymous", lambda folder, part: None)
    abandoned = tmp_path / ".clip.mp4.0123456789ab.part"
    abandoned.write_bytes(b"half")
    others = [".clip.mp4.keep.part", ".other.mp4.0123456789ab.part", "clip.mp4.part", ".clip.mp4.0123456789ab.partial"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    with staging(local(tmp_path / "clip.mp4")) as held, staging(local(tmp_path / "clip.mp4")) as second:
        held.file.write(b"still going on")
        parts = [name for name in os.listdir(tmp_path) if name not in others]
        assert len(parts) == 2 and abandoned.name not in parts
        second.commit(local(tmp_path / "clip.mp4"))
        held.commit(local(tmp_path / "clip.mp4"))
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "clip.mp4"])
    assert (tmp_path / "clip.mp4").read_bytes() == b"still going on"


def test_a_link_that_looks_like_a_part_is_left_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    (tmp_path / ".clip.mp4.0123456789ab.part").symlink_to(victim)
    commit_bytes(local(tmp_path / "clip.mp4"), b"x")
    assert victim.read_text() == "x"


def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".clip.mp4.0123456789ab.part").write_bytes(b"perhaps another's")
    commit_bytes(local(tmp_path / "clip.mp4"), b"x")
    assert sorted(os.listdir(tmp_path)) == [".clip.mp4.0123456789ab.part", "clip.mp4"]


def test_system_without_advice_on_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has none."""
    monkeypatch.delattr(os, "posix_fadvise")
    commit_bytes(local(tmp_path / "clip.mp4"), bytes(localfs.WRITE_BACK_BYTES + 1))
    assert (tmp_path / "clip.mp4").stat().st_size == localfs.WRITE_BACK_BYTES + 1


def test_full_disk_is_a_landing_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LandingError, match="No space left"):
        commit_bytes(local(tmp_path / "clip.mp4"), b"x")
    assert os.listdir(tmp_path) == []


def test_long_name(tmp_path: Path) -> None:
    name = "é" * 120 + ".mp4"
    commit_bytes(local(tmp_path / name), b"x")
    assert os.listdir(tmp_path) == [name]


def test_exclusive_keeps_others_out(tmp_path: Path) -> None:
    target, order = local(tmp_path / "clip.mp4"), []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with exclusive(target):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with exclusive(target):
        inside.set()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# --- storages that show a file while it is written ---


def test_in_memory_the_name_appears_whole(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(memory, "/out/clip.mp4", "memory://out/clip.mp4")
    memory.pipe_file(target.path, b"old")
    seen: list[bytes] = []
    write = MemoryFile.write

    def watching(self: MemoryFile, data: Any) -> int:
        seen.append(memory.cat_file(target.path))
        return write(self, data)

    monkeypatch.setattr(MemoryFile, "write", watching)
    data = b"x" * (BLOCK_BYTES * 5 // 2)
    commit_bytes(target, data)
    assert len(seen) >= 3 and set(seen) == {b"old"}
    assert memory.ls("/out", detail=False) == ["/out/clip.mp4"] and memory.cat_file(target.path) == data


def test_failed_upload_leaves_the_old_file_and_no_other(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(memory, "/out/clip.mp4", "memory://out/clip.mp4")
    memory.pipe_file(target.path, b"old")
    write = MemoryFile.write

    def breaking(self: MemoryFile, data: Any) -> int:
        if self.tell() >= BLOCK_BYTES:
            raise OSError("connection lost")
        return write(self, data)

    monkeypatch.setattr(MemoryFile, "write", breaking)
    with pytest.raises(LandingError, match="connection lost"):
        commit_bytes(target, b"x" * (BLOCK_BYTES * 5 // 2))
    assert memory.ls("/out", detail=False) == ["/out/clip.mp4"] and memory.cat_file(target.path) == b"old"


def test_hidden_rest_of_a_killed_upload_is_used_up(memory: Any) -> None:
    target = Target(memory, "/out/clip.mp4", "memory://out/clip.mp4")
    memory.pipe_file("/out/.clip.mp4.g-1.part", b"half")
    commit_bytes(target, b"whole", writer="g-1")
    assert memory.ls("/out", detail=False) == ["/out/clip.mp4"]


def test_storage_that_does_not_move_onto_a_name(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    move = MemoryFileSystem.mv

    def strict(self: Any, source: str, destination: str, **kwargs: Any) -> None:
        if self.exists(destination):
            raise FileExistsError(destination)
        move(self, source, destination, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "mv", strict)
    target = Target(memory, "/out/clip.mp4", "memory://out/clip.mp4")
    commit_bytes(target, b"old")
    commit_bytes(target, b"new")
    assert memory.cat_file(target.path) == b"new" and len(memory.ls("/out")) == 1


def test_storage_that_loses_bytes_is_found_out(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFile, "write", lambda self, data: len(data))
    target = Target(memory, "/out/clip.mp4", "memory://out/clip.mp4")
    with pytest.raises(LandingError, match="0 bytes arrived of 5"):
        commit_bytes(target, b"whole")
    assert not memory.exists("/out/clip.mp4")


def test_another_kind_of_local_storage(tmp_path: Path) -> None:
    fs = DirFileSystem(str(tmp_path), LOCAL)
    commit_bytes(Target(fs, "deep/clip.mp4", "dir://deep/clip.mp4"), b"whole")
    assert os.listdir(tmp_path / "deep") == ["clip.mp4"]


# --- reading back ---


def test_reading_back(tmp_path: Path) -> None:
    target = local(tmp_path / "x")
    assert read_small(target, 10) is None and stored_size(target) is None
    commit_bytes(target, b"12345")
    assert read_small(target, 5) == b"12345" and read_small(target, 4) is None
    assert stored_size(target) == 5 and stored_sha256(target) == hashlib.sha256(b"12345").hexdigest()
    assert stored_size(local(tmp_path)) is None
    assert stored_size(local(tmp_path / "x" / "y")) is None


@pytest.mark.parametrize("room", [0, 1, 500, 999])
def test_a_small_file_that_finds_no_room_is_not_written_in_part(tmp_path: Path, room: int) -> None:
    # The system writes what there is room for, and says how much that was: no error.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    target = local(tmp_path / "note.json")
    commit_bytes(target, b"before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(LandingError, match=r"note\.json could not be written.*File too large"):
            commit_bytes(target, b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "note.json").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir() if "lock" not in path.name] == ["note.json"]


def test_what_is_staged_for_elsewhere_is_written_whole_or_not_at_all() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with (
            staging(Target(MemoryFileSystem(), "/a/note.json", "memory://a/note.json")) as staged,
            pytest.raises(OSError, match="File too large"),
        ):
            staged.file.write(b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
