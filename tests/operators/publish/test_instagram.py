"""The Instagram operator: a landed video becomes a Reel, through a signed link or as bytes, in worker and triggerer."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_apimart._compat import AirflowFailException, ObjectStoragePath
from airflow_provider_apimart.hooks.posts import posts_of
from airflow_provider_apimart.hooks.stores.post_stores import NoPostStore
from airflow_provider_apimart.operators.publish import InstagramReelPublishOperator, base
from tests.operators.conftest import Tries
from tests.operators.publish.conftest import CONTENT, deferred, lose_records, run_trigger
from tests.publishing.targets.instagram.meta import FB_TOKEN, IG_TOKEN, Fault, Meta, Served
from tests.storage.object_store import BUCKET, Policy, Store, policy, store

__all__ = ["policy", "store"]

CAPTION = "A cat in the rain #shorts"


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meta]:
    with Served(Meta()) as served:
        monkeypatch.setenv("AIRFLOW_CONN_INSTAGRAM_DEFAULT", served.connection(password=FB_TOKEN))
        yield served.meta


def make(video: Any, **arguments: Any) -> InstagramReelPublishOperator:
    return InstagramReelPublishOperator(**{"task_id": "post", "video": video, "caption": CAPTION, **arguments})


def test_a_local_video_is_sent_as_bytes(meta: Meta, landed: dict[str, Any], tries: Tries) -> None:
    operator = make(landed)
    found = operator.execute(tries.next(operator))
    (media,) = meta.posts
    (container,) = meta.containers.values()
    assert container.received == CONTENT and container.fields["caption"] == CAPTION
    assert found["post_id"] == media and found["url"] == f"https://www.instagram.com/reel/{media}/"
    assert found["state"] == "public" and found["contains_synthetic_media"] is True and found["warnings"] == []
    again = operator.execute(tries.next(operator))
    assert again == found and meta.count("publish") == 1
    (line,) = json.loads(Path(f"{landed['videos'][0]['path']}.posts.json").read_text())["posts"]
    assert line["post_id"] == media and line["target"] == "instagram"


def test_a_lost_answer_is_told_in_the_result(
    meta: Meta, landed: dict[str, Any], tries: Tries, no_waiting: list[float]
) -> None:
    meta.faults["publish"] = [Fault(True)]
    operator = make(landed, deferrable=False)
    found = operator.execute(tries.next(operator))
    (container,) = meta.containers
    assert found["post_id"] == f"container:{container}" and found["url"] is None and len(meta.posts) == 1
    assert "does not tell which post" in found["warnings"][0]


def test_the_wait_is_in_the_triggerer(
    meta: Meta, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta.polls = 2
    operator = make(landed)
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    stored = json.dumps([waited.trigger.serialize(), waited.kwargs])
    assert FB_TOKEN not in stored and "Signature" not in stored
    waited.trigger.poll_interval = 0.01
    assert run_trigger(waited.trigger, monkeypatch)["state"] == "ready"
    tries.number -= 1
    found = operator.execute_complete(tries.next(operator), {}, **json.loads(json.dumps(waited.kwargs)))
    assert found["post_id"] in meta.posts and meta.count("create") == 1


@pytest.fixture
def bucket(store: Store, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> str:
    extra = {"endpoint_url": store.endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    # Airflow keeps a connection's file system for as long as the process lives: each server has a name of its own.
    name = f"aws_{store.endpoint.rpartition(':')[2]}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    return f"s3://{name}@{BUCKET}"


def test_a_signed_link_leads_to_the_video_and_is_kept_nowhere(
    meta: Meta,
    store: Store,
    bucket: str,
    tries: Tries,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    masked: list[str] = []
    monkeypatch.setattr("airflow_provider_apimart.hooks.storage.paths.mask", masked.append)
    store.client.put_object(Bucket=BUCKET, Key="own/clip.mp4", Body=CONTENT)
    meta.polls = 1
    operator = make(ObjectStoragePath(f"{bucket}/own/clip.mp4"), url_expires=7200)
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    (container,) = meta.containers.values()
    link = container.fields["video_url"]
    assert int(httpx.URL(link).params["Expires"]) - time.time() == pytest.approx(7200, abs=30)
    tries.number -= 1
    found = operator.execute_complete(tries.next(operator), {}, **json.loads(json.dumps(waited.kwargs)))
    assert found["post_id"] in meta.posts and meta.count("create") == 1
    assert link in masked
    # The storage's own server and client are in this process as well.
    ours = "\n".join(each.getMessage() for each in caplog.records if each.name.startswith(("airflow", "httpx")))
    assert "is public" in ours
    (post,) = posts_of(f"{bucket}/own/clip.mp4")
    kept = json.dumps([waited.trigger.serialize(), waited.kwargs, found, post, tries.store.values])
    for secret in (link, link.partition("?")[2], "Signature", FB_TOKEN):
        assert secret not in kept and secret not in ours
    assert httpx.get(link, trust_env=False).content == CONTENT


def test_a_storage_that_cannot_sign_is_refused_before_anything(
    meta: Meta, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AirflowFailException, match="S3, Google Cloud Storage and Azure"):
        make(landed, upload="url").execute(tries.next(make(landed)))
    with Served(meta) as served:
        monkeypatch.setenv("AIRFLOW_CONN_INSTAGRAM_DEFAULT", served.connection(password=IG_TOKEN))
        with pytest.raises(AirflowFailException, match="connect with Facebook Login"):
            make(landed).execute(tries.next(make(landed)))
    assert not meta.requests


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"caption": "x" * 2201}, "caption"),
        ({"is_ai_generated": "maybe"}, "is_ai_generated"),
        ({"thumb_offset_ms": "1.5"}, "thumb_offset_ms"),
        ({"thumb_offset_ms": 5, "cover_url": "https://cdn.example.com/c.jpg"}, "cannot be combined"),
        ({"cover_url": "https://cdn.example.com/c.jpg?sig=1"}, "cover_url"),
        ({"collaborators": "a b c d"}, "collaborators"),
        ({"upload": "ftp"}, "upload"),
        ({"url_expires": 60}, "url_expires"),
        ({"instagram_conn_id": ""}, "instagram_conn_id"),
    ],
)
def test_wrong_literals_are_refused_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        make("/data/clip.mp4", **arguments)


def test_templates_are_checked_when_they_are_rendered(meta: Meta, landed: dict[str, Any], tries: Tries) -> None:
    operator = make(landed, caption="{{ x }}" * 2000, thumb_offset_ms="{{ y }}", cover_url="{{ z }}")
    operator.caption, operator.thumb_offset_ms, operator.cover_url = "fine", "1500", ""
    operator.is_ai_generated, operator.collaborators = "False", "lake.house, cat"
    operator.execute(tries.next(operator))
    (container,) = meta.containers.values()
    assert container.fields["thumb_offset"] == 1500 and container.fields["is_ai_generated"] is False
    assert json.loads(container.fields["collaborators"]) == ["lake.house", "cat"]
    assert "cover_url" not in container.fields


def test_a_video_that_is_too_long_is_refused_before_anything(meta: Meta, landed: dict[str, Any], tries: Tries) -> None:
    landed["videos"][0]["duration_seconds"] = 901.0
    operator = make(landed)
    with pytest.raises(AirflowFailException, match="3 s to 15 min"):
        operator.execute(tries.next(operator))
    assert not meta.requests


def test_a_void_token_fails_for_good_and_goes_on_after_a_clear(
    meta: Meta, landed: dict[str, Any], tries: Tries
) -> None:
    meta.faults["publish"] = [Fault(False, (400, 190, 463))]
    operator = make(landed)
    with pytest.raises(AirflowFailException, match="expired") as caught:
        operator.execute(tries.next(operator))
    assert "Nothing is public" in str(caught.value) and FB_TOKEN not in str(caught.value)
    tries.clear()
    operator.execute(tries.next(operator))
    assert len(meta.posts) == 1 and meta.count("create") == 1


def test_a_try_without_any_record_stops_where_an_earlier_one_may_have_published(
    meta: Meta, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    monkeypatch.setattr(base, "post_store", lambda context, video, identity, record: NoPostStore(record))
    operator = make(landed, deferrable=False)

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(operator, "_finish", die)
        with pytest.raises(Killed):
            operator.execute(tries.next(operator, store=False))
    assert len(meta.posts) == 1
    with pytest.raises(AirflowFailException, match="Nothing was posted: an earlier try may have published"):
        operator.execute(tries.next(operator, store=False))
    assert len(meta.posts) == 1
    tries.clear()
    operator.on_clear = "repost"
    operator.execute(tries.next(operator, store=False))
    assert len(meta.posts) == 2


def test_a_record_that_is_lost_during_a_deferral_is_a_stop(meta: Meta, landed: dict[str, Any], tries: Tries) -> None:
    meta.polls = 1
    operator = make(landed)
    waited = deferred(lambda: operator.execute(tries.next(operator)))
    lose_records(tries, landed)
    tries.number -= 1
    with pytest.raises(AirflowFailException, match="lost"):
        operator.execute_complete(tries.next(operator), {}, **json.loads(json.dumps(waited.kwargs)))
    assert not meta.posts
