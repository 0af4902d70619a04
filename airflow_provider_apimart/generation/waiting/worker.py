"""Waits for one generation in the worker, as the trigger does in the triggerer."""

from __future__ import annotations

import math
import time
from typing import Any

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.generation.waiting.polling import PollingWait, Step


def wait_here(client: ApimartClient, polling: PollingWait, log: Any) -> Generation | None:
    """Poll until the generation ends, and return how. Return ``None`` if the deadline has passed.

    :param log: the task's log.
    """
    # (A worker waits for one generation only, so the connection's limit matters only if it is very low.)
    least = 60 / (client.settings.requests_per_minute or math.inf)
    time.sleep(polling.first_wait(time.time()))
    step = _poll(client, polling, log)
    while step.wait_seconds is not None:
        time.sleep(max(step.wait_seconds, least))
        step = _poll(client, polling, log)
    return step.final


def _poll(client: ApimartClient, polling: PollingWait, log: Any) -> Step:
    try:
        view = client.send(protocol.generation(polling.generation_id), repeat=False)
    except ApimartError as error:
        step = polling.failed(error, time.time())
    else:
        step = polling.saw(view, time.time())
    if step.say:
        (log.warning if step.warn else log.info)("%s", step.say)
    return step
