"""Uploads to the emulated YouTube that are unusual, concurrent or large."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator, EmulatorProcess, running_emulator
from airflow_provider_apimart.emulator.publishing.instagram import TOKENS
from airflow_provider_apimart.emulator.publishing.youtube import PIECE
from tests.emulator.conftest import TLS
from tests.emulator.publishing.conftest import GRANT
from tests.emulator.publishing.test_instagram import create
from tests.emulator.publishing.test_youtube import BODY, DATA, SHA256, ask, put, start

MIB = 1024 * 1024
PARAMS = {"uploadType": "resumable", "part": "snippet,status"}


def begun(client: httpx.Client) -> str:
    """Start a session without announcing a size."""
    answer = client.post("/upload/youtube/v3/videos", params=PARAMS, json=BODY)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["location"])


def test_urls_in_answers_are_the_public_ones() -> None:
    with (
        running_emulator(public_url="http://emulator.test:1/base/") as emulator,
        httpx.Client(base_url=emulator.base_url, trust_env=False, verify=TLS) as client,
    ):
        client.headers["Authorization"] = f"Bearer {client.post('/token', data=GRANT).json()['access_token']}"
        place = start(client).headers["location"]
        assert place.startswith("http://emulator.test:1/base/upload/youtube/v3/videos?")
        client.headers["Authorization"] = f"Bearer {TOKENS[0]}"
        assert create(client).json()["uri"].startswith("http://emulator.test:1/base/ig-api-upload/v25.0/")


def test_a_size_that_comes_with_the_last_piece(youtube: httpx.Client, emulator: Emulator) -> None:
    place = begun(youtube)
    first = youtube.put(place, content=DATA[:PIECE], headers={"Content-Range": f"bytes 0-{PIECE - 1}/*"})
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{PIECE - 1}")
    asked = youtube.put(place, headers={"Content-Range": "bytes */*", "Content-Length": "0"})
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{PIECE - 1}")
    assert put(youtube, place, PIECE, DATA[PIECE:]).status_code == 201
    assert emulator.publishing()["youtube"][0]["sha256"] == SHA256


@pytest.mark.parametrize("announced", [False, True])
def test_a_body_without_a_length(youtube: httpx.Client, emulator: Emulator, announced: bool) -> None:
    place = start(youtube).headers["location"] if announced else begun(youtube)
    made = youtube.put(place, content=iter([DATA[:1000], DATA[1000:]]))
    assert made.status_code == 201
    assert emulator.publishing()["youtube"][0]["sha256"] == SHA256


def test_a_question_does_not_end_an_upload_without_a_size(youtube: httpx.Client, emulator: Emulator) -> None:
    place = begun(youtube)
    put_ = youtube.put(place, content=DATA[:PIECE], headers={"Content-Range": f"bytes 0-{PIECE - 1}/*"})
    assert put_.status_code == 308
    assert youtube.put(place, headers={"Content-Range": "bytes */*", "Content-Length": "0"}).status_code == 308
    assert emulator.publishing()["youtube"] == []


@pytest.mark.parametrize(
    "text",
    ["bytes 0-9", "bytes x-9/10", "bytes 5-4/10", f"bytes 0-{len(DATA)}/{len(DATA)}", f"bytes 0-99/{10**20}"],
)
def test_a_range_that_makes_no_sense(youtube: httpx.Client, text: str) -> None:
    place = start(youtube).headers["location"]
    assert youtube.put(place, content=DATA, headers={"Content-Range": text}).status_code == 400
    assert "range" not in ask(youtube, place).headers


def test_the_bytes_of_two_workers_on_one_session_do_not_mix(youtube: httpx.Client, emulator: Emulator) -> None:
    place = start(youtube).headers["location"]
    half_sent, go_on = threading.Event(), threading.Event()
    slow: list[httpx.Response] = []

    def halting() -> Iterator[bytes]:
        yield DATA[: len(DATA) // 2]
        half_sent.set()
        go_on.wait(10)
        yield DATA[len(DATA) // 2 :]

    def zombie() -> None:
        with httpx.Client(trust_env=False, verify=TLS) as client:
            slow.append(client.put(place, content=halting(), headers={"Content-Length": str(len(DATA))}))

    worker = threading.Thread(target=zombie)
    worker.start()
    assert half_sent.wait(10)
    for _ in range(500):
        stored = int(ask(youtube, place).headers.get("range", "bytes=0--1").rpartition("-")[2]) + 1
        if stored == len(DATA) // 2:
            break
        go_on.wait(0.01)
    mine = put(youtube, place, stored, DATA[stored : stored + PIECE])
    assert mine.headers["range"] == f"bytes=0-{stored + PIECE - 1}"
    # The first worker goes on with bytes that the second one has sent.
    go_on.set()
    worker.join(10)
    # Whether it may add the last ones depends on where the network cuts its blocks. In no case is a byte kept twice.
    last = slow[0] if slow[0].status_code == 201 else put(youtube, place, stored + PIECE, DATA[stored + PIECE :])
    assert last.status_code == 201
    assert [one["sha256"] for one in emulator.publishing()["youtube"]] == [SHA256]


@pytest.mark.parametrize("step", ["upload", "ask"])
def test_a_session_that_lost_its_bytes_begins_anew(youtube: httpx.Client, emulator: Emulator, step: str) -> None:
    place = start(youtube).headers["location"]
    emulator.publish_fault("youtube", "lose", step)
    assert put(youtube, place, 0, DATA[:PIECE]).status_code == 308
    assert "range" not in ask(youtube, place).headers
    assert put(youtube, place, 0, DATA).status_code == 201
    assert emulator.publishing()["youtube"][0]["sha256"] == SHA256


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "quotaExceeded", "authError"])
def test_a_refusal_in_mid_upload_keeps_the_session(youtube: httpx.Client, emulator: Emulator, reason: str) -> None:
    place = start(youtube).headers["location"]
    put(youtube, place, 0, DATA[:PIECE])
    emulator.publish_fault("youtube", "status", "upload", status=401 if reason == "authError" else 403, reason=reason)
    refused = put(youtube, place, PIECE, DATA[PIECE:])
    assert refused.json()["error"]["errors"][0]["reason"] == reason
    assert ask(youtube, place).headers["range"] == f"bytes=0-{PIECE - 1}"
    assert put(youtube, place, PIECE, DATA[PIECE:]).status_code == 201


def test_parts_ids_and_playlists_are_required(youtube: httpx.Client) -> None:
    def reason(answer: httpx.Response) -> str:
        (error,) = answer.json()["error"]["errors"]
        return f"{answer.status_code} {error['reason']} {error['location']}"

    assert reason(youtube.get("/youtube/v3/videos", params={"id": "x"})) == "400 missingRequiredParameter part"
    assert reason(youtube.get("/youtube/v3/videos", params={"part": "id"})) == "400 missingRequiredParameter id"
    query = {"part": "id", "playlistId": "nothing"}
    assert reason(youtube.get("/youtube/v3/playlistItems", params=query)) == "404 playlistNotFound playlistId"
    # A playlist without a video is a playlist.
    assert youtube.get("/youtube/v3/playlistItems", params={**query, "playlistId": "PL9"}).json()["items"] == []


def peak_kib(emulator: EmulatorProcess) -> int:
    status = Path(f"/proc/{emulator.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no peak of memory here")
def test_a_large_upload_takes_no_memory() -> None:
    size = 96 * MIB
    piece = bytes(range(256)) * (MIB // 256)
    with (
        EmulatorProcess() as emulator,
        httpx.Client(base_url=emulator.base_url, trust_env=False, timeout=60, verify=TLS) as client,
    ):
        client.headers["Authorization"] = f"Bearer {client.post('/token', data=GRANT).json()['access_token']}"
        place = start(client, size=size).headers["location"]
        put(client, start(client).headers["location"], 0, DATA)
        before = peak_kib(emulator)
        sent = client.put(place, content=(piece for _ in range(96)), headers={"Content-Length": str(size)})
        assert sent.status_code == 201
        assert peak_kib(emulator) - before < 16 * 1024
        wanted = hashlib.sha256(piece * 96).hexdigest()
        assert emulator.publishing()["youtube"][0]["sha256"] == wanted
