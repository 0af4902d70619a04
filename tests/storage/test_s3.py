"""How a file gets into S3: in one request where that can be had, and nothing of another's is touched."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.client import AioBaseClient
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.storage.files import (
    BLOCK_BYTES,
    Target,
    commit_bytes,
    read_small,
    staging,
    stored_sha256,
    stored_size,
)
from tests.storage.object_store import BUCKET, Store, store
from tests.storage.places import LOCAL

__all__ = ["store"]

LARGE = os.urandom(1024) * (BLOCK_BYTES * 5 // 2048)


def test_s3_small_and_large(store: Store) -> None:
    for name, data in (("small", b"x"), ("exact", LARGE[:BLOCK_BYTES]), ("large", LARGE)):
        commit_bytes(store.target(name), data)
        assert store.get(name) == data
        assert stored_size(store.target(name)) == len(data)
        assert stored_sha256(store.target(name)) == hashlib.sha256(data).hexdigest()
    assert store.uploads() == [] and store.names() == ["exact", "large", "small"]


Call = Callable[[str, dict[str, Any]], None]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What is asked before each call of S3's API, with its name and its parameters."""
    asked: list[Call] = []
    original = AioBaseClient._make_api_call

    async def asking(self: Any, name: str, parameters: dict[str, Any]) -> Any:
        for each in asked:
            each(name, parameters)
        return await original(self, name, parameters)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", asking)
    return asked


@pytest.mark.parametrize(
    ("data", "call", "nth"),
    [(b"small", "PutObject", 2), (LARGE, "UploadPart", 2), (LARGE, "CompleteMultipartUpload", 1)],
    ids=["put", "part", "complete"],
)
def test_s3_upload_that_fails_leaves_the_old_object(
    store: Store, data: bytes, call: str, nth: int, calls: list[Call]
) -> None:
    commit_bytes(store.target("clip.mp4"), b"old")
    made: list[str] = []

    def failing(name: str, _: dict[str, Any]) -> None:
        made.append(name)
        if name == "PutObject" or (name == call and made.count(name) == nth):
            raise OSError(f"{name} failed")

    calls.append(failing)
    with pytest.raises(LandingError, match=rf"s3://.*clip\.mp4 could not be written: OSError: {call} failed"):
        commit_bytes(store.target("clip.mp4"), data)
    calls.clear()
    assert made.count(call) == nth
    gc.collect()  # A file that was dropped without care commits itself here.
    assert store.get("clip.mp4") == b"old"
    assert store.names() == ["clip.mp4"] and store.uploads() == []


def test_s3_takes_a_file_in_one_request_and_its_length_is_checked(store: Store, calls: list[Call]) -> None:
    made: list[str] = []
    calls.append(lambda name, _: made.append(name))
    commit_bytes(store.target("clip.mp4"), LARGE)
    assert made == ["PutObject", "HeadObject"]
    assert store.get("clip.mp4") == LARGE


def test_s3_request_that_breaks_on_the_way_is_made_up_for_in_parts(store: Store, calls: list[Call]) -> None:
    made: list[str] = []

    def breaking(name: str, parameters: dict[str, Any]) -> None:
        made.append(name)
        if name == "PutObject":
            parameters["Body"].read(1000)
            raise ConnectionResetError

    calls.append(breaking)
    commit_bytes(store.target("clip.mp4"), LARGE)
    assert made[:2] == ["PutObject", "CreateMultipartUpload"] and made.count("UploadPart") == 3
    assert store.get("clip.mp4") == LARGE and store.uploads() == []


def test_another_file_system_for_s3_is_written_to_as_any(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(memory), "protocol", ("s3", "s3a"))
    target = Target(memory, "/videos/clip.mp4", "s3://videos/clip.mp4")
    commit_bytes(target, LARGE)
    assert memory.cat_file(target.path) == LARGE


def test_s3_gets_what_the_user_set_for_every_upload(store: Store) -> None:
    store.fs.s3_additional_kwargs = {"ServerSideEncryption": "AES256", "CacheControl": "no-store"}
    commit_bytes(store.target("clip.mp4"), b"x")
    head = store.client.head_object(Bucket=BUCKET, Key="clip.mp4")
    assert (head["ServerSideEncryption"], head["CacheControl"]) == ("AES256", "no-store")


NAMES = {
    "clip.mp4": "video/mp4",
    "clip.mp4.json": "application/json",
    "manifest.jsonl": "application/x-ndjson",
    "manifest.parquet": "application/vnd.apache.parquet",
    "anything": "application/octet-stream",
}


