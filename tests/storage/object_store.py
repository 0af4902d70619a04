"""An S3 on loopback: moto's server, with s3fs in front."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
import s3fs
from aiobotocore.client import AioBaseClient
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from airflow_provider_apimart.storage import permissions
from airflow_provider_apimart.storage.files import Target

BUCKET = "videos"


class Store:
    """One bucket, seen through s3fs and, to be sure, through boto3."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
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


LISTING = ("ListObjectsV2", "ListObjects", "HeadBucket", "ListBuckets")


class Policy:
    """What a role may not do. 403 is also the answer for what is not there, as it is without ``s3:ListBucket``."""

    def __init__(self) -> None:
        self.denied: set[str] = set(LISTING)
        self.made: list[str] = []

    def forbidden(self, name: str) -> ClientError:
        short = name.startswith("Head")
        error = {"Code": "403" if short else "AccessDenied", "Message": "Forbidden" if short else "Access Denied"}
        return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 403}}, name)


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Policy]:
    rules = Policy()
    original = AioBaseClient._make_api_call

    async def judged(self: Any, name: str, parameters: dict[str, Any]) -> Any:
        rules.made.append(name)
        if name in rules.denied:
            raise rules.forbidden(name)
        try:
            return await original(self, name, parameters)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404 and set(LISTING) & rules.denied:
                raise rules.forbidden(name) from None
            raise

    monkeypatch.setattr(AioBaseClient, "_make_api_call", judged)
    monkeypatch.setattr(permissions, "_passed", {})
    yield rules
