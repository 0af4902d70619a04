"""Names of files that other tools know them by."""

from __future__ import annotations

from pathlib import Path

import pytest
from openlineage.client.naming import dataset as spec

from airflow_provider_apimart.storage.naming import DatasetName, dataset_name


def name(path: str, account: str | None = None) -> tuple[str, str]:
    found = dataset_name(path, account=account)
    assert found is not None
    return found.namespace, found.name


def by_spec(naming: spec.DatasetNaming) -> tuple[str, str]:
    return naming.get_namespace(), naming.get_name()


@pytest.mark.parametrize(
    "path", ["s3://vids/a/b.mp4", "s3://aws_lab@vids/a/b.mp4", "s3a://vids/a/b.mp4", "S3://vids/a/b.mp4"]
)
def test_an_object_has_one_name_through_every_connection(path: str) -> None:
    assert name(path) == by_spec(spec.S3(bucket_name="vids", object_key="a/b.mp4"))


@pytest.mark.parametrize("path", ["gs://vids/a/b.mp4", "gcs://google@vids/a/b.mp4"])
def test_google_cloud_storage(path: str) -> None:
    assert name(path) == by_spec(spec.GCS(bucket_name="vids", object_key="a/b.mp4"))


@pytest.mark.parametrize(
    "path",
    [
        "abfs://azure@vids/a/b.mp4",
        "az://vids/a/b.mp4",
        "abfss://vids@acct.dfs.core.windows.net/a/b.mp4",
        "wasbs://vids@acct.blob.core.windows.net/a/b.mp4",
    ],
)
def test_azure_names_the_account(path: str) -> None:
    assert name(path, "acct") == by_spec(spec.ABFSS(container="vids", service="acct", path="a/b.mp4"))


def test_an_unknown_account_is_left_out() -> None:
    assert name("abfs://azure@vids/a.mp4") == ("abfss://vids", "a.mp4")


@pytest.mark.parametrize("path", ["/data/a.mp4", "file:///data/a.mp4", "file://conn@/data/a.mp4", "/data/x/../a.mp4"])
def test_local_files(path: str) -> None:
    assert name(path) == by_spec(spec.LocalFileSystem(path="/data/a.mp4"))
    found = dataset_name(path)
    assert found is not None and found.uri == "file:///data/a.mp4"


def test_a_relative_path_is_where_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert name("frame.png") == name("file://frame.png") == ("file", f"{tmp_path}/frame.png")


def test_folders_and_other_storages() -> None:
    assert name("s3://vids/out/") == ("s3://vids", "out")
    assert name("s3://vids") == name("s3://conn@vids/") == ("s3://vids", "/")
    assert name("hdfs://nn:8020/out/a.mp4") == by_spec(
        spec.HDFS(namenode_host="nn", namenode_port="8020", path="/out/a.mp4")
    )
    assert name("sftp://conn@host/out/") == ("sftp://host", "/out")


def test_a_url_loses_its_signature_and_its_user() -> None:
    assert name("https://me:pw@cdn.example.com/f.png?X-Signature=secret#x") == ("https://cdn.example.com", "/f.png")


def test_what_lies_at_apimart_is_no_file() -> None:
    assert dataset_name("asset://abc") is None


def test_an_assets_uri_is_ascii_and_survives_airflow() -> None:
    from airflow.sdk import Asset

    run = "s3://vids/manual__2026-11-26T14:00:00+00:00/a.mp4"
    for path, expected in {
        run: run,
        "s3://vids/b c?q#f%20/고양이.mp4": "s3://vids/b%20c%3Fq%23f%2520/%EA%B3%A0%EC%96%91%EC%9D%B4.mp4",
        "/data/a.mp4": "file:///data/a.mp4",
    }.items():
        found = dataset_name(path)
        assert found is not None
        assert found.quoted_uri == Asset(found.quoted_uri).uri == expected
    assert DatasetName("youtube://UC-1", "abc").uri == "youtube://UC-1/abc"
