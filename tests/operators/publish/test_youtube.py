"""The YouTube operator: arguments, the wait in the triggerer, the XCom. What it does on the wire is tested below it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow.sdk import DAG

from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.sidecar import MadeOf, Output, beside, keep_outputs
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.publish import YouTubePublishOperator
from airflow_provider_apimart.publishing.errors import PostParkedError
from airflow_provider_apimart.publishing.targets.youtube import oauth
from tests.operators.conftest import Tries
from tests.operators.publish.conftest import decide, land
from tests.operators.publish.test_webhook import run_trigger
from tests.publishing.targets.youtube.fake import FakeYouTube, refuse

SECRETS = ("client-secret", "refresh-secret", "access-", "session-")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeYouTube]:
    """A YouTube behind ``youtube_default``."""
    oauth._tokens.clear()
    with FakeYouTube() as fake:
        extra = {"refresh_token": "refresh-secret", "api_base_url": fake.url, "token_url": f"{fake.url}/token"}
        connection = {"conn_type": "youtube", "login": "id1", "password": "client-secret", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_YOUTUBE_DEFAULT", json.dumps(connection))
        yield fake


def make(video: Any = "/videos/clip.mp4", **arguments: Any) -> YouTubePublishOperator:
    given = {"task_id": "post", "title": "Ein Tag am See", "privacy_status": "public", "video": video, **arguments}
    return YouTubePublishOperator(**given)


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"title": "I <3 lakes"}, "title='I <3 lakes': allowed: text without < and >"),
        ({"title": None}, "title=None: required"),
        ({"privacy_status": None}, "privacy_status=None: required, there is no default"),
        ({"tags": "{{ not json"}, None),
        ({"tags": "see"}, "tags='see': allowed: a list of texts"),
        ({"publish_at": "2027-01-01T00:00"}, "with an offset"),
        ({"publish_at": "2027-01-01T00:00Z", "privacy_status": "unlisted"}, "only with privacy_status='public'"),
        ({"publish_at": "2027-01-01T00:00Z", "privacy_status": "{{ params.p }}"}, None),
        ({"made_for_kids": "maybe"}, "made_for_kids='maybe': allowed: True or False"),
        ({"made_for_kids": "{{ params.kids }}"}, None),
        ({"category_id": 22}, None),
        ({"category_id": "22.5"}, "category_id='22.5'"),
        ({"thumbnail": "thumb.png"}, "thumbnail='thumb.png': allowed: the absolute path"),
        ({"youtube_conn_id": ""}, "youtube_conn_id=''"),
        # A DAG is parsed for ever after its date has passed.
        ({"publish_at": "2020-01-01T00:00Z"}, None),
        ({"publish_at": datetime(2020, 1, 1, tzinfo=UTC)}, None),
    ],
)
def test_literals_are_checked_while_the_dag_is_parsed(arguments: dict[str, Any], text: str | None) -> None:
    if text is None:
        make(**arguments)
    else:
        with pytest.raises(InvalidVeoArgument, match=re.escape(text)):
            make(**arguments)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidVeoArgument) as caught:
        make(title="<", privacy_status="open", publish_at="soon", on_clear="again")
    for name in ("title=", "privacy_status=", "publish_at=", "on_clear="):
        assert name in str(caught.value)


def test_privacy_has_no_default() -> None:
    # Airflow itself refuses an operator without a required argument.
    with pytest.raises(Exception, match="privacy_status"):
        YouTubePublishOperator(task_id="post", video="/clip.mp4", title="x")  # type: ignore[call-arg]


def test_a_date_that_has_passed_is_refused_before_anything_is_sent(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries
) -> None:
    operator = make(landed, publish_at="2020-01-01T00:00Z")
    with pytest.raises(AirflowFailException, match="is in the past"):
        operator.execute(tries.next(operator))
    assert fake.calls == []


def test_templates_render_to_what_the_target_takes(tmp_path: Path) -> None:
    with DAG("a_dag", schedule=None, params={"see": True}):
        operator = make(
            "/videos/clip.mp4",
            tags="{{ ['see', 'a \"b\"'] | tojson }}",
            made_for_kids="{{ params.see }}",
            publish_at="{{ '2030-03-31T02:30:00+01:00' }}",
            description="{{ '' }}",
            category_id="{{ 10 }}",
        )
    operator.render_template_fields({"params": {"see": True}, "ti": None})  # type: ignore[arg-type]
    found = operator._content(None)  # type: ignore[arg-type]
    assert found["tags"] == ["see", 'a "b"']
    assert found["made_for_kids"] is True
    assert found["publish_at"] == "2030-03-31T01:30:00Z"
    assert found["description"] is None
    assert found["category_id"] == "10"
    assert found["contains_synthetic_media"] is True


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_video_is_published_over_a_deferral(
    fake: FakeYouTube,
    landed: dict[str, Any],
    tries: Tries,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    # httpx logs each URL at INFO, and Airflow silences that.
    caplog.set_level(logging.WARNING, "httpx")
    fake.processed = False
    operator = make(landed)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(tries.next(operator))
    waited = deferral.value
    assert fake.published == []
    fake.processed = True
    waited.trigger.poll_interval = 0.05
    event = run_trigger(waited.trigger, monkeypatch)
    assert (event["reason"], event["state"]) == ("changed", "ready")
    assert fake.published == []
    again = make(landed)
    tries.number -= 1
    found = again.execute_complete(tries.next(again), event, **json.loads(json.dumps(waited.kwargs)))
    assert fake.published == ["vid1"]
    assert set(found) == {
        *("target", "account", "post_id", "url", "studio_url", "state", "publish_at", "privacy_status"),
        *("contains_synthetic_media", "uploaded_at", "public_since", "video", "warnings"),
    }
    assert found["target"] == "youtube" and found["account"] == "UC1" and found["post_id"] == "vid1"
    assert found["url"] == "https://www.youtube.com/watch?v=vid1"
    assert found["studio_url"] == "https://studio.youtube.com/video/vid1/edit"
    assert (found["state"], found["privacy_status"], found["publish_at"]) == ("public", "public", None)
    assert found["contains_synthetic_media"] is True
    assert found["public_since"] and found["uploaded_at"]
    kept = json.dumps([found, waited.kwargs, waited.trigger.serialize(), tries.store.values], default=str)
    assert not any(secret in kept + caplog.text for secret in SECRETS)


def test_without_a_triggerer_the_worker_waits(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.processed = False
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        fake.processed = len(waits) >= 2

    monkeypatch.setattr("airflow_provider_apimart.operators.publish.base.time.sleep", sleep)
    operator = make(landed, deferrable=False, privacy_status="unlisted")
    found = operator.execute(tries.next(operator))
    assert len(waits) == 2
    assert found["state"] == "unlisted"
    assert fake.published == ["vid1"]


def test_private_is_no_public_since(fake: FakeYouTube, landed: dict[str, Any], tries: Tries) -> None:
    operator = make(landed, privacy_status="private", deferrable=False)
    found = operator.execute(tries.next(operator))
    assert (found["state"], found["public_since"]) == ("private", None)


def test_a_date_is_kept_by_youtube(fake: FakeYouTube, landed: dict[str, Any], tries: Tries) -> None:
    when = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    operator = make(landed, publish_at=when, deferrable=False)
    found = operator.execute(tries.next(operator))
    stamp = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (found["state"], found["privacy_status"]) == ("scheduled", "private")
    assert (found["publish_at"], found["public_since"]) == (stamp, None)
    assert fake.videos["vid1"]["status"]["publishAt"] == stamp
    assert found["warnings"] == []


def test_a_date_that_passes_meanwhile_is_a_warning(fake: FakeYouTube, landed: dict[str, Any], tries: Tries) -> None:
    # The date is cut to the second when it is kept.
    when = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    operator = make(landed, publish_at=when, deferrable=False)

    def slow(call: Any, answer: Any) -> Any:
        while datetime.now(UTC) <= when:
            time.sleep(0.05)
        return None

    fake.before["start"] = [slow]
    found = operator.execute(tries.next(operator))
    assert found["state"] == "public"
    (warning,) = found["warnings"]
    assert "had passed when the video was ready" in warning


def test_a_refused_thumbnail_is_a_warning(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n....")
    fake.before["thumbnail"] = [refuse(403, "forbidden")]
    operator = make(landed, thumbnail=str(picture), playlist_id="PL1", deferrable=False)
    found = operator.execute(tries.next(operator))
    assert [warning.partition(":")[0] for warning in found["warnings"]] == ["thumbnail"]
    assert fake.playlist == ["vid1"]


@pytest.mark.parametrize("verdict", ["rejected", "approved"])
def test_a_picture_of_a_rejected_video_is_no_thumbnail(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries, tmp_path: Path, verdict: str
) -> None:
    other = land(tmp_path, "other.mp4", b"another content")
    source = other["videos"][0]
    content = b"\x89PNG\r\n\x1a\n...."
    picture = tmp_path / "other.poster-0123456789.png"
    picture.write_bytes(content)
    output = Output(
        kind="poster",
        path=str(picture),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        fingerprint="0123456789",
        made_of=(MadeOf(path=source["path"], sha256=source["sha256"]),),
        made_at="2026-11-26T12:00:00Z",
    )
    keep_outputs(beside(file_of(source["path"], "video")), source["sha256"], [output])
    decide(other, verdict)
    operator = make(landed, thumbnail=str(picture), deferrable=False)
    if verdict == "approved":
        operator.execute(tries.next(operator))
        assert fake.published == ["vid1"]
        return
    with pytest.raises(AirflowFailException, match=r"other\.mp4 is not approved: rejected by Ada"):
        operator.execute(tries.next(operator))
    assert fake.published == []


def test_a_missing_thumbnail_is_refused_before_the_upload(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries
) -> None:
    operator = make(landed, thumbnail="/does/not/exist.png")
    with pytest.raises(AirflowFailException, match="does not exist"):
        operator.execute(tries.next(operator))
    assert fake.calls == []


def test_a_quota_that_resets_too_late_parks(fake: FakeYouTube, landed: dict[str, Any], tries: Tries) -> None:
    fake.before["start"] = [refuse(400, "uploadLimitExceeded")]
    operator = make(landed)
    with pytest.raises(PostParkedError, match="uploadLimitExceeded"):
        operator.execute(tries.next(operator))
    found = operator.execute(tries.next(operator))
    assert found["state"] == "public"
    assert fake.published == ["vid1"]


def test_a_quota_that_resets_in_time_is_waited_for_in_the_triggerer(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries
) -> None:
    fake.before["start"] = [refuse(400, "uploadLimitExceeded")]
    operator = make(landed, timeout=timedelta(days=2))
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(tries.next(operator))
    day = deferral.value.trigger.ask_at - datetime.now(UTC).timestamp()
    assert day == pytest.approx(86400, abs=60)


def test_a_dead_grant_fails_for_good_and_says_why(fake: FakeYouTube, landed: dict[str, Any], tries: Tries) -> None:
    fake.grant_error = "invalid_grant"
    operator = make(landed)
    with pytest.raises(AirflowFailException, match="7 days") as caught:
        operator.execute(tries.next(operator))
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_cleared_task_is_no_second_video(fake: FakeYouTube, landed: dict[str, Any], tries: Tries) -> None:
    operator = make(landed, deferrable=False)
    first = operator.execute(tries.next(operator))
    tries.clear()
    assert operator.execute(tries.next(operator))["post_id"] == first["post_id"]
    assert fake.published == ["vid1"]
    tries.clear()
    repost = make(landed, deferrable=False, on_clear="repost")
    assert repost.execute(tries.next(repost))["post_id"] == "vid2"
    assert fake.published == ["vid1", "vid2"]


def published(fake: FakeYouTube, landed: dict[str, Any], tries: Tries) -> None:
    operator = make(landed, deferrable=False)
    operator.execute(tries.next(operator))
    assert fake.published == ["vid1"]


@pytest.mark.parametrize("fault", [(503, "backendError"), (403, "quotaExceeded")], ids=["busy", "quota"])
def test_a_repost_is_not_taken_for_done_because_youtube_does_not_answer(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries, fault: tuple[int, str]
) -> None:
    published(fake, landed, tries)
    tries.clear()
    fake.before["channel"] = [refuse(*fault)]
    again = make(landed, on_clear="repost", deferrable=False)
    try:
        again.execute(tries.next(again))
    except PostParkedError:
        again.execute(tries.next(again))
    assert fake.published == ["vid1", "vid2"]


def test_another_video_is_not_called_public_because_youtube_does_not_answer(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries
) -> None:
    published(fake, landed, tries)
    path = Path(landed["videos"][0]["path"]).with_name("other.mp4")
    path.write_bytes(b"another video")
    fake.before["channel"] = [refuse(503, "backendError")]
    other = make(str(path), deferrable=False)
    with pytest.raises(AirflowFailException, match="another video"):
        other.execute(tries.next(other))


@pytest.mark.parametrize("kind", ["channel", "videos"])
def test_a_used_up_quota_takes_nothing_from_what_is_public(
    fake: FakeYouTube, landed: dict[str, Any], tries: Tries, kind: str
) -> None:
    published(fake, landed, tries)
    fake.before[kind] = [refuse(403, "quotaExceeded")]
    operator = make(landed, deferrable=False)
    found = operator.execute(tries.next(operator))
    assert found["post_id"] == "vid1" and "quotaExceeded" in found["warnings"][0]
    assert fake.published == ["vid1"]
