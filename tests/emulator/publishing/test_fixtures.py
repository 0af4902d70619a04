"""The published fixture for the connections of the publish operators."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.fixtures import (  # noqa: F401 - fixtures are found by their names
    apimart_emulator,
    apimart_emulator_options,
    apimart_emulator_publishing,
    apimart_emulator_server,
)
from airflow_provider_apimart.hooks.instagram import InstagramHook
from airflow_provider_apimart.hooks.webhook import SignedWebhookHook
from airflow_provider_apimart.hooks.youtube import YouTubeHook


@pytest.mark.parametrize("hook", [YouTubeHook, InstagramHook, SignedWebhookHook])
def test_its_connections_work(apimart_emulator_publishing: Emulator, hook: type) -> None:  # noqa: F811
    works, message = hook().test_connection()
    assert works, message
    assert apimart_emulator_publishing.posts("youtube") == apimart_emulator_publishing.posts("instagram") == []
