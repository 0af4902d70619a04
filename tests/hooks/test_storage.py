"""Which place a path names, and that a connection that is not there is named before anything is paid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException, ObjectStoragePath
from airflow_provider_apimart.client.errors import ConfigurationError, InvalidParameterError
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.manifest import read_manifest
from airflow_provider_apimart.hooks.storage.paths import read_images, target_of
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries

PASSWORD = "hunter2-of-the-bucket"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the machine, which must not stand in for a connection that is missing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.mark.parametrize("path", ["s3://nope@bucket/videos/", "s3://nope@bucket/a.mp4", "gs://nope@bucket/videos/"])
def test_an_unknown_connection_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match=f"output_path='{path}': there is no Airflow connection 'nope'"):
        target_of(path)


def test_it_is_found_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="'made_later'"):
        target_of("s3://made_later@bucket/videos/")
    monkeypatch.setenv("AIRFLOW_CONN_MADE_LATER", json.dumps({"conn_type": "aws"}))
    assert target_of("s3://made_later@bucket/videos/").path == "bucket/videos/"


@pytest.mark.parametrize("path", ["s3://bucket/videos/", "s3://aws_default@bucket/videos/"])
def test_the_credentials_of_the_machine_need_no_connection(path: str) -> None:
    assert target_of(path).uri == path


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_a_path_on_this_machine_is_opened_without_the_other_providers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    usual = ObjectStoragePath(f"{scheme}{tmp_path}/videos/")
    before = usual.fs, usual.path

    def register() -> None:
        raise AssertionError("Airflow's registry loads the file systems of all providers")

    monkeypatch.setattr("airflow.sdk.io.fs._register_filesystems", register)
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    found = target_of(f"{scheme}{tmp_path}/videos/")
    assert (found.fs, found.path.rstrip("/")) == (before[0], before[1].rstrip("/"))


def test_a_password_in_a_path_is_not_told() -> None:
    with pytest.raises(ConfigurationError, match="never a user and a password") as caught:
        target_of(f"s3://AKIA0000:{PASSWORD}@bucket/videos/")
    assert PASSWORD not in str(caught.value)


def test_nothing_is_paid_for_a_video_that_has_nowhere_to_go(apimart_emulator_conn: Emulator) -> None:
    operator = VeoGenerateOperator(
        task_id="make", prompt="a cat", duration=4, deferrable=False, output_path="s3://nope@bucket/videos/"
    )
    with pytest.raises(AirflowFailException, match=r"no Airflow connection 'nope'.*Nothing was charged"):
        operator.execute(Tries().next(operator))
    assert apimart_emulator_conn.state()["posts"] == 0


def test_frames_and_manifests_name_it_too() -> None:
    request = VeoRequest(prompt="a cat", first_frame_image="s3://nope@bucket/frame.png")
    with pytest.raises(InvalidParameterError, match=r"first_frame_image.*no Airflow connection 'nope'"):
        read_images(request)
    with pytest.raises(ConfigurationError, match="no Airflow connection 'nope'"):
        next(read_manifest("s3://nope@bucket/manifest.jsonl"))


@pytest.mark.parametrize(
    ("output", "uri", "folder"),
    [
        ("/data/videos/", "/data/videos/", True),
        ("/data/videos", "/data/videos", False),
        (Path("/data/videos/"), "/data/videos/", True),
        (Path("/data/clip.MP4"), "/data/clip.MP4", False),
        (Path("/data/clip.mov"), "/data/clip.mov", False),
        (Path("/data/2026.01.15"), "/data/2026.01.15/", True),
        (Path("/data/v3.1"), "/data/v3.1/", True),
        (ObjectStoragePath("file:///data/videos/"), "file:///data/videos/", True),
        (ObjectStoragePath("file:///data/clip.mp4"), "file:///data/clip.mp4", False),
    ],
    ids=repr,
)
def test_path_object_is_a_folder_unless_it_names_a_video(output: Any, uri: str, folder: bool) -> None:
    target = target_of(output)
    assert (target.uri, target.is_folder) == (uri, folder)
    assert target.path.endswith("/") is folder
