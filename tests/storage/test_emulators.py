"""Landing in the emulators that others have made: Azurite for Azure, gcp-storage-emulator for GCS.

Neither belongs to the test environment. ``npm install azurite`` and ``AZURITE=…/azurite/dist/src/blob/main.js`` enable
the one, ``pip install gcp-storage-emulator`` the other.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_apimart.generation.landing import claims
from airflow_provider_apimart.generation.landing.landing import already_landed
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.conditional import writes
from airflow_provider_apimart.storage.conditional.stores import conditional_writes
from airflow_provider_apimart.storage.files import Target
from tests.generation.landing.landings import OTHER, VIDEO, delivered, made, run

#: Public, and the same in every Azurite.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PAIRS = int(os.environ.get("LANDING_PAIRS", "40"))


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@pytest.fixture
def azurite() -> Iterator[Any]:
    adlfs = pytest.importorskip("adlfs", reason="pip install adlfs")
    script, node = os.environ.get("AZURITE"), shutil.which("node")
    if not script or not node:
        pytest.skip("needs node and AZURITE, see above")
    port = free_port()
    options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    server = subprocess.Popen([node, script, "--blobPort", str(port), *options], stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as opened:
                if opened.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        account = f"http://127.0.0.1:{port}/devstoreaccount1"
        told = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint={account};"
        fs = adlfs.AzureBlobFileSystem(connection_string=told, skip_instance_cache=True, use_listings_cache=False)
        fs.mkdir("videos")
        yield fs
    finally:
        server.terminate()
        server.wait()


def test_azurite_keeps_conditions_and_no_pair_collides(azurite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "_verdicts", {})
    found = conditional_writes(azurite)
    assert found is not None and found.trusted("videos/clip.mp4") and azurite.ls("videos") == []
    start = threading.Barrier(2)

    def target(name: str) -> Target:
        return Target(azurite, f"videos/{name}", f"abfs://videos/{name}")

    def one(writer: int) -> list[LandedVideo]:
        landed = []
        for pair in range(PAIRS):
            start.wait()
            provenance = made(f"g{writer}", map_index=writer)
            landed.append(run((VIDEO, OTHER)[writer], target(f"{pair}.mp4"), provenance, seen=claims.Seen))
        return landed

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    for a, b in zip(first, second, strict=True):
        assert a.path != b.path
        assert azurite.cat_file(a.path.removeprefix("abfs://")) == VIDEO
        assert azurite.cat_file(b.path.removeprefix("abfs://")) == OTHER
    assert len(azurite.ls("videos")) == 4 * PAIRS
    later = delivered(VIDEO, target("0.mp4"), made("g9", run_id="r2"))
    assert later.path == "abfs://videos/0.mp4" and already_landed(target("0.mp4"), "g9", 1) == later


def test_gcp_storage_emulator_ignores_conditions_and_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator")
    core = pytest.importorskip("gcsfs.core", reason="pip install gcsfs")
    monkeypatch.setattr(writes, "_verdicts", {})
    port = free_port()
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="videos")
    server.start()
    try:
        fs = core.GCSFileSystem(
            project="p", token="anon", endpoint_url=f"http://127.0.0.1:{port}", skip_instance_cache=True
        )
        found = conditional_writes(fs)
        assert found is not None and not found.trusted("videos/clip.mp4") and fs.ls("videos") == []
        target = Target(fs, "videos/clip.mp4", "gs://videos/clip.mp4")
        first = delivered(VIDEO, target, made("g1"))
        second = delivered(OTHER, target, made("g2", map_index=1))
        assert (first.path, second.path) == (target.uri, "gs://videos/clip-g2.mp4")
        folder = delivered(OTHER, Target(fs, "videos/g.mp4", "gs://videos/g.mp4"), made("g"), own_name=True)
        assert fs.cat_file("videos/g.mp4") == OTHER and already_landed(Target(fs, "videos/g.mp4", folder.path), "g", 1)
        core.GCSFileSystem.close_session(fs.loop, fs._session)
    finally:
        server.stop()
