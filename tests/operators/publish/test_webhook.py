"""The webhook operator against a real socket: one message for each post, whatever happens to the answers."""

from __future__ import annotations

import base64
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_apimart._compat import AirflowFailException, ObjectStoragePath
from airflow_provider_apimart.hooks.posts import posts_of
from airflow_provider_apimart.operators.publish import WebhookPublishOperator
from airflow_provider_apimart.publishing.errors import PostParkedError, TargetUnavailableError
from tests.operators.conftest import Tries
from tests.operators.publish.conftest import CONTENT, deferred, make, run_trigger
from tests.receiver import FORMER_SECRET, SECRET, Answer, Receiver
from tests.storage.object_store import BUCKET, Policy, Store, policy, store

__all__ = ["policy", "store"]

STORES = pytest.mark.parametrize("kept", [True, False], ids=["task state store", "record beside the video"])


@STORES
def test_a_video_is_handed_over_once(receiver: Receiver, landed: dict[str, Any], tries: Tries, kept: bool) -> None:
    operator = make(landed)
    found = operator.execute(tries.next(operator, store=kept))
    ((message_id, message),) = receiver.effects.items()
    video = landed["videos"][0]
    assert found == {
        "target": "webhook",
        "account": found["account"],
        "post_id": message_id,
        "url": None,
        "studio_url": None,
        "state": "delivered",
        "publish_at": None,
        "privacy_status": None,
        "contains_synthetic_media": None,
        "uploaded_at": None,
        "public_since": found["public_since"],
        "video": {
            "path": video["path"],
            "bytes": video["bytes"],
            "sha256": video["sha256"],
            "generation_id": "gen-1",
        },
        "warnings": [],
    }
    assert datetime.fromisoformat(found["public_since"]).tzinfo is not None
    assert message["type"] == "video.ready"
    assert message["data"]["post_id"] == message_id
    assert message["data"]["video"]["sha256"] == video["sha256"] and message["data"]["video"]["url"] is None
    assert operator.execute(tries.next(operator, store=kept)) == found
    assert len(receiver.attempts) == 1


@STORES
@pytest.mark.parametrize(
    "answer",
    [Answer(drop=True), Answer(503), Answer(503, effect=False), Answer(429, {"Retry-After": "1"}), Answer(408)],
    ids=["lost", "503 after effect", "503", "429", "408"],
)
def test_a_message_without_an_answer_is_sent_again_byte_by_byte(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, no_waiting: list[float], kept: bool, answer: Answer
) -> None:
    receiver.answers = [answer]
    operator = make(landed, payload={"text": "Größe ✓ {not a place}", "when": {"$post": "created_at"}})
    operator.execute(tries.next(operator, store=kept))
    first, second = receiver.attempts
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.verified and second.verified
    assert len(receiver.effects) == 1


@STORES
def test_the_next_try_sends_the_same_message(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, no_waiting: list[float], kept: bool
) -> None:
    receiver.answers = [Answer(drop=True) for _ in range(7)]
    operator = make(landed)
    with pytest.raises(TargetUnavailableError, match=r"Whether it is public is not known.*nothing is posted twice"):
        operator.execute(tries.next(operator, store=kept))
    operator.execute(tries.next(operator, store=kept))
    assert len(receiver.attempts) == 8
    assert len({attempt.body for attempt in receiver.attempts}) == len(receiver.effects) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(410), "wants no messages any more"),
        (Answer(400, body=b'{"error": "no such account"}'), "no such account"),
        (Answer(404), "refused the message"),
        (Answer(302, {"Location": "http://127.0.0.1:1/elsewhere"}), "redirects"),
        (Answer(401), "does not accept the signature"),
        (
            Answer(401, {"Date": "Mon, 02 Nov 2026 10:00:00 GMT"}),
            r"clock is [0-9,]+ s (ahead of|behind) the receiver's",
        ),
    ],
)
def test_a_refusal_ends_the_task_for_good(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, answer: Answer, said: str
) -> None:
    answer.effect = False
    receiver.answers = [answer]
    operator = make(landed)
    with pytest.raises(AirflowFailException, match=rf"{said}.*Nothing is public.*Post apm-") as failure:
        operator.execute(tries.next(operator))
    assert Receiver.path not in str(failure.value)
    assert len(receiver.attempts) == 1 and not receiver.effects


