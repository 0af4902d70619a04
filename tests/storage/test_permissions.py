"""A role that may write and read but not list: S3 answers 403 for what is not there."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.client.errors import ConfigurationError, LandingError
from airflow_provider_apimart.storage import permissions
from airflow_provider_apimart.storage.files import (
    Target,
    commit_bytes,
    read_small,
    read_whole,
    stored_sha256,
    stored_size,
    stored_version,
)
from airflow_provider_apimart.storage.places import check_listing, check_target
from tests.storage.object_store import BUCKET, Policy, Store, policy, store

__all__ = ["policy", "store"]


def folder(store: Store) -> Target:
    return Target(store.fs, f"{BUCKET}/out/", f"s3://{BUCKET}/out/")


@pytest.mark.parametrize("name", ["out/", "out/clip.mp4", "clip.mp4"])
def test_what_may_not_be_seen_is_no_reason_to_refuse_a_place(store: Store, policy: Policy, name: str) -> None:
    check_target(store.target(name))
    assert store.names() == [f"{name.rpartition('/')[0]}/{permissions.TRIAL_NAME}".lstrip("/")]


def test_looks_without_permission_to_list(store: Store, policy: Policy) -> None:
    there, absent = folder(store).child("a"), folder(store).child("b")
    commit_bytes(there, b"abc")
    assert (read_small(there, 9), stored_size(there)) == (b"abc", 3) and stored_version(there)
    assert (read_small(absent, 9), stored_size(absent), stored_version(absent)) == (None, None, {})
    assert policy.made.count("PutObject") == 2  # The file, and one trial for all looks.
    assert len(stored_sha256(there)) == 64


@pytest.mark.parametrize("denied", ["PutObject", "GetObject"])
def test_place_that_cannot_be_used_is_refused_with_what_it_needs(store: Store, policy: Policy, denied: str) -> None:
    policy.denied.add(denied)
    step = "writing" if denied == "PutObject" else "reading"
    with pytest.raises(ConfigurationError, match=rf"output_path 's3://videos/out/'.*forbids {step}.*s3:PutObject and"):
        check_target(folder(store))
    # The same after the payment is no verdict: a policy can be mended while the video is to be had.
    for look in (lambda target: read_small(target, 9), stored_size):
        with pytest.raises(LandingError, match="s3:GetObject") as caught:
            look(folder(store).child("a"))
        assert not caught.value.terminal


def test_record_that_cannot_be_read_is_not_taken_for_none(store: Store, policy: Policy) -> None:
    record = folder(store).child("record.json")
    commit_bytes(record, b"{}")
    policy.denied.add("GetObject")
    with pytest.raises(LandingError, match="forbids reading"):
        read_small(record, 9)


def test_a_place_that_has_passed_is_tried_again_after_a_while(
    store: Store, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored_size(folder(store).child("a")) is None
    policy.denied.add("PutObject")
    assert stored_size(folder(store).child("b")) is None
    monkeypatch.setattr(permissions, "BELIEVED_SECONDS", 0.0)
    with pytest.raises(LandingError, match="forbids writing"):
        stored_size(folder(store).child("b"))


def test_trial_that_fails_otherwise_is_no_verdict(store: Store, policy: Policy, mocker: Any) -> None:
    mocker.patch.object(store.fs, "pipe_file", side_effect=TimeoutError("no answer"))
    with pytest.raises(LandingError, match="does not answer: TimeoutError"):
        check_target(folder(store))


def test_batch_folder_that_cannot_be_listed_is_refused(store: Store, policy: Policy) -> None:
    with pytest.raises(ConfigurationError, match=r"state_path 's3://videos/out/'.*s3:ListBucket"):
        check_listing(folder(store), "state_path")
    policy.denied.clear()
    check_listing(folder(store), "state_path")
    assert store.names() == []


def test_where_listing_is_allowed_nothing_is_tried(store: Store, policy: Policy) -> None:
    policy.denied.clear()
    check_target(folder(store))
    assert read_small(folder(store).child("a"), 9) is None and store.names() == []


def test_forbidden_upload_says_what_it_needs(store: Store, policy: Policy) -> None:
    policy.denied |= {"PutObject", "CreateMultipartUpload"}
    with pytest.raises(LandingError, match=r"could not be written: PermissionError.*needed there: s3:PutObject"):
        commit_bytes(folder(store).child("a"), b"x")
    with pytest.raises(LandingError, match=r"could not be read"):
        read_whole(folder(store).child("a"))


class AzureSaysNo(Exception):
    status_code = 403


@pytest.mark.parametrize(
    ("error", "denied"),
    [
        (PermissionError("Access Denied"), True),
        (AzureSaysNo(), True),
        (OSError("Forbidden: https://storage.googleapis.com/…\nno access (or it may not exist)"), True),
        (OSError("broken"), False),
        (FileNotFoundError("clip"), False),
        (TimeoutError(), False),
    ],
    ids=str,
)
def test_forbidden_in_each_file_system(error: Exception, denied: bool) -> None:
    assert permissions.is_denied(error) is denied


@pytest.mark.parametrize(
    ("protocol", "files", "listing"),
    [
        (("s3", "s3a"), "s3:PutObject", "s3:ListBucket"),
        (("gs", "gcs"), "storage.objects.create", "storage.objects.list"),
        ("abfs", "Storage Blob Data Contributor", "SAS that may list"),
        ("oss", "permission to write", "permission to list"),
    ],
)
def test_permissions_of_each_store_are_named(protocol: Any, files: str, listing: str, mocker: Any) -> None:
    fs = mocker.Mock(protocol=protocol)
    assert files in permissions.needed(fs) and listing in permissions.needed(fs, to_list=True)
