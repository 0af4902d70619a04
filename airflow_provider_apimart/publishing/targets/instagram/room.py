"""How many posts an account may still publish by the API, and when it may publish the next one.

https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-user/content_publishing_limit
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from airflow_provider_apimart.publishing.errors import TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Exchange
from airflow_provider_apimart.publishing.targets.instagram.answers import daily_limit
from airflow_provider_apimart.publishing.targets.instagram.api import Graph

log = logging.getLogger(__name__)

WINDOW = timedelta(hours=24)
#: Questions that narrow down when the limit has room again: to three quarters of an hour.
QUESTIONS = 5


@dataclass(frozen=True)
class Room:
    """The posts that an account has published by the API in 24 hours, and how many it may."""

    used: int
    total: int

    @property
    def is_full(self) -> bool:
        """Whether it may publish no more for now."""
        return self.used >= self.total

    def __str__(self) -> str:
        return f"{self.used} of {self.total} posts of 24 hours are used"


def read_room(graph: Graph, user_id: str, since: float | None = None) -> Exchange[Room | None]:
    """Ask for the room of an account; ``None`` if Meta does not say.

    :param since: count from then on only (unix seconds); ``None`` for 24 hours.
    """
    more = {} if since is None else {"since": str(int(since))}
    edge = f"{user_id}/content_publishing_limit"
    body = yield from graph.get("publishing limit", edge, "quota_usage,config", **more)
    data = body.get("data")
    entry = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    config = entry.get("config")
    used, total = entry.get("quota_usage"), config.get("quota_total") if isinstance(config, dict) else None
    return Room(used, total) if isinstance(used, int) and isinstance(total, int) else None


def check_room(graph: Graph, user_id: str) -> Exchange[None]:
    """Check that the account may publish.

    :raises TargetLimitError: if not, with the time when it may, as far as that is known.
    """
    try:
        room = yield from read_room(graph, user_id)
    except TargetUnavailableError as error:
        # Meta checks it again when it publishes. So a limit that cannot be read keeps nothing from going on.
        log.warning("Instagram does not tell the account's publishing limit now (%s): going on.", error)
        return
    if room is None or not room.is_full:
        return
    free_in = yield from _free_in(graph, user_id, room.total)
    raise daily_limit(graph.now(), str(room), free_in)


def _free_in(graph: Graph, user_id: str, total: int) -> Exchange[timedelta | None]:
    """Find out when enough posts leave the 24 hours that are counted; ``None`` if Meta does not say.

    If fewer than ``total`` were published since a moment, there is room 24 hours after it.
    """
    now = graph.now().timestamp()
    full, free = now - WINDOW.total_seconds(), now
    since = now
    try:
        for _ in range(QUESTIONS + 1):
            room = yield from read_room(graph, user_id, since)
            if room is None or (since == now and room.used >= total):
                # It counts 24 hours whatever is asked.
                return None
            full, free = (since, free) if room.used >= total else (full, since)
            since = (full + free) / 2
    except TargetUnavailableError:
        return None
    return WINDOW - timedelta(seconds=now - free)
