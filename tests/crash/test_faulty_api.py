"""Whatever the API and the media host answer, in whatever order: at most one paid generation, always an end, and when
the trouble is over, the video.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from airflow_provider_apimart.client import client as client_module
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.media import videos as media_module
from airflow_provider_apimart.generation.landing import download
from airflow_provider_apimart.generation.waiting import poller, schedule
from airflow_provider_apimart.triggers import veo as trigger_module
from tests.crash import life
from tests.triggers.clock import Clock, watch_requests
from tests.virtual import virtually

TRIES = 3
PRICE = 0.256
ANYWHERE = (
    *({"kind": "status", "status": status} for status in (400, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504)),
    {"kind": "status", "status": 429, "retry_after": "1"},
    {"kind": "status", "status": 500, "executed": True},
    {"kind": "html", "executed": True},
    {"kind": "envelope_error"},
    {"kind": "success_false", "message": "user quota query failed"},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "broken_json"},
    {"kind": "cut"},
    {"kind": "wrong_length"},
    {"kind": "redirect", "location": "http://127.0.0.1:9/"},
)
SUBMIT = (
    {"kind": "idempotency_in_progress", "retry_after": "0"},
    {"kind": "idempotency_key_reused"},
    {"kind": "idempotency_unavailable"},
    {"kind": "build_request_failed"},
    {"kind": "no_task_id"},
    {"kind": "task_fails"},
    {"kind": "shape", "value": "data_object"},
    {"kind": "shape", "value": "top_level"},
)
TASK = (
    {"kind": "task_status", "value": "pondering"},
    {"kind": "shape", "value": "video_url"},
    {"kind": "shape", "value": "data_list"},
    {"kind": "shape", "value": "unwrapped"},
    {"kind": "expire_url"},
    {"kind": "renew_url"},
)
MEDIA = (
    *({"kind": "status", "status": status} for status in (403, 404, 429, 500, 503)),
    {"kind": "drop_before"},
    {"kind": "cut"},
    {"kind": "cut", "bytes": 20_000},
    {"kind": "wrong_length"},
    {"kind": "not_a_video"},
    {"kind": "expire_url"},
)


def at(route: str, kinds: tuple[dict[str, Any], ...]) -> st.SearchStrategy[dict[str, Any]]:
    # 6 is what the client itself repeats within one try, 20 is more than all tries together.
    times, after = st.sampled_from((1, 2, 6, 7, 20)), st.integers(0, 3)
    return st.builds(
        lambda kind, times, after: {"route": route, "times": times, "after": after, **kind},
        st.sampled_from(kinds),
        times,
        after,
    )


FAULTS = st.lists(
    st.one_of(
        at("submit", ANYWHERE + SUBMIT),
        at("task", ANYWHERE + TASK),
        at("upload", ANYWHERE),
        at("media", MEDIA),
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One whose jobs take no time, whose URLs are renewed, and that makes one video for all."""
    make = media_module.make_video
    made: dict[Any, bytes] = {}

    def make_once(spec: Any, path: Path) -> None:
        shape = (spec.width, spec.height, spec.seconds, spec.audio)
        if shape not in made:
            make(spec, path)
            made[shape] = path.read_bytes()
        path.write_bytes(made[shape])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media_module, "make_video", make_once)
        with Emulator(renew_urls=True, balance_usd=Decimal(10)) as emulator:
            connection = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
            patch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))
            yield emulator


class Hurried:
    """A clock that is pushed on instead of waited for, so that a wait until its deadline takes no time."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Hurried:
    """No wait of the product takes time: not the polls', nor those of the retries and of the download."""
    from airflow_provider_apimart.generation.waiting import worker
    from airflow_provider_apimart.operators import tries as operator_module

    clock = Hurried()
    for module in (client_module, operator_module, worker, poller):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(download.Downloader.__init__, "__kwdefaults__", {
        **(download.Downloader.__init__.__kwdefaults__ or {}), "sleep": clock.sleep})  # fmt: skip

    requests = Clock()
    watch_requests(monkeypatch, requests)

    def run_loop(work: Callable[[], Any]) -> Any:
        return virtually(work, busy=lambda: requests.busy > 0, on_idle=clock.sleep)

    monkeypatch.setattr(life, "run_loop", run_loop)
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    monkeypatch.setattr(schedule, "MIN_INTERVAL_SECONDS", 3.0)
    return clock


def here(part: str, work: Callable[[life.Cross], None]) -> bool:
    """Run a part in this process."""
    work(life.nothing)
    return True


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(faults=FAULTS, deferrable=st.booleans(), store=st.sampled_from(life.STORES))
def test_any_sequence_of_faults_pays_once_ends_and_loses_nothing(
    emulator: Emulator, hurried: Hurried, faults: list[dict[str, Any]], deferrable: bool, store: str
) -> None:
    emulator.reset()
    hurried.ahead = 0.0
    emulator.faults(*faults)
    with tempfile.TemporaryDirectory() as folder:
        plan = life.Plan("faulty", str(Path(folder, "task")), deferrable=deferrable, store=store)
        life.prepare(plan)
        lived = life.live(plan, here, tries=TRIES)
        note(f"failures: {lived.failures}")
        check_money(emulator, lived.success)
        assert lived.success or lived.tries == TRIES or lived.for_good
        for failure in lived.failures:
            assert emulator.api_key not in failure

        # The trouble is over: somebody clears the task, perhaps twice, as a failed generation ends a try.
        emulator.clear_faults()
        tries = lived.tries
        again = life.live(replace(plan), here, tries=TRIES, first_try=tries + 1, cleared_after=tries)
        note(f"after the clear: {again.failures}")
        assert again.success, again.failures
        check_money(emulator, True)
        (video,) = again.xcom["videos"]
        landed = Path(video["path"].removeprefix("file://")).read_bytes()
        assert hashlib.sha256(landed).hexdigest() == video["sha256"]
        stray = {path.name for path in plan.out.rglob("*") if path.is_file()} - {"clip.mp4", "clip.mp4.json"}
        assert len(stray) == (store == "beside")


def check_money(emulator: Emulator, must_be_paid: bool) -> None:
    state = emulator.state()
    assert state["paid"] <= 1
    assert state["bill_usd"] in ((PRICE,) if must_be_paid else (0, PRICE))
    # Every generation but the last has failed, and each has a key of its own.
    keys = [one["idempotency_key"] for one in state["generations"]]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("kind", "message"),
    [("content_rejected", "refused the content"), ("completes_empty", "without a video"),
     ("idempotency_indeterminate", "does not know")],
)  # fmt: skip
def test_what_no_try_can_mend_stops_at_once_and_stays_stopped(
    emulator: Emulator, hurried: Hurried, tmp_path: Path, kind: str, message: str, deferrable: bool
) -> None:
    emulator.reset()
    options = {"message": "no output"} if kind == "completes_empty" else {}
    emulator.fault("submit", kind, executed=True, **options)
    plan = life.Plan("stopped", str(tmp_path / "task"), deferrable=deferrable)
    life.prepare(plan)
    for first_try in (1, 2, 3):
        lived = life.live(plan, here, first_try=first_try, cleared_after=first_try - 1)
        assert lived.for_good and lived.tries == 1
        assert message in lived.failures[0]
    assert len(emulator.state()["generations"]) == 1