def test_a_message_that_was_refused_goes_to_the_url_that_is_put_right(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [Answer(302, {"Location": "http://127.0.0.1:1/elsewhere"}, effect=False)]
    operator = make(landed)
    with pytest.raises(AirflowFailException, match="final URL into the connection"):
        operator.execute(tries.next(operator))
    monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", receiver.connection(host=f"{receiver.url}?final=1"))
    operator.execute(tries.next(operator))
    assert len(receiver.attempts) == 2 and len(receiver.effects) == 1


def test_a_receiver_that_repeats_the_message_gives_no_link_away(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    receiver.answers = [Answer(422, body=f'bad: "https://b.s3/clip.mp4?X-Amz-Signature=1" {SECRET}'.encode())]
    operator = make(landed)
    with pytest.raises(AirflowFailException) as failure:
        operator.execute(tries.next(operator))
    assert "Signature" not in str(failure.value) and SECRET not in str(failure.value)


def test_the_message_goes_to_the_whole_url(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = receiver.connection(host=f"{receiver.url}?token=a-long-secret-token")
    monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", connection)
    operator = make(landed)
    operator.execute(tries.next(operator))
    assert receiver.attempts[0].path == f"{Receiver.path}?token=a-long-secret-token"


def test_a_clear_reuses_or_reposts(receiver: Receiver, landed: dict[str, Any], tries: Tries) -> None:
    operator = make(landed)
    first = operator.execute(tries.next(operator))
    tries.clear()
    assert operator.execute(tries.next(operator)) == first
    tries.clear()
    again = make(landed, on_clear="repost")
    second = again.execute(tries.next(again))
    assert second["post_id"] != first["post_id"]
    assert list(receiver.effects) == [first["post_id"], second["post_id"]]
    assert [post["post"] for post in posts_of(landed["videos"][0]["path"])] == list(receiver.effects)


# --- the wait --------------------------------------------------------------------------------------------------------


@STORES
def test_a_long_retry_after_is_waited_for_in_the_triggerer(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "300"})]
    operator = make(landed)
    waited = deferred(lambda: operator.execute(tries.next(operator, store=kept)))
    assert waited.trigger.ask_at - time.time() == pytest.approx(300, abs=5)
    waited.trigger.ask_at = time.time()
    event = run_trigger(waited.trigger, monkeypatch)
    assert event["reason"] == "time"
    # Its templates render to something else now.
    again = make(landed, payload={"type": "other"})
    again.video = {**landed, "videos": []}
    tries.number -= 1
    kwargs = json.loads(json.dumps(waited.kwargs))
    found = again.execute_complete(tries.next(again, store=kept), event, **kwargs)
    first, second = receiver.attempts
    assert first.body == second.body and first.headers["webhook-id"] == second.headers["webhook-id"]
    assert found["state"] == "delivered" and len(receiver.effects) == 1


def test_the_record_travels_with_the_deferral_where_nothing_keeps_it(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "airflow_provider_apimart.operators.publish.base.post_store",
        lambda context, video, identity, record: _nowhere(record),
    )
    receiver.answers = [Answer(429, {"Retry-After": "300"})]
    operator = make(landed)
    waited = deferred(lambda: operator.execute(tries.next(operator, store=False)))
    kwargs = json.loads(json.dumps(waited.kwargs))
    assert kwargs["intent"]["record"]["state"] == "committing"
    again = make(landed)
    tries.number -= 1
    again.execute_complete(tries.next(again, store=False), {"reason": "time"}, **kwargs)
    first, second = receiver.attempts
    assert first.body == second.body


def _nowhere(record: Any) -> Any:
    from airflow_provider_apimart.hooks.stores.post_stores import NoPostStore

    return NoPostStore(record)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_limit_that_resets_after_the_deadline_parks_at_once(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, no_waiting: list[float], deferrable: bool
) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "7200"})]
    operator = make(landed, timeout=timedelta(hours=1), deferrable=deferrable)
    with pytest.raises(PostParkedError, match=r"nothing is lost.*It can go on at 20.*Post apm-"):
        operator.execute(tries.next(operator))
    assert not receiver.effects and no_waiting == []
    operator.execute(tries.next(operator))
    assert len(receiver.effects) == 1


