"""The common arguments: refused where they are written, rendered as the author wrote them, data left alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.publish import WebhookPublishOperator
from tests.operators.publish.conftest import make

VIDEO = "/data/clip.mp4"


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidVeoArgument) as failure:
        make(
            "clip.mp4",
            sample=0,
            post_key="k" * 300,
            on_clear="again",
            timeout=0,
            poll_interval=-1,
            deferrable="yes",
            webhook_conn_id="",
            payload={"a": {"$video": "colour"}},
            include_url="maybe",
            url_expires=timedelta(days=8),
        )
    text = str(failure.value)
    for name in (
        "sample", "post_key", "on_clear", "timeout", "poll_interval", "deferrable", "webhook_conn_id",
        "payload['a']", "include_url", "url_expires",
    ):  # fmt: skip
        assert f"{name}=" in text


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ([1], "a dict with text keys"),
        ("[1]", "a dict with text keys"),
        ({"a": float("nan")}, "plain JSON"),
        ({"a": "\ud800"}, "plain JSON"),
        ({"a": object()}, "plain JSON"),
        ({"a": "x" * 20_000}, "fewer than 20,000"),
        ({"a": [{"$post": "url"}]}, r"payload\['a'\]\[0\].*id, created_at"),
    ],
)
def test_a_payload_that_cannot_be_sent_is_refused(payload: Any, said: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=said):
        make(VIDEO, payload=payload)


def render(operator: WebhookPublishOperator, **values: Any) -> WebhookPublishOperator:
    operator.render_template_fields({"params": values, "dag": operator.dag, "ti": None})  # type: ignore[arg-type]
    return operator


@pytest.mark.parametrize("native", [True, False])
def test_the_authors_texts_are_rendered_and_data_is_not(native: bool) -> None:
    with DAG("a_dag", schedule=None, render_template_as_native_obj=native):
        operator = make(
            "{{ params.path }}",
            payload={"text": "{{ params.caption }}", "media": {"$video": "sha256"}, "n": 7},
            post_key="{{ params.key }}",
            timeout="{{ params.timeout }}",
        )
    caption = "{{ conn.warehouse.password }} {$video}"
    render(operator, path=VIDEO, caption=caption, key="campaign 7", timeout=600)
    assert operator.video == VIDEO and operator.post_key == "campaign 7"
    assert operator.payload == {"text": caption, "media": {"$video": "sha256"}, "n": 7}


def test_blank_templates_mean_not_given() -> None:
    with DAG("a_dag", schedule=None):
        operator = make(VIDEO, post_key="{{ params.key }}", timeout="{{ params.key }}", sample="{{ params.key }}")
    render(operator, key="")
    assert operator.post_key is None and operator.sample is None
    assert operator.timeout == timedelta(hours=2)


def test_json_text_is_a_payload(tmp_path: Any) -> None:
    operator = make(VIDEO, payload='{"text": "hello"}')
    assert operator._content(None)["payload"] == {"text": "hello"}  # type: ignore[arg-type]


def test_the_public_name_is_loaded_on_demand() -> None:
    import airflow_provider_apimart.operators.publish as package

    assert "WebhookPublishOperator" in dir(package)
    with pytest.raises(AttributeError, match="TikTokPublishOperator"):
        package.TikTokPublishOperator  # noqa: B018