@pytest.mark.parametrize("in_parts", [False, True], ids=["one request", "in parts"])
@pytest.mark.parametrize("name", NAMES)
def test_s3_keeps_the_type_of_what_is_written(store: Store, calls: list[Call], name: str, in_parts: bool) -> None:
    def breaking(called: str, _: Any) -> None:
        if called == "PutObject":
            raise ConnectionResetError

    if in_parts:
        calls.append(breaking)
    commit_bytes(store.target(name), LARGE)
    assert store.get(name) == LARGE
    assert store.client.head_object(Bucket=BUCKET, Key=name)["ContentType"] == NAMES[name]


def test_s3_video_is_one_whatever_the_user_calls_it(store: Store) -> None:
    target = store.target("latest")
    with staging(target, content_type="video/mp4") as staged:
        staged.file.write(b"x")
        staged.commit(target)
    assert store.client.head_object(Bucket=BUCKET, Key="latest")["ContentType"] == "video/mp4"


def test_s3_type_that_the_connection_sets_goes_first(store: Store, calls: list[Call]) -> None:
    store.fs.s3_additional_kwargs = {"ContentType": "video/x-own"}
    commit_bytes(store.target("clip.mp4"), b"x")
    assert store.client.head_object(Bucket=BUCKET, Key="clip.mp4")["ContentType"] == "video/x-own"


class Typed(MemoryFileSystem):  # type: ignore[misc]
    """An object store that knows types, as gcsfs and adlfs do: each by an argument of its own."""

    cachable = False
    argument = "content_type"

    def __init__(self, protocol: str) -> None:
        super().__init__()
        self.protocol = protocol
        self.told: dict[str, Any] = {}

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        options = {name: value for name, value in options.items() if name not in ("autocommit", "cache_options")}
        if mode == "wb":
            if set(options) - {self.argument}:
                raise TypeError(f"unexpected keyword arguments {sorted(options)}")
            self.told[path] = options.get(self.argument)
        return super()._open(path, mode, block_size)


class TypedAzure(Typed):
    argument = "content_settings"


@pytest.mark.parametrize(
    ("fs", "told"),
    [
        (Typed("gs"), "video/mp4"),
        (TypedAzure("abfs"), {"content_type": "video/mp4"}),
        (Typed("abfs"), None),
        (Typed("oss"), None),
    ],
    ids=["gcsfs", "adlfs", "a version that does not know it", "a storage that has none"],
)
def test_each_object_store_is_told_the_type_in_its_own_way(fs: Typed, told: Any, memory: Any) -> None:
    commit_bytes(Target(fs, "/videos/clip.mp4", "x://videos/clip.mp4"), LARGE)
    assert fs.cat_file("/videos/clip.mp4") == LARGE
    assert fs.told == {"/videos/clip.mp4": told}


def test_s3_upload_that_another_has_replaced_is_an_error_and_the_other_stays(store: Store, calls: list[Call]) -> None:
    target, rivals = store.target("clip.mp4"), [b"another task's video"]

    def replace(name: str, _: Any) -> None:
        if name == "HeadObject" and rivals:
            store.client.put_object(Bucket=BUCKET, Key="clip.mp4", Body=rivals.pop())

    calls.append(replace)
    with pytest.raises(LandingError, match="20 bytes arrived of"), staging(target) as staged:
        staged.file.write(LARGE)
        staged.commit(target)
    assert store.client.get_object(Bucket=BUCKET, Key="clip.mp4")["Body"].read() == b"another task's video"


def test_s3_name_that_is_taken_is_not_sent_to(store: Store, calls: list[Call]) -> None:
    target, made = store.target("clip.mp4"), []
    with staging(target) as staged:
        staged.file.write(LARGE)
        calls.append(lambda name, _: made.append(name))
        assert not staged.commit(target, lambda: True)
    assert made == []


def test_s3_small_files_are_read_in_one_request(store: Store, calls: list[Call]) -> None:
    made: list[str] = []
    for name, data in (("five", b"12345"), ("empty", b"")):
        store.client.put_object(Bucket=BUCKET, Key=name, Body=data)
    calls.append(lambda name, _: made.append(name))
    assert read_small(store.target("five"), 5) == b"12345" and read_small(store.target("five"), 4) is None
    assert read_small(store.target("absent"), 5) is None
    assert made == ["GetObject"] * 3
    assert read_small(store.target("empty"), 5) == b""


def test_s3_source_that_breaks_commits_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), staging(store.target("clip.mp4")) as staged:
        staged.file.write(LARGE)
        raise RuntimeError
    assert store.names() == []


def test_a_folder_that_is_gone_at_the_end_is_an_error_of_the_storage(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    target = Target(LOCAL, str(folder / "a.mp4"), str(folder / "a.mp4"))
    with pytest.raises(LandingError), staging(target) as staged:
        folder.rename(tmp_path / "away")
        folder.write_text("no folder any more")
        staged.commit(target)