def test_a_worker_waits_for_the_same_time(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, no_waiting: list[float]
) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "300"})]
    operator = make(landed, deferrable=False)
    operator.execute(tries.next(operator))
    assert no_waiting == [pytest.approx(300, abs=5)]
    assert len(receiver.effects) == 1


def test_a_time_beyond_the_execution_timeout_parks_at_once(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "3000"})]
    operator = make(landed, execution_timeout=timedelta(minutes=10))
    with pytest.raises(PostParkedError, match="It can go on at"):
        operator.execute(tries.next(operator))


def test_airflow_that_drops_the_kwargs_goes_on_from_the_record(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "300"})]
    operator = make(landed)
    deferred(lambda: operator.execute(tries.next(operator)))
    tries.number -= 1
    operator.execute_complete(tries.next(operator), {"reason": "time"})
    first, second = receiver.attempts
    assert first.body == second.body and len(receiver.effects) == 1


# --- the link --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(store: Store, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> str:
    extra = {"endpoint_url": store.endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    # Airflow keeps a connection's file system for as long as the process lives: each server has a name of its own.
    name = f"aws_{store.endpoint.rpartition(':')[2]}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    return f"s3://{name}@{BUCKET}"


def test_a_signed_link_leads_to_the_video(
    receiver: Receiver,
    tries: Tries,
    store: Store,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masked: list[str] = []
    monkeypatch.setattr("airflow_provider_apimart.hooks.storage.paths.mask", masked.append)
    store.client.put_object(Bucket=BUCKET, Key="own/clip.mp4", Body=CONTENT)
    caplog.set_level(logging.DEBUG)
    payload = {"media": {"$video": "url"}, "dies": {"$video": "url_expires_at"}, "post": {"$post": "id"}}
    operator = make(ObjectStoragePath(f"{bucket}/own/clip.mp4"), payload=payload, include_url=True, url_expires=3600)
    found = operator.execute(tries.next(operator))
    (message,) = receiver.effects.values()
    assert httpx.get(message["media"]).content == CONTENT
    left = datetime.fromisoformat(message["dies"]) - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    assert message["post"] == found["post_id"]
    (post,) = posts_of(f"{bucket}/own/clip.mp4")
    assert post["post"] == found["post_id"]
    assert message["media"] in masked
    # The link is a secret for as long as it lives. (The storage's own server and client are in this process as well.)
    query = message["media"].partition("?")[2]
    ours = "\n".join(each.getMessage() for each in caplog.records if each.name.startswith(("airflow", "httpx")))
    for shown in (ours, json.dumps(found), json.dumps(tries.store.values), json.dumps(post)):
        assert query not in shown and "Signature" not in shown


def test_a_storage_without_links_is_refused_before_anything(
    receiver: Receiver, landed: dict[str, Any], tries: Tries
) -> None:
    operator = make(landed, include_url=True)
    with pytest.raises(AirflowFailException, match=r"include_url=True.*cannot make a signed link.*include_url=False"):
        operator.execute(tries.next(operator))
    assert not receiver.attempts and not tries.store.values


def test_a_message_whose_link_has_died_is_written_anew_if_it_was_never_sent(
    receiver: Receiver, tries: Tries, store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.client.put_object(Bucket=BUCKET, Key="own/clip.mp4", Body=CONTENT)
    receiver.answers = [Answer(400, effect=False)]
    operator = make(f"{bucket}/own/clip.mp4", include_url=True, url_expires=3600)
    with pytest.raises(AirflowFailException):
        operator.execute(tries.next(operator))
    _later(monkeypatch, timedelta(hours=2))
    operator.execute(tries.next(operator))
    first, second = receiver.attempts
    assert first.body != second.body and first.headers["webhook-id"] == second.headers["webhook-id"]
    assert len(receiver.effects) == 1


def test_a_message_whose_link_has_died_is_not_sent_again_if_it_may_have_arrived(
    receiver: Receiver,
    tries: Tries,
    store: Store,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: list[float],
) -> None:
    store.client.put_object(Bucket=BUCKET, Key="own/clip.mp4", Body=CONTENT)
    receiver.answers = [Answer(drop=True) for _ in range(7)]
    operator = make(f"{bucket}/own/clip.mp4", include_url=True, url_expires=3600)
    with pytest.raises(TargetUnavailableError):
        operator.execute(tries.next(operator))
    _later(monkeypatch, timedelta(hours=2))
    with pytest.raises(AirflowFailException, match=r"the link to the video in the message died.*repost"):
        operator.execute(tries.next(operator))
    assert len(receiver.attempts) == 7 and len(receiver.effects) == 1


def _later(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    from airflow_provider_apimart.publishing.targets.webhook.target import WebhookTarget

    made = WebhookTarget.__init__

    def later(self: WebhookTarget, settings: Any, link: Any = None) -> None:
        made(self, settings, link, lambda: datetime.now(UTC) + by)

    monkeypatch.setattr(WebhookTarget, "__init__", later)
    # The receiver's tolerance is another test's concern.
    monkeypatch.setattr("tests.receiver.Webhook.verify", lambda *_: None)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_both_secrets_sign_while_they_rotate(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, no_waiting: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.secret = FORMER_SECRET
    monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", receiver.connection(password=FORMER_SECRET))
    receiver.answers = [Answer(drop=True, effect=False) for _ in range(7)]
    operator = make(landed)
    with pytest.raises(TargetUnavailableError):
        operator.execute(tries.next(operator))
    monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", receiver.connection(password=SECRET))
    with pytest.raises(AirflowFailException, match="Put the former secret behind the new one"):
        operator.execute(tries.next(operator))
    assert len(receiver.attempts) == 7
    monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", receiver.connection(password=f"{SECRET} {FORMER_SECRET}"))
    operator.execute(tries.next(operator))
    last = receiver.attempts[-1]
    assert len(last.headers["webhook-signature"].split()) == 2 and last.verified
    assert last.body == receiver.attempts[0].body


def test_no_secret_leaves_the_connection(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [Answer(429, {"Retry-After": "300"})]
    operator = make(landed, payload={"text": "secret of the message"})
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    tries.number -= 1
    found = operator.execute_complete(tries.next(operator), {}, **json.loads(json.dumps(waited.kwargs)))
    sidecar = Path(f"{landed['videos'][0]['path']}.posts.json").read_text()
    bare = base64.b64encode(base64.b64decode(SECRET.removeprefix("whsec_"))).decode()
    shown = (json.dumps(waited.trigger.serialize()), json.dumps(waited.kwargs), json.dumps(found), sidecar)
    for text in (*shown, json.dumps(tries.store.values), caplog.text):
        assert SECRET not in text and bare not in text and Receiver.path not in text
    # What the deferral keeps is what the author wrote; the record keeps the message sealed.
    assert "secret of the message" not in json.dumps(tries.store.values)


def test_rendered_fields_hold_no_secret(receiver: Receiver) -> None:
    assert not {"url", "secret", "password"} & set(WebhookPublishOperator.template_fields)
