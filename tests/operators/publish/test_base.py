"""What all publish operators do, on a target without a network: waits, parking, errors, results."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time import task_runner

from airflow_provider_apimart._compat import AirflowFailException, TaskDeferralTimeout
from airflow_provider_apimart.hooks import publishers
from airflow_provider_apimart.hooks.reports import metrics
from airflow_provider_apimart.links.publish import PostLink, StudioLink
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostParkedError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.target import DraftState
from tests.hooks.test_post_stores import Supervisor
from tests.operators.conftest import Tries
from tests.operators.publish import fake
from tests.operators.publish.conftest import deferred, land, lose_records, run_trigger
from tests.operators.publish.fake import FakePublishOperator, Network


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setitem(publishers.HOOKS, "fake", f"{fake.__name__}.FakeHook")
    yield from fake.network()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(metrics.Stats, "incr", lambda name, *_, **__: names.append(name))
    monkeypatch.setattr(metrics.Stats, "timing", lambda name, *_, **__: names.append(name))
    return names


def make(video: Any, **arguments: Any) -> FakePublishOperator:
    return FakePublishOperator(**{"task_id": "post", "video": video, **arguments})


def limit(seconds: float) -> TargetLimitError:
    return TargetLimitError("100 uploads a day are used up", until=datetime.now(UTC) + timedelta(seconds=seconds))


def test_the_result_the_links_and_the_counts(
    network: Network, landed: dict[str, Any], tries: Tries, counted: list[str]
) -> None:
    operator = make(landed)
    found = operator.execute(tries.next(operator))
    assert (found["post_id"], found["url"], found["state"]) == (
        "post-draft-1",
        "https://fake.example/draft-1",
        "public",
    )
    assert PostLink().get_link(operator, ti_key=None) == "https://fake.example/draft-1"
    assert StudioLink().get_link(operator, ti_key=None) == "https://studio.fake.example/post-draft-1"
    assert counted == ["apimart.posts.published", "apimart.post_duration"]
    again = operator.execute(tries.next(operator))
    assert {**again, "warnings": []} == found
    assert counted == ["apimart.posts.published", "apimart.post_duration"]
    assert network.calls.count("commit") == network.calls.count("thumbnail") == 1


def test_a_thumbnail_that_fails_is_a_warning(network: Network, landed: dict[str, Any], tries: Tries) -> None:
    network.failures = {"thumbnail": [TargetUnavailableError("no thumbnail today")]}
    operator = make(landed)
    assert operator.execute(tries.next(operator))["warnings"] == ["thumbnail: no thumbnail today"]


def test_a_scheduled_post_says_when(network: Network, landed: dict[str, Any], tries: Tries) -> None:
    when = datetime(2031, 5, 1, 16, tzinfo=UTC)
    network.published = {"public_at": when}
    operator = make(landed)
    found = operator.execute(tries.next(operator))
    assert (found["state"], found["publish_at"], found["public_since"]) == ("scheduled", "2031-05-01T16:00:00Z", None)


def test_the_targets_work_is_waited_for_in_the_triggerer(
    network: Network, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.states = [DraftState.PROCESSING, DraftState.READY]
    operator = make(landed, poll_interval=1)
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    trigger = waited.trigger
    assert (trigger.draft_id, trigger.seen, trigger.ask_at) == ("draft-1", "processing", None)
    assert trigger.deadline - time.time() == pytest.approx(7200, abs=5)
    assert waited.timeout > timedelta(hours=2)
    trigger.poll_interval = 0.01
    event = run_trigger(trigger, monkeypatch)
    assert (event["reason"], event["state"]) == ("changed", "ready")
    tries.number -= 1
    found = operator.execute_complete(tries.next(operator), event, **json.loads(json.dumps(waited.kwargs)))
    assert found["state"] == "public" and network.public == ["draft-1"]


def test_the_worker_waits_by_the_same_decisions(
    network: Network, landed: dict[str, Any], tries: Tries, no_waiting: list[float]
) -> None:
    network.states = [DraftState.PROCESSING, DraftState.PROCESSING, DraftState.READY]
    operator = make(landed, deferrable=False, poll_interval=5)
    operator.execute(tries.next(operator))
    assert no_waiting == [5, 5] and network.public == ["draft-1"]


def test_a_draft_that_is_not_known_yet_is_asked_about_again(
    network: Network, landed: dict[str, Any], tries: Tries
) -> None:
    network.states = [DraftState.GONE]
    operator = make(landed)
    trigger = deferred(lambda: operator.execute(tries.next(operator))).trigger
    assert trigger.ask_at - time.time() == pytest.approx(60, abs=5)


def test_passing_the_deadline_parks_and_the_next_try_goes_on(
    network: Network, landed: dict[str, Any], tries: Tries, no_waiting: list[float], counted: list[str]
) -> None:
    network.states = [DraftState.PROCESSING]
    operator = make(landed, timeout=1, deferrable=False)
    later = SimpleNamespace(time=lambda: time.time() + 2, sleep=no_waiting.append)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("airflow_provider_apimart.operators.publish.base.time", later)
        with pytest.raises(PostParkedError, match=r"nothing is lost.*A longer timeout= waits longer.*Post apm-"):
            operator.execute(tries.next(operator))
    assert counted == ["apimart.posts.parked"]
    network.states = [DraftState.READY]
    operator.execute(tries.next(operator))
    assert network.public == ["draft-1"] and len(network.drafts) == 1


def test_the_execution_timeout_counts_from_the_tries_start_over_all_its_deferrals(
    network: Network, landed: dict[str, Any], tries: Tries
) -> None:
    network.states = [DraftState.PROCESSING]
    operator = make(landed, execution_timeout=timedelta(minutes=10))
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    assert waited.trigger.deadline - time.time() == pytest.approx(600, abs=5)
    kept = json.loads(json.dumps(waited.kwargs))
    tries.number -= 1
    again = deferred(lambda: operator.execute_complete(tries.next(operator), {"reason": "time"}, **kept))
    assert again.trigger.deadline == waited.trigger.deadline
    kept["intent"]["began"] -= 601
    tries.number -= 1
    with pytest.raises(PostParkedError, match="A longer execution_timeout= waits longer"):
        operator.execute_complete(tries.next(operator), {"reason": "deadline"}, **kept)
    # The next try has a time of its own.
    assert deferred(lambda: operator.execute(tries.next(operator))).trigger.deadline - time.time() > 590


@pytest.mark.parametrize("name", ["account", "start"])
def test_a_limit_is_waited_for_until_it_resets(
    network: Network, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    network.failures = {name: [limit(600)]}
    operator = make(landed)
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    assert waited.trigger.ask_at - time.time() == pytest.approx(600, abs=5)
    assert waited.trigger.draft_id is None
    waited.trigger.ask_at = time.time()
    assert run_trigger(waited.trigger, monkeypatch)["reason"] == "time"
    tries.number -= 1
    operator.execute_complete(tries.next(operator), {}, **json.loads(json.dumps(waited.kwargs)))
    assert network.public == ["draft-1"]


@pytest.mark.parametrize("name", ["account", "start"])
def test_a_limit_beyond_the_deadline_parks_and_says_when(
    network: Network, landed: dict[str, Any], tries: Tries, name: str
) -> None:
    network.failures = {name: [limit(86_400)]}
    operator = make(landed)
    with pytest.raises(PostParkedError, match=r"100 uploads a day.*It can go on at 20") as parked:
        operator.execute(tries.next(operator))
    assert parked.value.until is not None


# --- errors ----------------------------------------------------------------------------------------------------------


def test_wrong_text_is_refused_before_anything_is_sent(
    network: Network, landed: dict[str, Any], tries: Tries, counted: list[str]
) -> None:
    operator = make(landed, text="I <3 it")
    with pytest.raises(AirflowFailException, match=r"text='I <3 it': allowed.*This try has posted nothing"):
        operator.execute(tries.next(operator))
    assert network.calls == [] and tries.store.values == {} and counted == ["apimart.posts.failed"]


def test_errors_say_what_others_can_see(network: Network, landed: dict[str, Any], tries: Tries) -> None:
    network.failures = {"commit": [CredentialsError("the token was revoked")]}
    operator = make(landed)
    with pytest.raises(
        AirflowFailException,
        match=r"token was revoked\. Nothing is public; the draft draft-1.*clear the task.*Post apm-\w{16} on fake, "
        r"account account-1",
    ):
        operator.execute(tries.next(operator))


def test_a_lost_record_is_looked_for_at_the_target(network: Network, landed: dict[str, Any], tries: Tries) -> None:
    network.states = [DraftState.PROCESSING]
    operator = make(landed)
    deferred(lambda: operator.execute(tries.next(operator)))
    assert "look_up" not in network.calls
    lose_records(tries, landed)
    network.states = [DraftState.READY]
    operator.execute(tries.next(operator))
    assert "look_up" in network.calls and network.public == ["draft-1"] and len(network.drafts) == 1


@pytest.mark.parametrize("dropped", [True, False])
def test_a_record_that_is_lost_during_a_deferral_is_looked_for_too(
    network: Network, landed: dict[str, Any], tries: Tries, dropped: bool
) -> None:
    network.states = [DraftState.PROCESSING]
    operator = make(landed)
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    lose_records(tries, landed)
    network.states = [DraftState.READY]
    tries.number -= 1
    kept = {} if dropped else json.loads(json.dumps(waited.kwargs))
    operator.execute_complete(tries.next(operator), {}, **kept)
    assert "look_up" in network.calls and network.public == ["draft-1"] and len(network.drafts) == 1


@pytest.mark.parametrize(
    ("failure", "said"),
    [("account", "Nothing was posted on fake"), ("start", "It is not public"), ("commit", "It may be public")],
)
def test_a_kill_says_what_may_be_public(
    network: Network,
    landed: dict[str, Any],
    tries: Tries,
    failure: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Killed(BaseException):
        pass

    network.failures = {failure: [Killed()]}  # type: ignore[list-item]
    operator = make(landed)
    operator.on_kill()
    with pytest.raises(Killed):
        operator.execute(tries.next(operator))
    operator.on_kill()
    assert said in capsys.readouterr().out
    operator.execute(tries.next(operator))
    operator.on_kill()
    assert "It is public (https://fake.example/draft-" in capsys.readouterr().out
    assert len(network.public) == 1


def test_airflow_ending_the_deferral_loses_nothing(
    network: Network, landed: dict[str, Any], tries: Tries, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = make(landed)
    with pytest.raises(TaskDeferralTimeout):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, tries.next(operator))
    assert "nothing is posted twice" in capsys.readouterr().out


# --- a key -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


def test_a_key_is_posted_once_in_all_runs(
    network: Network, landed: dict[str, Any], supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for run in ("monday", "tuesday"):
        monkeypatch.setattr("tests.operators.conftest.FakeTaskInstance.run_id", run)
        operator = make(landed, post_key="campaign 7")
        results.append(operator.execute(Tries().next(operator)))
    assert results[0] == {**results[1], "warnings": []} and network.public == ["draft-1"]
    network.accounts = ["account-2"]
    operator.execute(Tries().next(operator))
    assert network.public == ["draft-1", "draft-2"]


def test_a_limit_before_the_keys_record_is_waited_for(
    network: Network, landed: dict[str, Any], supervisor: Supervisor, no_waiting: list[float]
) -> None:
    network.failures = {"account": [limit(600)]}
    operator = make(landed, post_key="campaign 7")
    assert deferred(lambda: operator.execute(Tries().next(operator))).trigger.ask_at
    network.failures = {"account": [limit(600)]}
    operator = make(landed, post_key="campaign 7", deferrable=False)
    operator.execute(Tries().next(operator))
    assert no_waiting == [pytest.approx(600, abs=5)] and network.public == ["draft-1"]


def test_a_name_that_would_fail_the_finished_task_is_refused_before(
    network: Network, landed: dict[str, Any], tries: Tries
) -> None:
    operator = make(landed)
    with DAG("a_dag", schedule=None) as dag:
        operator.dag = dag
    context = {**tries.next(operator), "map_index_template": "{{ task.nothing.of.that }}"}
    with pytest.raises(AirflowFailException, match="map_index_template"):
        operator.execute(context)
    assert network.calls == []


def test_another_video_under_the_same_key_is_refused(
    network: Network, landed: dict[str, Any], supervisor: Supervisor, tmp_path: Any
) -> None:
    operator = make(landed, post_key="campaign 7")
    operator.execute(Tries().next(operator))
    other = make(land(tmp_path, "gen-2.mp4", b"another video"), post_key="campaign 7")
    with pytest.raises(AirflowFailException, match="another video than the one that it has made public"):
        other.execute(Tries().next(other))
    assert network.public == ["draft-1"]


def test_a_store_that_does_not_answer_stops_the_post(
    network: Network, landed: dict[str, Any], supervisor: Supervisor
) -> None:
    supervisor.answer = RuntimeError("the API server does not answer")
    operator = make(landed, post_key="campaign 7")
    with pytest.raises(Exception, match="does not answer") as failure:
        operator.execute(Tries().next(operator))
    assert not isinstance(failure.value, AirflowFailException)
    assert network.public == [] and network.drafts == {}
