"""An S3 on loopback: moto's server, with s3fs in front."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from airflow_provider_apimart.generation.storage import Target

BUCKET = "videos"


class Store:
    """One bucket, seen through s3fs and, to be sure, through boto3."""

    def __init__(self, endpoint: str) -> None:
        access = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        self.client: Any = boto3.client("s3", endpoint_url=endpoint, **access)
        self.client.create_bucket(Bucket=BUCKET)
        self.fs = s3fs.S3FileSystem(
            key="test",
            secret="test",
            endpoint_url=endpoint,
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def target(self, name: str) -> Target:
        return Target(self.fs, f"{BUCKET}/{name}", f"s3://{BUCKET}/{name}")

    def names(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def get(self, name: str) -> bytes:
        body = self.client.get_object(Bucket=BUCKET, Key=name)["Body"]
        with body:
            return bytes(body.read())

    def uploads(self) -> list[str]:
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        endpoint = f"http://{host}:{port}"
        httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()  # Its state outlives the server.
        opened = Store(endpoint)
        yield opened
        opened.client.close()
        s3fs.S3FileSystem.close_session(opened.fs.loop, opened.fs.s3)
    finally:
        server.stop()
