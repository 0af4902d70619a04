"""The values of a webhook's connection."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_apimart.publishing.targets.webhook.settings import WebhookSettings


@pytest.mark.parametrize(
    "url", ["https://h.example/hooks/{a-long-secret-path}", "https://h.example/?token=ü-secret-secret"]
)
def test_the_url_is_hidden_as_httpx_logs_it_too(url: str) -> None:
    settings = WebhookSettings(url, ("whsec_" + "A" * 32,))
    logged = str(httpx.URL(url))
    assert logged != url
    assert {url, logged, httpx.URL(url).raw_path.decode()} <= set(settings.hidden)
