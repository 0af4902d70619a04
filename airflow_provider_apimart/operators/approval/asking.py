"""What an approval of one video and one of a whole table share: putting the question to Airflow, and how it may end."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict

from airflow_provider_apimart._compat import AirflowFailException, AirflowSkipException
from airflow_provider_apimart.hooks.storage.beside import Beside, beside
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.links import pages
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.approval import values
from airflow_provider_apimart.operators.labels import check_name
from airflow_provider_apimart.operators.task import identity_of
from airflow_provider_apimart.operators.templates import AuthorTemplates
from airflow_provider_apimart.publishing.approval.case import Candidate
from airflow_provider_apimart.publishing.approval.form import Place
from airflow_provider_apimart.publishing.decision import Decision, Person, Verdict
from airflow_provider_apimart.publishing.source import VideoSource

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

OnReject = Literal["skip", "fail"]
#: The key of the XCom that tells where the approval stands. The result is there only after an approval.
XCOM_KEY = "approval"
#: Why an answer to another question decides nothing.
CHANGED = "what was asked about has changed since. Nothing was decided"


class AskingOperator(AuthorTemplates, HITLOperator):
    """The base of both approvals. It decides by raising, never by skipping what comes after it: Airflow 3.2.0 to 3.3.2
    forgets such skips in a mapped task group, and would publish a rejected video.

    :param reject: the option that stands for "nobody has answered".
    """

    def __init__(
        self,
        *,
        subject: str | None,
        body: str | None,
        options: list[str],
        reject: str,
        on_reject: OnReject | str,
        response_timeout: timedelta | None,
        **kwargs: Any,
    ) -> None:
        for name in ("defaults", "multiple", "params"):
            if name in kwargs:
                raise TypeError(f"{type(self).__name__} makes the form by itself: {name}= cannot be given")
        super().__init__(
            subject=subject or "",
            body=body,
            options=options,
            defaults=[reject],
            response_timeout=response_timeout,
            **kwargs,
        )
        self.subject = subject or ""
        self.on_reject = on_reject
        self._reject = reject
        # What notifiers tell.
        self.note = ""
        self.decide_url: str | None = None
        self.poster_url: str | None = None
        self.poster_path: str | None = None

    def _problems(self, check: arguments.Check) -> list[Any]:
        """Return what is wrong with the arguments."""
        raise NotImplementedError

    # --- the ends of the task -------------------------------------------------------------------------------------

    @contextmanager
    def _beginning(self, context: Context) -> Iterator[None]:
        arguments.refuse(arguments.owner_of(self), self._problems(arguments.always))
        check_name(self, context)
        with values.failing_for_good():
            yield

    @contextmanager
    def _resumed(self) -> Iterator[None]:
        # Airflow has rendered the arguments anew. A budget that cannot be read now must not become no budget.
        arguments.refuse_for_now(arguments.owner_of(self), self._problems(arguments.always))
        with values.failing_for_good():
            yield

    def _not_published(self, decision: Decision, what: str, paths: Iterable[str]) -> NoReturn:
        """End the task.

        :param what: who is not, such as "None of 3 videos is".
        """
        text = f"{what} published: {decision}. To have it decided anew, clear this task. {'; '.join(list(paths)[:50])}"
        raise AirflowFailException(text) if self.on_reject == "fail" else AirflowSkipException(text)

    # --- to ask ---------------------------------------------------------------------------------------------------

    @property
    def _deadline(self) -> str:
        """When the wait ends that begins now, in words; empty for never."""
        if self.response_timeout is None:
            return ""
        return f"until {datetime.now(UTC) + self.response_timeout:%Y-%m-%d %H:%M} UTC"

    def _put(
        self, context: Context, *, options: list[str], subject: str, body: str, fields: Mapping[str, dict[str, Any]]
    ) -> NoReturn:
        """Put the question, and wait. Airflow resumes in ``execute_complete``.

        :param subject: the headline, if the DAG's author gave none.
        :param fields: for each its value and its JSON schema.
        """
        self.options = options
        self.defaults = [self._reject] if self.response_timeout is not None else None
        self.body = body
        self.subject = self.subject or subject
        self.params = ParamsDict({name: Param(field.pop("value"), **field) for name, field in fields.items()})
        self.decide_url = pages.required_actions_page(context["ti"])
        if self.note:
            self.log.warning("Asking again: %s.", self.note.rstrip("."))
        # Without Airflow's guard, which knows only the first call of a try: with allow_nested_operators=False it would
        # refuse to ask again.
        inspect.unwrap(HITLOperator.execute)(self, context)
        raise AssertionError("Airflow did not wait for an answer")

    def _show_poster(self, about: Beside, place: Place, number: int) -> None:
        """Tell notifiers of a poster, if there is one."""
        if about.poster is not None:
            self.poster_path, self.poster_url = about.poster["path"], pages.absolute(place.file("poster", number))

    def generate_link_to_ui(
        self,
        *,
        task_instance: Any,
        base_url: str | None = None,
        options: str | list[str] | None = None,
        params_input: dict[str, Any] | None = None,
    ) -> str:
        """Return the page where the question is answered. Unlike Airflow's own, it is right for mapped tasks, too."""
        query: dict[str, Any] = dict(params_input or {})
        if options:
            query["_options"] = [options] if isinstance(options, str) else options
        return pages.required_actions_page(task_instance, base_url, query)

    # --- to decide ------------------------------------------------------------------------------------------------

    def _said(
        self, context: Context, verdict: Verdict, about: Candidate | None, by: Person | None, at: datetime, **more: Any
    ) -> Decision:
        identity = identity_of(context)
        return Decision(
            decision=verdict,
            by=by,
            at=at,
            video_sha256=about.sha256 if about else "",
            poster_sha256=about.poster_sha256 if about else None,
            dag_id=identity.dag_id,
            run_id=identity.run_id,
            task_id=identity.task_id,
            map_index=identity.map_index,
            **more,
        )


def beside_each(candidates: Iterable[Candidate]) -> list[Beside]:
    """Return what lies beside each video."""
    return [beside(file_of(one.path, "video"), one.sha256) for one in candidates]


def with_poster(candidate: Candidate, about: Beside) -> Candidate:
    """Return the video with the poster that is shown now: a decision is about what was seen."""
    found = (about.poster or {}).get("sha256")
    return candidate.model_copy(update={"poster_sha256": found if isinstance(found, str) else None})


def candidate_of(source: VideoSource, number: int, cost: float | None) -> Candidate:
    """Return a video of the first take.

    :param cost: what its task says that it cost, if the sidecar does not.
    """
    video, about = source.video, beside(source.place, source.video.sha256)
    return Candidate(
        number=number,
        take=1,
        path=video.uri,
        bytes=video.bytes,
        sha256=video.sha256,
        duration_seconds=video.duration_seconds,
        width=video.width,
        height=video.height,
        has_audio=video.has_audio,
        generation_id=video.generation_id or about.generation_id,
        cost_usd=cost if about.cost_usd is None else about.cost_usd,
    )
