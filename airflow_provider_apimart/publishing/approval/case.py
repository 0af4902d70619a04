"""The case: what is known about one question to a person, kept outside the worker so that the next try finds it.

The order of writing keeps both counts right, whatever crashes:

1. A further take is noted here as pending *before* it is paid for. The next try goes on with it, and asks nobody.
2. A take that landed is a candidate here before the person is asked again.
3. A decision is noted here before it is written beside the videos, and that before the task ends. The next try repeats
   the rest. A clear asks anew.

An answer that the process did not live to note here was never given: the next try asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.publishing.decision import Decision, Person, Verdict

M = TypeVar("M", bound=BaseModel)

#: A case has to fit into 64 KB of Airflow's task state store.
MOST_TAKES = 5
MAX_NOTE_LENGTH = 1000


class Candidate(BaseModel):
    """One video that the person can choose.

    :param number: what the form calls it, from 1.
    :param take: the generation that it is from: 1 for the one that was asked about first.
    :param cost_usd: of the whole generation.
    :param poster_sha256: of the poster beside it; ``None`` if there is none.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    take: int
    path: str
    bytes: int
    sha256: str
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    has_audio: bool | None = None
    generation_id: str | None = None
    cost_usd: float | None = None
    poster_sha256: str | None = None

    @property
    def entry(self) -> dict[str, Any]:
        """The video as the generate task's XCom describes it."""
        names = ("path", "bytes", "sha256", "duration_seconds", "width", "height", "has_audio")
        return {"url": None, "expires_at": None, **{name: getattr(self, name) for name in names}}


class Pending(BaseModel):
    """A take that was asked for, and is or will be paid for.

    :param request: what is or will be paid for: the parameters of a ``VeoRequest``. A later change of the task or of
        the sidecar must not pay for another one. ``None`` in cases of versions before it was kept.
    """

    model_config = ConfigDict(frozen=True)

    take: int
    by: Person | None = None
    at: AwareDatetime
    request: dict[str, Any] | None = None


class Case(BaseModel):
    """What is known about one question.

    :param epoch: the clear epoch in which it was asked; a decision of an earlier one does not count.
    :param candidates: all videos, in the order of their numbers.
    :param note: what the person has to know about their last answer.
    :param decision: the final one, as it is about the video that was chosen or asked about first.
    :param chosen: the number of the approved candidate.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    epoch: int
    candidates: tuple[Candidate, ...]
    pending: Pending | None = None
    note: str = ""
    decision: Decision | None = None
    chosen: int | None = None

    def but(self, **changes: Any) -> Case:
        """Return a copy with ``changes``."""
        if "note" in changes:
            changes["note"] = changes["note"][:MAX_NOTE_LENGTH]
        return self.model_copy(update=changes)

    @property
    def takes(self) -> int:
        """How many generations there are."""
        return max(candidate.take for candidate in self.candidates)

    @property
    def first(self) -> tuple[Candidate, ...]:
        """The videos that were asked about first."""
        return tuple(candidate for candidate in self.candidates if candidate.take == 1)

    @property
    def newest(self) -> tuple[Candidate, ...]:
        """The videos of the last take."""
        return tuple(candidate for candidate in self.candidates if candidate.take == self.takes)

    def is_about(self, videos: Sequence[Candidate]) -> bool:
        """Return whether the question is about these videos: the same contents at the same places."""
        return [(one.path, one.sha256) for one in self.first] == [(one.path, one.sha256) for one in videos]

    def with_take(self, videos: Sequence[Candidate]) -> Case:
        """Return the case with the videos of the pending take."""
        return self.but(candidates=(*self.candidates, *videos), pending=None, note="")

    def said_about(self, candidate: Candidate) -> Decision:
        """Return what the final decision means for one of the candidates.

        :raises AssertionError: before there is one.
        """
        if self.decision is None:
            raise AssertionError("nothing is decided yet")
        verdict, changes = self.decision.decision, self.decision.changes
        if verdict is Verdict.APPROVED and candidate.number != self.chosen:
            verdict, changes = Verdict.ANOTHER_TAKE, {}
        return self.decision.model_copy(
            update={
                "decision": verdict,
                "changes": changes,
                "video_sha256": candidate.sha256,
                "poster_sha256": candidate.poster_sha256,
            }
        )


class UnreadableCaseError(ApimartError):
    """A case exists but cannot be read. Asking without knowing what was paid for is refused."""

    terminal = True


def read_case(data: Any, where: str) -> Case:
    """Return the case that ``data`` (an object, or its JSON text) holds."""
    return read_kept(Case, data, where)


def read_kept(kind: type[M], data: Any, where: str) -> M:
    """Return the record of an approval.

    :raises UnreadableCaseError: if it cannot be read.
    """
    try:
        if isinstance(data, (str, bytes)):
            return kind.model_validate_json(data)
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UnreadableCaseError(
            f"the record of this approval in {where} cannot be read ({'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}). If a newer version of the provider has written it, use that version; else delete the "
            "record. Nothing was paid or published"
        ) from None
