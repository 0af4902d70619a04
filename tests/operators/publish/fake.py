"""A target without a network: what it holds is in memory, and the test decides what it tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.hooks.publishers import Publisher, PublisherHook
from airflow_provider_apimart.operators.publish.base import PublishOperator
from airflow_provider_apimart.publishing.exchange import Exchange, NoCredentials, VideoBytes
from airflow_provider_apimart.publishing.post import Post, VideoFile
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.target import (
    Draft,
    Drafted,
    DraftState,
    NotFound,
    Published,
    SessionGone,
    Traits,
)


@dataclass
class Network:
    """What the target holds, and what it answers.

    :param states: what it says about a draft, question by question; the last one stays.
    :param failures: raised by the next calls, by the call's name.
    """

    states: list[DraftState] = field(default_factory=lambda: [DraftState.READY])
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=lambda: ["account-1"])
    drafts: dict[str, str] = field(default_factory=dict)
    public: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    published: Mapping[str, Any] = field(default_factory=dict)

    def call(self, name: str) -> None:
        self.calls.append(name)
        if waiting := self.failures.get(name):
            raise waiting.pop(0)


class FakeTarget:
    """See :class:`Network`."""

    name = "fake"
    traits = Traits(can_look_up=True)

    def __init__(self, network: Network) -> None:
        self.network = network

    def problems(self, post: Post) -> list[FieldProblem]:
        text = post.content["text"]
        return [FieldProblem("text", text, "allowed: no '<'")] if "<" in text else []

    def account(self) -> Exchange[str]:
        yield from ()
        self.network.call("account")
        return self.network.accounts[0]

    def start(self, post: Post, marker: str) -> Exchange[Drafted]:
        yield from ()
        self.network.call("start")
        draft_id = f"draft-{len(self.network.drafts) + 1}"
        self.network.drafts[draft_id] = marker
        return Drafted(draft_id)

    def ask_session(self, url: str, size: int) -> Exchange[SessionGone]:
        yield from ()
        return SessionGone()

    def upload(self, url: str, body: VideoBytes, size: int) -> Exchange[SessionGone]:
        yield from ()
        return SessionGone()

    def look_up(self, marker: str) -> Exchange[Drafted | NotFound]:
        yield from ()
        self.network.call("look_up")
        found = [draft for draft, mark in self.network.drafts.items() if mark == marker]
        return Drafted(found[0]) if found else NotFound()

    def ask(self, draft_id: str, post_id: str | None, post: Post | None) -> Exchange[Draft]:
        yield from ()
        self.network.call("ask")
        if draft_id in self.network.public:
            return Draft(DraftState.PUBLIC, post_id=f"post-{draft_id}", url=f"https://fake.example/{draft_id}")
        states = self.network.states
        return Draft(states.pop(0) if len(states) > 1 else states[0], reason="of the network")

    def commit(self, record: PostRecord, post: Post, message: str | None) -> Exchange[Published]:
        yield from ()
        self.network.call("commit")
        draft_id = record.draft_id or ""
        self.network.public.append(draft_id)
        return Published(f"post-{draft_id}", f"https://fake.example/{draft_id}", **self.network.published)

    def extras(self, post: Post) -> Mapping[str, Any]:
        return {"thumbnail": self._thumbnail}

    def _thumbnail(self, post_id: str) -> Exchange[None]:
        yield from ()
        self.network.call("thumbnail")


class FakeHook(PublisherHook):
    """A hook without a connection."""

    conn_name_attr = "fake_conn_id"
    default_conn_name = "fake_default"
    conn_type = "fake"
    network: ClassVar[Network]

    def __init__(self, fake_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.fake_conn_id = fake_conn_id

    def publisher(self, **options: Any) -> Publisher:
        return self._read(None)

    async def apublisher(self, **options: Any) -> Publisher:
        return self._read(None)

    def _read(self, connection: Any, **options: Any) -> Publisher:
        return Publisher(FakeTarget(self.network), NoCredentials(), Seal("secret"))

    def _secrets(self, connection: Any) -> Iterable[str]:
        return ()


class FakePublishOperator(PublishOperator):
    """Posts on the fake target."""

    target = "fake"
    conn_argument = "fake_conn_id"
    template_fields = (*PublishOperator.template_fields, "text", "fake_conn_id")

    def __init__(self, *, video: Any, text: str = "a text", fake_conn_id: str = "fake_default", **kwargs: Any) -> None:
        super().__init__(video=video, **kwargs)
        self.text = text
        self.fake_conn_id = fake_conn_id
        self._refuse_literals()

    def _content(self, video: VideoFile) -> dict[str, Any]:
        return {"text": self.text}

    def _told(self, record: PostRecord, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"studio_url": f"https://studio.fake.example/{record.post_id}", "privacy_status": "public"}


def network() -> Iterator[Network]:
    """Yield a new network that the hook finds."""
    FakeHook.network = Network()
    yield FakeHook.network
