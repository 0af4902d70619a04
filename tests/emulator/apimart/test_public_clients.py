"""What public clients of APIMart put on the wire, byte for byte, and what they insist on in the answers.

Written from reading the clients; nothing of their code is here. They need nothing that the real service does not give.
"""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator

PNG = b"\x89PNG\r\n\x1a\n0123456789"


def send_raw(base_url: str, head: list[str], body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Send a request exactly as given and return (status, headers, body)."""
    target = urlsplit(base_url)
    lines = [head[0], f"Host: {target.netloc}", *head[1:], f"Content-Length: {len(body)}", "Connection: close", "", ""]
    with socket.create_connection((target.hostname, target.port), timeout=30) as sock:
        sock.sendall("\r\n".join(lines).encode() + body)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    top, _, rest = answer.partition(b"\r\n\r\n")
    first, *fields = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    return int(first.split()[1]), headers, rest


class TestGoCommandLine:
    """A Go program: ``net/http`` headers, ``encoding/json`` bodies, answers read into strict structs."""

    AGENT = "User-Agent: Go-http-client/1.1"

    def call(self, emulator: Emulator, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, dict]:
        head = [f"{method} {path} HTTP/1.1", self.AGENT, f"Authorization: Bearer {emulator.api_key}"]
        head += [f"Content-Type: {kind}"] if kind else []
        status, _, answer = send_raw(emulator.base_url, [*head, "Accept-Encoding: identity"], body)
        return status, json.loads(answer)

    def test_submit_and_poll(self, emulator):
        body = b'{"model":"veo3.1-fast-official","prompt":"A \\u003ckitten\\u003e","duration":4,"size":"16:9"'
        body += b',"resolution":"720p","generate_audio":true}'
        status, answer = self.call(emulator, "POST", "/v1/videos/generations", body, "application/json")
        assert (status, answer["code"]) == (200, 200)
        (submitted,) = answer["data"]
        status, answer = self.call(emulator, "GET", f"/v1/tasks/{submitted['task_id']}")
        data = answer["data"]
        assert (status, answer["code"], data["status"]) == (200, 200, "completed")
        whole = ("progress", "created", "completed", "actual_time", "estimated_time")
        assert all(type(data[name]) is int for name in whole)
        assert all(isinstance(data[name], float) for name in ("cost", "credits_cost"))
        (video,) = data["result"]["videos"]
        assert type(video["expires_at"]) is int
        assert all(isinstance(url, str) for url in video["url"])

    def test_its_default_resolution_is_not_one_of_veos(self, emulator):
        body = b'{"model":"veo3.1-fast","prompt":"A kitten","size":"16:9","resolution":"480p"}'
        status, answer = self.call(emulator, "POST", "/v1/videos/generations", body, "application/json")
        assert (status, answer["error"]["code"]) == (400, 400)

    def test_upload_and_balance(self, emulator):
        part = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        part += b"Content-Type: application/octet-stream\r\n\r\n" + PNG + b"\r\n--b0--\r\n"
        status, answer = self.call(emulator, "POST", "/v1/uploads/images", part, "multipart/form-data; boundary=b0")
        assert (status, answer["bytes"], answer["content_type"]) == (200, len(PNG), "image/png")
        for path in ("/v1/balance", "/v1/user/balance"):
            _, answer = self.call(emulator, "GET", path)
            assert answer["success"] is True
            assert type(answer["unlimited_quota"]) is bool


class TestVendorSkill:
    """The vendor's own script: schema first, then a submission with both headers, redirects refused."""

    @pytest.fixture
    def script(self, emulator):
        headers = {"Accept": "application/json", "Authorization": f"Bearer {emulator.api_key}", "User-Agent": "node"}
        with httpx.Client(base_url=emulator.base_url, headers=headers, trust_env=False) as client:
            yield client

    def test_documentation(self, script):
        docs = script.get("/v1/model-docs?model=veo3.1-fast-official").json()
        assert (docs["object"], docs["model"]) == ("model.documentation", "veo3.1-fast-official")
        assert all(docs[name].strip() for name in ("doc_url", "markdown_url", "markdown"))
        assert all(type(docs[name]) is int and docs[name] > 0 for name in ("fetched_at", "cache_ttl_seconds"))
        assert type(docs["stale"]) is bool

    def test_generation(self, script):
        schema = script.get("/v1/model-schema?model=veo3.1-fast&operation=video_generation").json()
        assert (schema["operation"], type(schema["input_schema"])) == ("video_generation", dict)
        headers = {
            "Idempotency-Key": "b3d7d1c5-1d1c-4c53-9d52-0d6c1d3ab001",
            "X-APIMart-Response-Version": "2026-07-27",
        }
        body = b'{"prompt":"a dog","aspect_ratio":"9:16","model":"veo3.1-fast"}'
        headers["Content-Type"] = "application/json"
        first, again = (script.post("/v1/videos/generations", content=body, headers=headers) for _ in range(2))
        assert (again.headers["idempotency-replayed"], again.json()) == ("true", first.json())
        assert first.json()["data"]["object"] == "generation.task"
        assert isinstance(first.json()["request_id"], str)
        task = script.get(f"/v1/tasks/{first.json()['data']['id']}?language=ko").json()["data"]
        assert task["status"] in {"completed", "failed"}

    def test_listing(self, script):
        assert all(isinstance(model["id"], str) for model in script.get("/v1/models").json()["data"])
