"""A small network of three kinds with an oracle, and lives of a post on it that can stop or die at every line.

The kinds are the worst that the targets' traits allow. ``upload``: a resumable upload makes a private draft that is
listed late; publishing it is a PUT. ``container``: publishing the same container twice makes two posts, and a status
lags. ``message``: a receiver that knows a message by its id, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any, Literal

import fsspec

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.decide import Action
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRefusedError,
    PostRejectedError,
    PublishError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Exchange, NoCredentials, Reply, Request, Sender, VideoBytes
from airflow_provider_apimart.publishing.post import Post, PostIdentity, VideoFile
from airflow_provider_apimart.publishing.publish import Publication, Standing
from airflow_provider_apimart.publishing.record import PostRecord, read_post_record
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.target import (
    Draft,
    Drafted,
    DraftState,
    Extra,
    NotFound,
    Published,
    Session,
    SessionGone,
    Stored,
    Traits,
)
from airflow_provider_apimart.storage.files import Target

Kind = Literal["upload", "container", "message"]
KINDS: tuple[Kind, ...] = ("upload", "container", "message")
TRAITS = {
    "upload": Traits(tail_bytes=4, can_look_up=True, text_at_commit=True),
    "container": Traits(read_back=timedelta(seconds=60), commit_settle=timedelta(seconds=60)),
    "message": Traits(can_ask=False, settle=timedelta(0), read_back=timedelta(0)),
}
DATA = b"0123456789"
#: How long a lost call may be under way, and how long a container may then say "ready". Both are within commit_settle.
LAG = timedelta(seconds=25)
START = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


class Killed(BaseException):
    """The process dies here. Nothing catches it."""


@dataclass
class Video:
    """A draft or a post, as the network keeps it."""

    marker: str
    content: bytes
    born: datetime
    published: datetime | None = None


@dataclass
class World:
    """The network.

    :param posts: every publication that others have seen, in order: draft, marker, bytes.
    :param listed_after: how long a look-up misses a draft; ``None`` for ever.
    :param faults: for the request of that number, or every request of that name: what happens to it.
    """

    kind: Kind
    now: datetime = START
    account: str = "UC1"
    listed_after: timedelta | None = timedelta(0)
    faults: dict[int | str, str] = field(default_factory=dict)
    posts: list[tuple[str, str, bytes]] = field(default_factory=list)
    sessions: dict[str, tuple[str, int, bytearray, str]] = field(default_factory=dict)
    drafts: dict[str, Video] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    later: list[tuple[datetime, Mapping[str, Any], bytes]] = field(default_factory=list)

    def handle(self, op: str, what: Mapping[str, Any], body: bytes) -> Any:
        """Carry out a request; return the answer.

        :raises TargetUnavailableError: if the answer gets lost.
        """
        for due in [each for each in self.later if each[0] <= self.now]:
            self.later.remove(due)
            self._commit(due[1], due[2], due[0])
        fault = self.faults.pop(len(self.requests), None) or self.faults.get(op)
        self.requests.append(op)
        match fault:
            case "unavailable":
                raise TargetUnavailableError("503")
            case "refused connection":
                raise TargetUnavailableError("no connection", nothing_done=True)
            case "limit":
                raise TargetLimitError("the quota is used up", until=self.now + timedelta(hours=3))
            case "void token":
                raise CredentialsError("the token is void")
            case "rejected":
                raise PostRejectedError("not this one")
            case "late" if op == "commit":
                self.later.append((self.now + LAG, what, body))
                raise TargetUnavailableError("no answer")
        answer = self._do(op, what, body)
        if fault in ("lost", "late"):
            raise TargetUnavailableError("no answer")
        return answer

    def _do(self, op: str, what: Mapping[str, Any], body: bytes) -> Any:
        return getattr(self, f"_{op}")(what, body)

    def _account(self, what: Mapping[str, Any], body: bytes) -> Any:
        return {"id": self.account}

    def _start(self, what: Mapping[str, Any], body: bytes) -> Any:
        if self.kind == "upload":
            url = f"https://network.example/session/{len(self.sessions)}"
            self.sessions[url] = (what["marker"], what["size"], bytearray(), "")
            return {"session": url}
        return {"draft": self._draft(what["marker"], str(what["texts"]).encode())}

    def _draft(self, marker: str, content: bytes) -> str:
        draft = f"d{len(self.drafts)}"
        self.drafts[draft] = Video(marker, content, self.now)
        return draft

    def _ask_session(self, what: Mapping[str, Any], body: bytes) -> Any:
        if what["url"] not in self.sessions:
            return {}
        _, _, stored, draft = self.sessions[what["url"]]
        return {"draft": draft} if draft else {"stored": len(stored)}

    def _upload(self, what: Mapping[str, Any], body: bytes) -> Any:
        if what["url"] not in self.sessions:
            return {}
        marker, size, stored, draft = self.sessions[what["url"]]
        if draft:
            return {"draft": draft}
        if what["offset"] != len(stored):
            return {"stored": len(stored)}
        stored += body
        if len(stored) >= size:
            draft = self._draft(marker, bytes(stored))
        self.sessions[what["url"]] = (marker, size, stored, draft)
        return {"draft": draft} if draft else {"stored": len(stored)}

    def _look_up(self, what: Mapping[str, Any], body: bytes) -> Any:
        if self.listed_after is None:
            return {}
        for draft, video in reversed(self.drafts.items()):
            if video.marker == what["marker"] and self.now >= video.born + self.listed_after:
                return {"draft": draft}
        return {}

    def _ask(self, what: Mapping[str, Any], body: bytes) -> Any:
        video = self.drafts.get(what["draft"])
        if video is None:
            return {"state": "gone"}
        lag = LAG if self.kind == "container" else timedelta(0)
        shown = video.published is not None and self.now >= video.published + lag
        return {"state": "public" if shown else "ready"}

    def _commit(self, what: Mapping[str, Any], body: bytes, when: datetime | None = None) -> Any:
        if self.kind == "message":
            if not any(marker == what["marker"] for _, marker, _ in self.posts):
                self.posts.append((what["draft"], what["marker"], body))
            return {"post": what["marker"]}
        video = self.drafts[what["draft"]]
        if video.published is None or self.kind == "container":
            self.posts.append((what["draft"], video.marker, video.content))
        video.published = video.published or when or self.now
        return {"post": f"p-{what['draft']}"}

    def _thumbnail(self, what: Mapping[str, Any], body: bytes) -> Any:
        return {}


@dataclass
class FakeTarget:
    """The network's target. The requests carry their arguments in a header."""

    world: World
    extra: bool = True
    name: str = "upload"

    @property
    def traits(self) -> Traits:
        return TRAITS[self.world.kind]

    def _request(self, op: str, content: bytes | VideoBytes | None = None, **what: Any) -> Exchange[Any]:
        reply = yield Request(op, "POST", "https://network.example/", {"x": json.dumps(what)}, content=content)
        return reply.json()

    def problems(self, post: Post) -> list[FieldProblem]:
        if "<" not in post.content["title"]:
            return []
        return [FieldProblem("title", post.content["title"], "allowed: no <")]

    def account(self) -> Exchange[str]:
        told = yield from self._request("account")
        return str(told["id"])

    def start(self, post: Post, marker: str) -> Exchange[Session | Drafted]:
        if self.world.kind == "message":
            return Drafted(marker, message=json.dumps({"id": marker, "texts": post.content["title"]}))
        texts = [post.content["title"], post.video.sha256]
        told = yield from self._request("start", marker=marker, size=post.video.bytes, texts=texts)
        return Session(told["session"]) if "session" in told else Drafted(told["draft"])

    def ask_session(self, url: str, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        told = yield from self._request("ask_session", url=url)
        return _told(told)

    def upload(self, url: str, body: VideoBytes, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        told = yield from self._request("upload", body, url=url, offset=body.offset)
        return _told(told)

    def look_up(self, marker: str) -> Exchange[Drafted | NotFound]:
        told = yield from self._request("look_up", marker=marker)
        return Drafted(told["draft"]) if "draft" in told else NotFound()

    def ask(self, draft_id: str, post_id: str | None, post: Post | None) -> Exchange[Draft]:
        if self.world.kind == "message":
            return Draft(DraftState.PUBLIC if post_id else DraftState.READY, post_id=post_id)
        told = yield from self._request("ask", draft=draft_id)
        return Draft(DraftState(told["state"]), post_id=post_id or f"p-{draft_id}")

    def commit(self, record: PostRecord, post: Post, message: str | None) -> Exchange[Published]:
        if self.world.kind == "message" and message is None:
            raise PostRefusedError("Nothing was posted: the message cannot be read", post=record.marker)
        told = yield from self._request("commit", (message or "").encode(), draft=record.draft_id, marker=record.marker)
        return Published(told["post"], f"https://network.example/{told['post']}")

    def extras(self, post: Post) -> Mapping[str, Extra]:
        return {"thumbnail": self._thumbnail} if self.extra else {}

    def _thumbnail(self, post_id: str) -> Exchange[None]:
        yield from self._request("thumbnail")


def _told(told: Mapping[str, Any]) -> Stored | SessionGone | Drafted:
    if "draft" in told:
        return Drafted(told["draft"])
    return Stored(told["stored"]) if "stored" in told else SessionGone()


@dataclass
class Life:
    """One try: it loads the record, and ends, waits or dies.

    :param shelf: the record that the tries share, as text.
    :param kill_at: the number of the boundary at which it dies.
    :param at: called at each boundary with its name.
    """

    world: World
    path: Path
    shelf: list[str]
    kill_at: int | None = None
    at: Callable[[str], None] = lambda name: None
    title: str = "A dog"
    data: bytes = DATA
    run_id: str = "run"
    post_key: str = ""
    clear_epoch: int = 0
    on_clear: Any = "reuse"
    trusted: bool = True
    lost: bool = False
    secret: str = "the connection's secret"
    began: datetime | None = None
    passed: list[str] = field(default_factory=list)
    description: str = "the test"
    durable: bool = True

    def pass_by(self, name: str) -> None:
        self.passed.append(name)
        self.at(name)
        if len(self.passed) - 1 == self.kill_at:
            raise Killed

    def load(self) -> PostRecord | None:
        return read_post_record(self.shelf[0], "the test") if self.shelf else None

    def save(self, record: PostRecord) -> None:
        self.pass_by(f"before save {record.state}")
        self.shelf[:] = [record.model_dump_json()]
        self.pass_by(f"after save {record.state}")

    def sleep(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)

    def publication(self, sender: Sender, source: VideoSource) -> Publication:
        return Publication(
            target=FakeTarget(self.world),
            sender=sender,
            store=self,
            identity=PostIdentity("dag", self.run_id, "task", -1, self.clear_epoch, self.post_key),
            post=Post("upload", source.video, {"title": self.title}),
            source=source,
            seal=Seal(self.secret),
            on_clear=self.on_clear,
            trusted=self.trusted,
            lost=self.lost,
            since=self.began,
            sleep=self.sleep,
            now=lambda: self.world.now,
        )

    def advance(self) -> Standing:
        """Live. Whatever comes of it comes out."""
        video = VideoFile(str(self.path), len(self.data), hashlib.sha256(self.data).hexdigest())
        source = VideoSource(Target(fsspec.filesystem("file"), str(self.path), str(self.path)), video)
        life = self

        class Line(Sender):
            def _send(self, request: Request) -> Reply:
                life.pass_by(f"before {request.what}")
                content = request.content
                if isinstance(content, VideoBytes):
                    content = b"".join(source.stream(content.offset, content.length, content.on_chunk))
                told = life.world.handle(request.what, json.loads(request.headers["x"]), content or b"")
                life.pass_by(f"after {request.what}")
                return Reply(200, {}, json.dumps(told).encode())

        with Line(NoCredentials(), source) as sender:
            return self.publication(sender, source).advance()

    def end(self) -> str:
        """Live; return how it ended: ``kept``, ``waits``, ``killed``, ``failed`` or the text of a refusal."""
        try:
            standing = self.advance()
        except Killed:
            return "killed"
        except TargetLimitError as error:
            self.world.now = max(self.world.now, error.until)
            return "waits"
        except PublishError as error:
            return str(error) if error.terminal else "failed"
        if standing.decision.action is Action.KEEP:
            return "kept"
        self.world.now = max(self.world.now + timedelta(seconds=30), standing.until or self.world.now)
        return "waits"


class ComparingLife(Life):
    """A life whose store replaces a record only if it is still the one that was read."""

    def replace(self, old: PostRecord | None, new: PostRecord) -> bool:
        self.pass_by(f"before save {new.state}")
        if self.load() != old:
            return False
        self.shelf[:] = [new.model_dump_json()]
        self.pass_by(f"after save {new.state}")
        return True


def live(make: Callable[[int], Life], lives: int = 12) -> str:
    """Let one life follow the other until the post is kept or refused.

    :param make: makes the life of that number.
    """
    for number in range(lives):
        ending = make(number).end()
        if ending not in ("waits", "killed", "failed"):
            return ending
    return f"neither kept nor refused after {lives} lives"


def ends(world: World, path: Path, shelf: list[str], **more: Any) -> str:
    """Let lives follow each other, all of them alike, until the post is kept or refused."""
    return live(lambda number: Life(world, path, shelf, **more))


class Interleaved:
    """Two lives that take turns: the first until its boundary ``i``, the second until its ``j``, then both to the end.

    With ``j=None`` the second one goes on to its end at once.

    Within a save nobody stands still, except where the store can compare and swap; nor with the call in hand that must
    not be made twice (docs/publishing.md).
    """

    def __init__(self, first: Life, second: Life, i: int, j: int | None) -> None:
        self.endings: list[str] = ["", ""]
        self._turns = (Semaphore(0), Semaphore(0))
        self._stops: list[int | None] = [i, j]
        self._over = [False, False]
        self._lives = (first, second)
        self.met = [False, False]
        first.at = lambda name: self._boundary(0, name)
        second.at = lambda name: self._boundary(1, name)

    def _boundary(self, who: int, name: str) -> None:
        stop = self._stops[who]
        if stop is None or len(self._lives[who].passed) - 1 < stop:
            return
        if name.startswith("before save") and not isinstance(self._lives[who], ComparingLife):
            return
        if name == "before commit" and self._lives[who].world.kind == "container":
            return
        self._stops[who] = None
        self.met[who] = True
        if not self._over[1 - who]:
            self._turns[1 - who].release()
            self._turns[who].acquire()

    def _live(self, who: int) -> None:
        self._turns[who].acquire()
        try:
            self.endings[who] = self._lives[who].end()
        finally:
            self._over[who] = True
            self._turns[1 - who].release()

    def run(self) -> None:
        threads = [Thread(target=self._live, args=(who,), daemon=True) for who in (0, 1)]
        for thread in threads:
            thread.start()
        self._turns[0].release()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
