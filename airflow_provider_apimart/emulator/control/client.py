"""Client of ``/_emulator/`` on a running emulator: scripts faults, ends generations, reads what happened."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

import httpx

from airflow_provider_apimart.emulator.state.settings import DEFAULT_KEY


@cache
def _tls() -> ssl.SSLContext:
    # One context is shared: by default httpx loads the system's certificates for every client, which takes longer than
    # a call to loopback.
    return ssl.create_default_context()


class EmulatorControl:
    """Remote control of an emulator, no matter how it was started.

    :param base_url: where it listens.
    :param api_key: a key that the emulator accepts, for callers that need one.
    """

    def __init__(self, base_url: str, api_key: str = DEFAULT_KEY) -> None:
        self.base_url = base_url
        self.api_key = api_key

    def _call(self, method: str, path: str, payload: Any = None) -> Any:
        # The environment's proxies must not be used for loopback.
        with httpx.Client(base_url=self.base_url, trust_env=False, timeout=30, verify=_tls()) as client:
            response = client.request(method, f"/_emulator/{path}", json=payload if payload is not None else {})
        if response.is_error:
            raise ValueError(response.json()["error"]["message"])
        return response.json()

    def state(self) -> dict[str, Any]:
        """Return everything that happened: generations, bill, requests (without keys), faults, CMS documents."""
        told: dict[str, Any] = self._call("GET", "state")
        return told

    def fault(self, route: str, kind: str, **options: Any) -> int:
        """Script one fault and return its id; :class:`~.faults.Fault` lists the options.

        :raises ValueError: for a route, kind or option that does not exist.
        """
        return int(self.faults({"route": route, "kind": kind, **options})[0])

    def faults(self, *script: dict[str, Any]) -> list[int]:
        """Script several faults at once, in order."""
        ids: list[int] = self._call("POST", "faults", list(script))["ids"]
        return ids

    def clear_faults(self) -> None:
        """Remove every scripted fault."""
        self._call("DELETE", "faults")

    def retire(self, model: str, how: str = "refused", *, after: int = 0) -> int:
        """Retire a model from now on, and return the fault's id.

        :param how: ``refused``: submissions get a 404, and the model is not listed any more. ``fails``: they are
            accepted, and the generations fail with ``fail_to_fetch_task``. ``no_channel``: they get a 503.
        :param after: how many submissions of the model to let pass first.
        """
        kinds = {"refused": "model_retired", "fails": "fail_to_fetch_task", "no_channel": "no_channel"}
        if how not in kinds:
            raise ValueError(f"unknown how {how!r}, allowed: {', '.join(kinds)}")
        return self.fault("submit", kinds[how], model=model, times=-1, after=after)

    def expire(self, generation_id: str = "all") -> list[str]:
        """Let the URLs of one generation, or of all, expire now."""
        expired: list[str] = self._call("POST", "expire", {"generation_id": generation_id})["expired"]
        return expired

    def finish(self, generation_id: str = "all", outcome: str | None = None) -> list[str]:
        """End one unfinished generation, or all of them, now. Return the ids of those that ended.

        :param outcome: ``completed``, ``failed``, ``rejected``, ``empty`` or ``cancelled``; ``None``: as planned.
        """
        done: list[str] = self._call("POST", "finish", {"generation_id": generation_id, "outcome": outcome})["finished"]
        return done

    def top_up(self, usd: float) -> float:
        """Put money into the account (and into the quotas of its keys), and return what it holds."""
        return float(self._call("POST", "top_up", {"usd": usd})["balance_usd"])

    def reset(self) -> None:
        """Forget all generations, keys, faults, requests and documents, and all that was published."""
        self._call("POST", "reset")
        self._call("POST", "publishing/reset")

    def page(self, path: str = "") -> str:
        """Return a page for people: ``channel`` shows what was published."""
        with httpx.Client(base_url=self.base_url, trust_env=False, timeout=30, verify=_tls()) as client:
            return client.get(f"/{path}").raise_for_status().text

    def publishing(self) -> dict[str, Any]:
        """Return all that the publishing services hold: videos, containers, messages, ``posts``, faults."""
        told: dict[str, Any] = self._call("GET", "publishing")
        return told

    def posts(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return what others have seen: one entry each time that something became visible, oldest first."""
        return [post for post in self.publishing()["posts"] if service in (None, post["service"])]

    def publish_fault(self, service: str, kind: str, step: str = "", **options: Any) -> None:
        """Script a fault of a publishing service; :mod:`~.publishing.faults` lists steps, kinds and conditions.

        :raises ValueError: for a service, step, kind or option that does not exist.
        """
        self._call("POST", "publishing/faults", {"service": service, "kind": kind, "step": step, **options})

    def clear_publish_faults(self) -> None:
        """Remove every fault of the publishing services."""
        self._call("DELETE", "publishing/faults")

    def advance_publishing(self, seconds: float) -> float:
        """Let time pass at YouTube and Instagram, and return the time there, in unix seconds.

        Videos are processed, dates come, access tokens, containers and daily quotas run out. Webhook receivers and
        generations keep the real time.
        """
        return float(self._call("POST", "publishing/advance", {"seconds": seconds})["now"])

    def expire_uploads(self) -> None:
        """Let every upload session of YouTube expire now."""
        self._call("POST", "publishing/expire_uploads")

    def expire_youtube_tokens(self) -> None:
        """Let every access token of YouTube expire now."""
        self._call("POST", "publishing/expire_tokens")

    def requests(self, route: str | None = None) -> list[dict[str, Any]]:
        """Return the log of requests, of one route or of all, oldest first."""
        return [one for one in self.state()["requests"] if route in (None, one["route"])]
