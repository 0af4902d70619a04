"""Whole publications against the emulated Instagram, over a real socket: each answer lost, late, cut or wrong.

The oracle is what the public sees. A container that was published twice shows twice (``publishes_twice``).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.fixtures import (  # noqa: F401 - fixtures are found by their names
    apimart_emulator,
    apimart_emulator_options,
    apimart_emulator_server,
)
from airflow_provider_apimart.emulator.publishing.instagram import TOKENS, USER
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRefusedError,
    PostRejectedError,
    TargetUnavailableError,
)
from tests.publishing.targets.instagram import meta
from tests.publishing.targets.instagram.meta import BYTES, Desk, Meta

IG_TOKEN, FB_TOKEN = TOKENS


@pytest.fixture
def emulator(apimart_emulator: Emulator) -> Emulator:  # noqa: F811
    apimart_emulator.publish_fault("instagram", "publishes_twice")
    return apimart_emulator


@pytest.fixture
def desk(tmp_path: Path, emulator: Emulator) -> Desk:
    assert USER == meta.USER
    desk = Desk(tmp_path, Meta(), FB_TOKEN)
    desk.base_url, desk.way = emulator.base_url, "bytes"
    return desk


@pytest.fixture
def storage(desk: Desk) -> Iterator[Desk]:
    """A desk whose video is fetched from a storage by a link that holds its secret."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.endswith("?signature=5ecre7")
            self.send_response(200 if found else 403)
            self.send_header("Content-Length", str(len(BYTES) if found else 0))
            self.end_headers()
            self.wfile.write(BYTES if found else b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    desk.way, desk.token = "url", IG_TOKEN
    desk.link = lambda: f"http://127.0.0.1:{server.server_port}/clip.mp4?signature=5ecre7"  # type: ignore[method-assign]
    yield desk
    server.shutdown()
    server.server_close()


def check(emulator: Emulator, desk: Desk) -> None:
    """Check that exactly one Reel is public, with the right bytes."""
    (post,) = emulator.posts("instagram")
    assert (post["sha256"], post["bytes"]) == (hashlib.sha256(BYTES).hexdigest(), len(BYTES))
    record = desk.store.load()
    assert record is not None and record.state == "public"


def test_a_link_is_fetched(storage: Desk, emulator: Emulator) -> None:
    """The wait between two questions is real here, because the emulator fetches on its own."""
    for _ in range(200):
        if storage.advance().decision.action == "keep":
            break
        threading.Event().wait(0.02)
    check(emulator, storage)


@pytest.mark.parametrize("step", ["account", "limit", "container", "upload", "status", "publish", "media"])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "broken"},
        {"kind": "status", "status": 500, "code": 2},
        {"kind": "status", "status": 500, "code": 2, "executed": True},
        {"kind": "status", "status": 400, "code": -1, "subcode": 2207001},
        {"kind": "status", "status": 400, "code": -1, "subcode": 2207001, "executed": True},
        {"kind": "status", "status": 400, "code": 24, "subcode": 2207008, "executed": True},
        {"kind": "status", "status": 400, "code": 100, "subcode": 33, "executed": True},
        {"kind": "status", "status": 429, "code": 4, "retry_after": "30"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_any_answer_goes_wrong(desk: Desk, emulator: Emulator, step: str, fault: dict[str, Any]) -> None:
    values = dict(fault)
    emulator.publish_fault("instagram", values.pop("kind"), step, **values)
    desk.finish()
    check(emulator, desk)
    desk.finish()
    check(emulator, desk)


@pytest.mark.parametrize("stored", [0, 1, 70_000])
@pytest.mark.parametrize("kind", ["cut", "short"])
def test_an_upload_is_cut(desk: Desk, emulator: Emulator, kind: str, stored: int) -> None:
    emulator.publish_fault("instagram", kind, "upload", bytes=stored)
    desk.finish()
    check(emulator, desk)


def test_two_publishing_calls_are_lost_in_a_row(desk: Desk, emulator: Emulator) -> None:
    emulator.publish_fault("instagram", "drop_before", "publish")
    emulator.publish_fault("instagram", "drop_after", "publish")
    record = desk.finish().record
    check(emulator, desk)
    assert record.post_id == f"container:{record.draft_id}"


@pytest.mark.parametrize(
    ("condition", "values", "kind"),
    [
        ("token_expired", {}, CredentialsError),
        ("personal_account", {}, CredentialsError),
        ("reads_fail", {}, TargetUnavailableError),
        ("container_fails", {}, PostRejectedError),
        ("container_fails", {"code": 2207053}, PostRejectedError),
        ("container_expires", {}, PostRejectedError),
    ],
)
def test_a_condition_that_lasts_ends_with_its_cause(
    desk: Desk, emulator: Emulator, condition: str, values: dict[str, Any], kind: type[Exception]
) -> None:
    emulator.publish_fault("instagram", condition, **values)
    if condition == "personal_account":
        desk.token = IG_TOKEN
        desk.way = "url"
    with pytest.raises(kind):
        desk.finish()
    assert not emulator.posts("instagram")


@pytest.mark.parametrize("condition", ["token_expired", "reads_fail", "limit_reached"])
def test_a_condition_that_passes_costs_nothing(desk: Desk, emulator: Emulator, condition: str) -> None:
    emulator.publish_fault("instagram", "drop_before", "publish")
    desk.advance()
    emulator.publish_fault("instagram", condition)
    desk.clock.sleep(120)
    try:
        assert desk.advance().decision.action == "wait"
    except (CredentialsError, TargetUnavailableError):
        assert condition != "limit_reached"
    assert not emulator.posts("instagram")
    emulator.clear_publish_faults()
    emulator.publish_fault("instagram", "publishes_twice")
    desk.finish()
    check(emulator, desk)


def test_an_expired_container_after_a_lost_publishing_call_is_an_honest_stop(desk: Desk, emulator: Emulator) -> None:
    emulator.publish_fault("instagram", "drop_before", "publish")
    desk.advance()
    emulator.publish_fault("instagram", "container_expires")
    with pytest.raises(PostRefusedError, match=USER):
        desk.finish()
    assert not emulator.posts("instagram")
