"""Where a post's record is kept, and that a place which does not answer is never "no record"."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, PutVariable, VariableResult

from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.hooks.stores.model_stores import RecordUnavailableError, TaskStateModelStore
from airflow_provider_apimart.hooks.stores.post_stores import keyed_post_store, post_store
from airflow_provider_apimart.publishing.kept import ComparingPostStore
from airflow_provider_apimart.publishing.post import PostIdentity
from airflow_provider_apimart.publishing.record import PostRecord, PostState, UnreadablePostError, read_post_record
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.conftest import FakeStateStore

PLACE = PostIdentity("a_dag", "a_run", "a_task")


def record(**changes: Any) -> PostRecord:
    values = {
        "state": PostState.DRAFTED,
        "target": "webhook",
        "account": "hooks.example.com/12345678",
        "marker": "apm-0123456789abcdef",
        "video_uri": "/data/clip.mp4",
        "video_sha256": "00",
        "video_bytes": 1,
        "content_digest": "11",
        "intent_at": datetime.now(UTC),
    }
    return PostRecord.model_validate({**values, **changes})


@pytest.mark.skipif(not HAS_STATE_STORE, reason="Airflow 3.3 and later")
def test_the_task_state_store_comes_first(tmp_path: Path) -> None:
    from airflow.sdk import NEVER_EXPIRE

    accessor = FakeStateStore()
    store = post_store({"task_state_store": accessor}, file_of(f"{tmp_path}/clip.mp4", "video"), PLACE)
    assert store.durable and store.load() is None
    store.save(record())
    assert store.load() == record(intent_at=store.load().intent_at)  # type: ignore[union-attr]
    assert list(accessor.values) == ["apimart_post"] and accessor.retentions == [NEVER_EXPIRE]
    assert not list(tmp_path.iterdir())


def test_else_an_object_lies_beside_the_video(tmp_path: Path) -> None:
    video = file_of(f"{tmp_path}/clip.mp4", "video")
    store = post_store({}, video, PLACE)
    assert store.durable and store.load() is None
    kept = record()
    store.save(kept)
    (file,) = (tmp_path / ".apimart-records").iterdir()
    assert file.name.endswith(".post.json")
    assert post_store({}, video, PLACE).load() == kept
    assert post_store({}, video, PostIdentity("a_dag", "another_run", "a_task")).load() is None
    file.write_text("{")
    with pytest.raises(UnreadablePostError, match="may be public"):
        store.load()


def test_else_it_is_kept_nowhere_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = post_store({}, file_of("/dev/null/clip.mp4", "video"), PLACE, record())
    assert not store.durable and store.load() is not None
    assert "kept nowhere" in caplog.text


class Supervisor:
    """What Airflow's supervisor answers about variables."""

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}
        self.answer: Any = None
        #: The API server's database does not answer the next reads, and it takes that for "not found".
        self.lost_reads = 0

    def send(self, message: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        if isinstance(message, PutVariable):
            self.values[message.key] = message.value
            return None
        if not isinstance(message, GetVariable):
            names = [key for key in self.values if key.startswith(message.prefix)]
            return comms.VariableKeysResult(keys=names, total_entries=len(names))
        self.lost_reads -= 1
        if message.key in self.values and self.lost_reads < 0:
            return VariableResult(key=message.key, value=self.values[message.key])
        return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"message": "none"})


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


@pytest.fixture(params=["3.3", "before 3.3"])
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "3.3" and not hasattr(comms, "GetVariableKeys"):
        pytest.skip("Airflow 3.3 and later")
    if request.param != "3.3":
        monkeypatch.delattr(comms, "GetVariableKeys", raising=False)


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("lost", [1, 2])
def test_a_server_that_takes_a_failure_for_not_found_is_not_believed(supervisor: Supervisor, lost: int) -> None:
    store = keyed_post_store("youtube", "channel-1", "campaign 7")
    assert store.load() is None
    store.save(record())
    supervisor.lost_reads = lost
    with pytest.raises(RecordUnavailableError):
        store.load()
    supervisor.lost_reads = 0
    assert store.load() is not None


@pytest.mark.usefixtures("version")
def test_a_post_key_spans_runs_and_tells_accounts_apart(supervisor: Supervisor) -> None:
    store = keyed_post_store("youtube", "channel-1", "campaign 7")
    assert store.durable and store.load() is None
    kept = record()
    store.save(kept)
    assert keyed_post_store("youtube", "channel-1", "campaign 7").load() == kept
    assert keyed_post_store("youtube", "channel-2", "campaign 7").load() is None
    assert keyed_post_store("instagram", "channel-1", "campaign 7").load() is None
    (name,) = set(supervisor.values) - {"apimart_post:witness"}
    assert name.startswith("apimart_post:") and "campaign" not in name


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("the API server does not answer"),
        *(ErrorResponse(error=kind, detail={}) for kind in ErrorType if kind is not ErrorType.VARIABLE_NOT_FOUND),
        object(),
    ],
)
def test_a_variable_that_cannot_be_read_is_not_taken_for_none(supervisor: Supervisor, answer: Any) -> None:
    supervisor.answer = answer
    store = keyed_post_store("youtube", "channel-1", "campaign 7")
    with pytest.raises(RecordUnavailableError, match="apimart_post:"):
        store.load()


def test_a_variable_that_cannot_be_written_stops_the_post(supervisor: Supervisor) -> None:
    supervisor.answer = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={})
    with pytest.raises(RecordUnavailableError):
        keyed_post_store("youtube", "channel-1", "campaign 7").save(record())


def test_a_record_beside_the_video_is_replaced_only_if_it_is_still_the_same(tmp_path: Path) -> None:
    """Two tries that have read the same record do not both go on from it."""
    store = post_store({}, file_of(f"{tmp_path}/clip.mp4", "video"), PLACE)
    assert isinstance(store, ComparingPostStore)
    first, second, third = record(note="first"), record(note="second"), record(note="third")
    assert store.replace(None, first) and not store.replace(None, second)
    assert store.replace(first, second) and not store.replace(first, third)
    assert store.load() == second


def test_stores_that_cannot_compare_say_so() -> None:
    accessor = FakeStateStore()
    task_state = TaskStateModelStore(accessor, "apimart_post", read_post_record)
    for store in (task_state, keyed_post_store("youtube", "UC1", "summer")):
        assert not isinstance(store, ComparingPostStore)
