"""The thread pool for a batch's blocking work: the journal, the plan and the landing of videos.

The event loop may be the triggerer's, which all other triggers share, so no blocking work runs on it. The caller opens
storage beforehand, because only the caller knows how connections may be looked up where it runs.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.model_rules import ModelRules
from airflow_provider_apimart.client.models import Video
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow
from airflow_provider_apimart.generation.landing.delivery import deliver, provenance_of
from airflow_provider_apimart.generation.purchase.images import MAX_UPLOAD_BYTES, LocalImage, check_image
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record
from airflow_provider_apimart.storage.files import Target, check_same_machine, storage_errors

LANDERS = 8


class WorkerThreads:
    """The threads of one batch.

    :param output: the folder that videos land in.
    :param open_target: opens another place of a storage (for frames).
    """

    def __init__(self, plan: Plan, output: Target, open_target: Callable[[str], Awaitable[Target]]) -> None:
        self._plan = plan
        self._output = output
        self._open_target = open_target
        self._clerk = ThreadPoolExecutor(2, thread_name_prefix="apimart-batch")
        self._landers = ThreadPoolExecutor(LANDERS, thread_name_prefix="apimart-landing")
        self._clients: dict[tuple[str, str], ApimartClient] = {}

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run something short in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._clerk, functools.partial(function, *args))

    async def land(
        self, settings: Settings, record: Record, row: PlannedRow, videos: tuple[Video, ...]
    ) -> tuple[LandedVideo, ...]:
        """Land the videos of a finished generation.

        :raises LandingError: and its subclasses.
        """
        work = functools.partial(
            deliver,
            client=self._client(settings),
            record=record,
            videos=videos,
            output=self._output,
            provenance=provenance_of(record, row.request, self._place(row), row.labels),
            request=row.request,
            level=logging.DEBUG,
        )
        return await asyncio.get_running_loop().run_in_executor(self._landers, work)

    async def image(self, name: str, path: str, rules: ModelRules | None) -> LocalImage:
        """Read a frame.

        :raises InvalidParameterError: if the file is not, or is no longer, the expected image.
        :raises LandingError: when the storage does not answer.
        """
        target = await self._open_target(path)
        content = await self.offload(_read_frame, target)
        return check_image(name, path, content, rules)

    def _place(self, row: PlannedRow) -> Mapping[str, Any]:
        return self._plan.identity_of(row).place

    def _client(self, settings: Settings) -> ApimartClient:
        key = (settings.base_url, settings.api_key)
        if key not in self._clients:
            self._clients[key] = ApimartClient(settings)
        return self._clients[key]

    async def aclose(self) -> None:
        """Wait for the threads' current work, and end them."""
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def close(self) -> None:
        """End the threads where no event loop runs."""
        for pool in (self._landers, self._clerk):
            pool.shutdown(wait=True, cancel_futures=True)
        while self._clients:
            self._clients.popitem()[1].close()


def _read_frame(target: Target) -> bytes:
    check_same_machine(target, "the frame")
    with storage_errors(target, "read"), target.fs.open(target.path, "rb") as file:
        # One byte over the limit is enough to tell that the file is too large.
        content: bytes = file.read(MAX_UPLOAD_BYTES + 1)
        return content
