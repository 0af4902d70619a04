"""One purchase against an emulator or a scripted transport, with a store that can fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.fallback import with_model
from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.retry import RetryPolicy
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.generation.purchase.decide import Action, Policy
from airflow_provider_apimart.generation.purchase.fallback import Fallback, Wanted
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.purchase.kept import settle
from airflow_provider_apimart.generation.purchase.purchase import Obtained, Purchase
from airflow_provider_apimart.generation.purchase.record import Record, RecordState, RecordStore, read_record

HOME = Identity("marketing", "manual__1", "video")
QUICK = RetryPolicy(attempts=2, budget_seconds=5, base_seconds=0.001, cap_seconds=0.001)
ONCE = RetryPolicy(attempts=1)
PRICE = 0.256
FRAME = LocalImage("first_frame_image", "frame.png", b"\x89PNG\r\n\x1a\n" + b"x" * 60, "image/png")


class Store:
    """A record store that outlives tries, as JSON, and fails when it is told to.

    :param on_save: called with each record before it is kept; may raise.
    """

    durable = True
    description = "the test's store"

    def __init__(self, on_save: Callable[[Record], None] = lambda record: None) -> None:
        self.text: str | None = None
        self.on_save = on_save
        self.on_load: Callable[[], None] = lambda: None
        self.saved: list[RecordState] = []

    def load(self) -> Record | None:
        self.on_load()
        return None if self.text is None else read_record(self.text, self.description)

    def save(self, record: Record) -> None:
        self.on_save(record)
        self.saved.append(record.state)
        self.text = json.dumps(record.model_dump(mode="json"))

    @property
    def record(self) -> Record:
        found = self.load()
        assert found is not None
        return found

    def change(self, **values: Any) -> None:
        """Rewrite the record, as time or another hand would."""
        self.text = json.dumps(self.record.but(**values).model_dump(mode="json"))


@contextmanager
def purchase(
    emulator: Emulator | None,
    store: RecordStore,
    *,
    identity: Identity = HOME,
    policy: Policy | None = None,
    prompt: str = "a dog",
    frame: LocalImage | None = None,
    key: str | None = None,
    retry: RetryPolicy = QUICK,
    transport: httpx.BaseTransport | None = None,
    model: str = DEFAULT_MODEL,
    fallback: str | None = None,
    at_last: bool = False,
    approve: Callable[[VeoRequest], None] | None = None,
) -> Iterator[Purchase]:
    """One try: a client and a purchase of its own. Without an emulator, ``transport`` answers."""
    base_url = emulator.base_url if emulator else "http://127.0.0.1:9"
    settings = Settings(key or (emulator.api_key if emulator else "sk-test"), base_url)
    images = {"first_frame_image": frame} if frame else {}
    frames: Any = {name: image.path for name, image in images.items()}
    request = VeoRequest(prompt=prompt, model=model, duration=4, **frames)
    other = Fallback(Wanted(with_model(request, fallback), images), at_last) if fallback else None
    with ApimartClient(settings, retry, transport) as client:
        yield Purchase(
            client=client,
            store=store,
            identity=identity,
            request=request,
            images=images,
            policy=policy or Policy(),
            approve=approve,
            fallback=other,
        )


class Script(httpx.BaseTransport):
    """Answers with what a function says, and keeps what was asked."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        return self.answer(request)

    def posts(self) -> list[tuple[str, bytes]]:
        """Return (key, body) of every paid call."""
        paid = [one for one in self.requests if one.url.path == "/v1/videos/generations"]
        return [(one.headers["idempotency-key"], one.content) for one in paid]


REGENERATE = Policy(on_clear="regenerate")
FAIL = Policy(on_unknown_submit="fail")


def obtain(emulator: Emulator | None, store: Any, **options: Any) -> Obtained:
    with purchase(emulator, store, **options) as one:
        return one.obtain()


def wait(emulator: Emulator, store: Store, **options: Any) -> tuple[Action, Record]:
    """One whole try: obtain, ask for the final word (jobs take no time here), settle."""
    with purchase(emulator, store, **options) as one:
        obtained = one.obtain()
        final = one.client.generation(obtained.record.generation_id or "")
        decision, record = settle(store, obtained.record, final)
        return decision.action, record


def bill(emulator: Emulator) -> tuple[int, float]:
    """Return how many generations there are, and what they cost."""
    state = emulator.state()
    return len(state["generations"]), round(state["bill_usd"] + state["reserved_usd"], 6)
