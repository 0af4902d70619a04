"""Starting, stopping, killing: what the emulator remembers, and how it behaves as a program."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator, EmulatorProcess, running_emulator, server
from airflow_provider_apimart.emulator.__main__ import main, parser
from airflow_provider_apimart.emulator.state.settings import EmulatorSettings
from tests.emulator.conftest import EXT, OFFICIAL, connect, task, task_id, video_url


def test_a_killed_emulator_forgets_nothing(tmp_path, plain):
    with EmulatorProcess(tmp_path / "state.db", job_seconds=3600) as emulator:
        with connect(emulator.base_url, emulator.api_key) as api:
            done = task_id(api.post("/v1/videos/generations", json=OFFICIAL, headers={"Idempotency-Key": "k"}))
            emulator.finish(done)
            open_one = task_id(api.post("/v1/videos/generations", json=EXT))
            url, before = video_url(api, done), task(api, done)
            etag = plain.get(url).headers["etag"]
            emulator.fault("submit", "drop_after", after=1)
            told = emulator.state()
        emulator.kill()
        with pytest.raises(httpx.ConnectError):
            plain.get(emulator.base_url)
        emulator.restart()
        with connect(emulator.base_url, emulator.api_key) as api:
            after = emulator.state()
            for name in ("generations", "bill_usd", "reserved_usd", "faults"):
                assert after[name] == told[name]
            assert after["requests"][: len(told["requests"])] == told["requests"]
            assert task(api, done) == before
            assert task(api, open_one)["status"] == "pending"
            assert plain.get(url).headers["etag"] == etag
            again = api.post("/v1/videos/generations", json=OFFICIAL, headers={"Idempotency-Key": "k"})
            assert (task_id(again), again.headers["idempotency-replayed"]) == (done, "true")


def test_killed_at_any_moment_leaves_both_or_neither(tmp_path):
    with EmulatorProcess(tmp_path / "state.db", job_seconds=3600) as emulator:
        threads = [threading.Thread(target=_post_until_it_dies, args=(emulator.base_url, str(n))) for n in range(4)]
        for thread in threads:
            thread.start()
        while len(emulator.requests("submit")) < 12:
            pass
        emulator.kill()
        for thread in threads:
            thread.join()
        emulator.restart()
        generations = emulator.state()["generations"]
        keys = [one["idempotency_key"] for one in generations]
        assert len(keys) == len(set(keys)) > 0
        with connect(emulator.base_url, emulator.api_key) as api:
            for one in generations[-10:]:
                headers = {"Idempotency-Key": one["idempotency_key"]}
                again = api.post("/v1/videos/generations", json=EXT, headers=headers)
                assert (task_id(again), again.headers["idempotency-replayed"]) == (one["generation_id"], "true")


def _post_until_it_dies(base_url: str, name: str) -> None:
    with connect(base_url, "emulator-key") as api:
        try:
            for number in range(1000):
                headers = {"Idempotency-Key": f"{name}-{number}"}
                api.post("/v1/videos/generations", json=EXT, headers=headers)
        except httpx.TransportError:
            pass


def test_state_file_without_a_kill(tmp_path, plain):
    path = tmp_path / "deep" / "state.db"
    with running_emulator(state=path) as first, connect(first.base_url, first.api_key) as api:
        done = task_id(api.post("/v1/videos/generations", json=OFFICIAL))
        plain.get(video_url(api, done))
    assert [file.suffix for file in path.with_suffix(".media").iterdir()] == [".mp4"]
    with running_emulator(state=path) as second, connect(second.base_url, second.api_key) as api:
        assert task(api, done)["status"] == "completed"


def test_no_media_cache(tmp_path, plain):
    path = tmp_path / "state.db"
    with (
        running_emulator(state=path, media_cache=False) as emulator,
        connect(emulator.base_url, emulator.api_key) as api,
    ):
        assert plain.get(video_url(api, task_id(api.post("/v1/videos/generations", json=OFFICIAL)))).status_code == 200
    assert not path.with_suffix(".media").exists()


def test_one_video_is_made_once_for_many(tmp_path, plain):
    path = tmp_path / "state.db"
    with running_emulator(state=path) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        url = video_url(api, task_id(api.post("/v1/videos/generations", json=OFFICIAL)))
        tags: list[str] = []
        threads = [threading.Thread(target=lambda: tags.append(plain.get(url).headers["etag"])) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(tags) == 6
    assert len(set(tags)) == 1
    assert len(list(path.with_suffix(".media").iterdir())) == 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_when_asked_to(sent):
    command = [sys.executable, "-W", "error", "-m", "airflow_provider_apimart.emulator", "--port=0", "--job-seconds=0"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        line = child.stdout.readline()
        assert line.startswith("APIMart emulator on http://127.0.0.1:")
        with connect(line.rpartition(" ")[2].strip(), "emulator-key") as api:
            assert api.get("/v1/balance").status_code == 200
            child.send_signal(sent)
            out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "", "")


def test_child_ends_with_its_parent(tmp_path):
    emulator = EmulatorProcess(tmp_path / "state.db").start()
    child = emulator._child
    child.stdin.close()
    assert child.wait(timeout=30) == 0
    emulator.stop()


def test_a_taken_port_is_said(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "cannot listen" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["av", "PIL", "fontTools", "regex"])
def test_missing_extra_is_said(monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["--port", "0"]) == 1
    assert "pip install 'airflow-provider-apimart[emulator]'" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match=f"emulator needs {missing}"):
        Emulator().start()


def test_command_line_says_all_settings():
    settings = EmulatorSettings(
        api_keys=("one", "two"), any_key=True, renew_urls=True, media_cache=False, unlimited_key=True, vary_jobs=True
    )
    given = parser().parse_args(server.arguments(settings))
    assert (given.api_keys, given.any_key, given.renew_urls, given.no_media_cache) == (["one", "two"], True, True, True)
    assert (given.unlimited_key, given.vary_jobs, given.split_samples) == (True, True, False)


def test_process_without_a_state_file_survives_a_kill():
    with EmulatorProcess() as emulator:
        with connect(emulator.base_url, emulator.api_key) as api:
            api.post("/v1/videos/generations", json=EXT)
        emulator.kill()
        assert emulator.pid is None
        emulator.start()
        assert len(emulator.state()["generations"]) == 1


def test_importing_the_package_is_cheap():
    code = "import sys, airflow_provider_apimart.emulator as e; e.EmulatorSettings; "
    code += "print([m for m in sys.modules if m in {'av', 'fastapi', 'uvicorn', 'airflow'}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fixtures_give_airflow_a_connection(apimart_emulator_conn):
    connection = json.loads(os.environ["AIRFLOW_CONN_APIMART_DEFAULT"])
    assert connection == {
        "conn_type": "apimart",
        "password": apimart_emulator_conn.api_key,
        "host": apimart_emulator_conn.base_url,
    }
    assert apimart_emulator_conn.state()["requests"] == []


def test_fixtures_serve_a_suite_of_their_own(pytester_dir, tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["airflow_provider_apimart.emulator.fixtures"]\n')
    (tmp_path / "test_theirs.py").write_text(
        "import sys\n"
        "def test_one(apimart_emulator):\n"
        "    apimart_emulator.fault('task', 'drop_before')\n"
        "    assert 'airflow' not in sys.modules\n"
        "def test_two(apimart_emulator):\n"
        "    assert apimart_emulator.state()['faults'] == []\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:airflow",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": pytester_dir, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def pytester_dir() -> str:
    return os.getcwd()
