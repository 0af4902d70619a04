"""What all publish operators do: a video becomes a post, once.

Thin on purpose. ``publishing/decide.py`` decides, ``publishing/publish.py`` makes public, the targets speak with the
networks. Here is Airflow's side: arguments, the record's store, the wait in the triggerer or the worker, the results.
A deferred task resumes by doing the same again: the record tells how far it has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_apimart._compat import (
    AirflowFailException,
    BaseOperator,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from airflow_provider_apimart.client.errors import ApimartError, FieldProblem
from airflow_provider_apimart.hooks import posts
from airflow_provider_apimart.hooks.decisions import check_decisions
from airflow_provider_apimart.hooks.publishers import Publisher, hook_for
from airflow_provider_apimart.hooks.reports import lineage, metrics
from airflow_provider_apimart.hooks.stores.post_stores import keyed_post_store, post_store
from airflow_provider_apimart.links.publish import PostLink, StudioLink
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.arguments import TRIGGERER_GRACE
from airflow_provider_apimart.operators.labels import check_name
from airflow_provider_apimart.operators.lineage import TellsLineage
from airflow_provider_apimart.operators.publish.intent import Intent
from airflow_provider_apimart.operators.task import identity_of
from airflow_provider_apimart.operators.templates import AuthorTemplates
from airflow_provider_apimart.operators.videos import path_of, resolve, sample_problems, source_of, video_problems
from airflow_provider_apimart.publishing import report
from airflow_provider_apimart.publishing.decide import Action, OnClear
from airflow_provider_apimart.publishing.errors import PostParkedError, TargetLimitError
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.pace import interval
from airflow_provider_apimart.publishing.post import Post, PostIdentity, VideoFile
from airflow_provider_apimart.publishing.publish import Publication, Standing, deadline_of
from airflow_provider_apimart.publishing.record import PostRecord, PostStore
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.target import DraftState
from airflow_provider_apimart.triggers.publish import PublishTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

DEFAULT_TIMEOUT = timedelta(hours=2)
MAX_KEY_LENGTH = 250
#: The pause before a draft is asked about again that its target does not know yet.
UNKNOWN_SECONDS = 60.0


class PublishOperator(TellsLineage, AuthorTemplates, BaseOperator):
    """What the publish operators share. A subclass says what its target is told, and what it alone knows of a post.

    A subclass sets :attr:`target`, calls :meth:`_refuse_literals` at the end of its ``__init__``, and implements
    :meth:`_content`; it may override :meth:`_own_problems`, :meth:`_options` and :meth:`_told`.

    :param video: what to post: a generate task's output (``generate.output``), one entry of its ``videos``, a row of a
        batch's manifest, or the absolute path of any landed or own video (text or ``ObjectStoragePath``).
    :param sample: which of a generation's several videos, counted from 1; ``None`` if it has only one.
    :param post_key: your own name for the post. With it, the post is made once in all runs of the DAG, and a run that
        brings another video under the same key is refused; without it, it is made once in each run.
    :param on_clear: what a cleared task does with a post that is public: ``reuse`` it, or ``repost`` the video.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param timeout: how long a post may take from its start: ``timedelta`` or seconds. After that the try fails and the
        post is parked: the next try, or a clear, goes on from there.
    :param poll_interval: seconds between two questions; ``None`` adapts.
    :param require_approval: refuse a video about which nobody has decided. One that was rejected is always refused.
    """

    #: The target's name.
    target: ClassVar[str]
    #: The argument that names the connection.
    conn_argument: ClassVar[str]

    template_fields: Sequence[str] = (
        *("video", "sample", "post_key", "on_clear", "timeout", "poll_interval", "require_approval"),
    )
    object_fields: ClassVar[Collection[str]] = ("video",)
    needed_fields: ClassVar[Collection[str]] = ("video",)
    operator_extra_links = (PostLink(), StudioLink())
    ui_color = "#e8f4ff"

    def __init__(
        self,
        *,
        video: Any,
        sample: int | str | None = None,
        post_key: str | None = None,
        on_clear: OnClear = "reuse",
        deferrable: bool = True,
        timeout: timedelta | float | str | None = DEFAULT_TIMEOUT,
        poll_interval: timedelta | float | str | None = None,
        require_approval: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.video = video
        self.sample = sample
        self.post_key = post_key
        self.on_clear = on_clear
        self.deferrable = deferrable
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.require_approval = require_approval
        # What this try learns, for on_kill and the links.
        self.post_url: str | None = None
        self.studio_url: str | None = None
        self._publication: Publication | None = None

    # --- what a target's operator says ----------------------------------------------------------------------------

    def _content(self, video: VideoFile) -> dict[str, Any]:
        """Return what the target is told about ``video``: plain JSON without secrets, from the rendered arguments."""
        raise NotImplementedError

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        """Return what is wrong with the target's own arguments.

        :param check: runs a check now, or skips it for a value that is not known before the task runs.
        """
        return []

    def _options(self, source: VideoSource, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the hook's ``publisher()`` takes besides the connection."""
        return {}

    def _told(self, record: PostRecord, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return what only the target knows of a finished post; see :func:`.report.result`."""
        return {}

    # --- arguments ------------------------------------------------------------------------------------------------

    def _refuse_literals(self) -> None:
        """Check those arguments that are known while the DAG is parsed."""
        problems = arguments.fixed_problems("deferrable", self.deferrable, (True, False))
        arguments.refuse(arguments.owner_of(self), problems + self._problems(arguments.unless_late(self)))

    def _problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = check(sample_problems, "sample", self.sample)
        if not problems and not arguments.is_template(self.sample, arguments.marks_of(self)):
            problems += check(video_problems, "video", self.video, self.sample)
        problems += check(_key_problems, "post_key", self.post_key)
        problems += check(arguments.choice_problems, "on_clear", self.on_clear, ("reuse", "repost"))
        problems += check(arguments.seconds_problems, "timeout", self.timeout)
        problems += check(arguments.seconds_problems, "poll_interval", self.poll_interval)
        problems += check(arguments.truth_problems, "require_approval", self.require_approval)
        problems += check(arguments.connection_problems, self.conn_argument, getattr(self, self.conn_argument))
        return problems + self._own_problems(check)

    # --- the two ends of the task ---------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Post the video, or go on with the post that an earlier try has begun."""
        check_name(self, context)
        return self._run(context, self._intent)

    def execute_complete(self, context: Context, event: Any, intent: Any = None) -> dict[str, Any]:
        """Go on with the post after the wait in the triggerer.

        :param event: the trigger's event; see :class:`~airflow_provider_apimart.triggers.publish.PublishTrigger`. It
            decides nothing: the target is asked again.
        :param intent: the post as it was asked for when the task began; ``None`` if Airflow dropped it, as ``dags
            test`` does. Then the arguments as they are rendered now are used.
        """
        if intent is None:
            return self._run(context, lambda: replace(self._intent(), begun=True))
        return self._run(context, lambda: Intent.from_json(intent))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. If Airflow itself ended the deferral, log what happens to the post."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            self.log.error(
                "Airflow ended the wait (%s). What is begun stays in the post's record; the next try, or a clear, goes "
                "on from there, and nothing is posted twice.",
                error,
            )
            raise

    def on_kill(self) -> None:
        """Log what may be public. Airflow kills the process next, and no ``finally`` runs."""
        if self._publication is not None:
            # Only what this process knows: a signal may have interrupted a question to Airflow.
            self.log.warning("%s", report.abandoned_text(self._publication.record, self.target))

    # --- steps ----------------------------------------------------------------------------------------------------

    def _intent(self) -> Intent:
        """Check the rendered arguments, find the video, and return what is to be posted."""
        began = time.time()
        arguments.refuse(arguments.owner_of(self), self._problems(arguments.always))
        video = resolve(self.video, self.sample).video
        return Intent(
            video=video,
            content=self._content(video),
            conn_id=str(getattr(self, self.conn_argument)),
            post_key=str(self.post_key or ""),
            on_clear=self.on_clear,
            timeout_seconds=arguments.seconds_of(self.timeout) or DEFAULT_TIMEOUT.total_seconds(),
            poll_seconds=arguments.seconds_of(self.poll_interval),
            began=began,
            require_approval=bool(arguments.truth_of(self.require_approval)),
        )

    def _run(self, context: Context, intended: Callable[[], Intent]) -> dict[str, Any]:
        self._publication = None
        with self._failures():
            intent = intended()
            source = source_of(intent.video)
            publisher = hook_for(self.target, intent.conn_id).publisher(**self._options(source, intent.content))
            with Sender(publisher.credentials, source) as sender:
                while True:
                    standing = limit = None
                    try:
                        if self._publication is None:
                            self._publication = self._publication_of(context, intent, source, publisher, sender)
                        standing = self._publication.advance()
                    except TargetLimitError as error:
                        # A limit, or a doubt, that is met before anything was recorded.
                        limit = error
                    if standing is not None and standing.decision.action is not Action.WAIT:
                        return self._finish(standing, intent, source, context)
                    self._wait(intent, standing, limit)

    def _publication_of(
        self,
        context: Context,
        intent: Intent,
        source: VideoSource,
        publisher: Publisher,
        sender: Sender,
    ) -> Publication:
        place = identity_of(context)
        identity = PostIdentity(
            place.dag_id, place.run_id, place.task_id, place.map_index, place.clear_epoch, intent.post_key
        )
        if intent.post_key:
            # Two accounts are two posts. So the account is part of the record's name.
            account = sender.run(publisher.target.account())
            store: PostStore = keyed_post_store(self.target, account, intent.post_key)
            trusted, lost = True, False
        else:
            account = ""
            store = post_store(context, source.place, identity, intent.record)
            # A store that outlives nothing proves nothing, and neither does an earlier try whose record is gone.
            first = getattr(context["ti"], "try_number", None) == 1
            trusted = store.durable and first and not intent.begun
            # A store that lasts would hold a record if an earlier try had begun. Any other tells the next try nothing.
            lost = intent.begun or (not store.durable and not first)
        publication = Publication(
            target=publisher.target,
            sender=sender,
            store=store,
            identity=identity,
            post=Post(self.target, intent.video, intent.content),
            source=source,
            seal=publisher.seal,
            on_clear=intent.on_clear,
            trusted=trusted,
            lost=lost,
            since=datetime.fromtimestamp(intent.began, UTC),
            conn_id=intent.conn_id,
            permit=partial(self._permit, source, intent),
            sleep=time.sleep,
        )
        publication.account = account
        return publication

    def _permit(self, source: VideoSource, intent: Intent) -> None:
        check_decisions(source.place, intent.video.sha256, required=intent.require_approval)

    def _wait(self, intent: Intent, standing: Standing | None, limit: TargetLimitError | None) -> None:
        """Wait in the triggerer, or here until the target is asked again.

        :raises PostParkedError: if the deadline has passed, or will before it can go on.
        """
        now = time.time()
        record = standing.record if standing else None
        deadline, which = self._deadline(intent, record)
        reason, until = _reason(standing, limit)
        if now >= deadline or (until is not None and until.timestamp() >= deadline):
            metrics.count_post("parked", self.target)
            text = report.parked_text(record, self.target, reason, until, which)
            raise PostParkedError(text, until=until, post=record.marker if record else "")
        self.log.info("Waiting: %s.", reason)
        if self.deferrable:
            self._defer(intent, standing, until, deadline)
        pause = max(0.0, until.timestamp() - now) if until else self._pause(intent, record, now)
        time.sleep(min(pause, max(0.0, deadline - now)))

    def _deadline(self, intent: Intent, record: PostRecord | None) -> tuple[float, str]:
        """Return when the wait ends, in unix seconds, and the argument that says so."""
        deadline = intent.began + intent.timeout_seconds
        if record is not None:
            deadline = deadline_of(record, timedelta(seconds=intent.timeout_seconds)).timestamp()
        # Airflow does not enforce this one while a task is deferred.
        limit = self.execution_timeout
        if limit is not None and intent.began + limit.total_seconds() < deadline:
            return intent.began + limit.total_seconds(), "execution_timeout"
        return deadline, "timeout"

    @staticmethod
    def _pause(intent: Intent, record: PostRecord | None, now: float) -> float:
        since = record.drafted_at.timestamp() if record and record.drafted_at else intent.began
        return interval(max(0.0, now - since), intent.poll_seconds, record.marker if record else "")

    def _defer(
        self,
        intent: Intent,
        standing: Standing | None,
        until: datetime | None,
        deadline: float,
    ) -> NoReturn:
        record, seen = (standing.record, standing.seen) if standing else (None, None)
        ask_at = until.timestamp() if until else None
        if ask_at is None and (seen is None or seen.state is not DraftState.PROCESSING):
            ask_at = time.time() + (intent.poll_seconds or UNKNOWN_SECONDS)
        durable = self._publication is None or self._publication.store.durable
        begun = record is not None or intent.begun
        kept = replace(intent, begun=begun, record=None if durable else record or intent.record)
        self.defer(
            trigger=PublishTrigger(
                target=self.target,
                conn_id=intent.conn_id,
                deadline=deadline,
                draft_id=record.draft_id if record else None,
                post_id=record.post_id if record else None,
                seen=str(seen.state) if seen else None,
                ask_at=ask_at,
                poll_interval=intent.poll_seconds,
            ),
            method_name="execute_complete",
            kwargs={"intent": kept.as_json()},
            timeout=timedelta(seconds=max(0.0, deadline - time.time())) + TRIGGERER_GRACE,
        )

    # --- how it ends ----------------------------------------------------------------------------------------------

    def _finish(self, standing: Standing, intent: Intent, source: VideoSource, context: Context) -> dict[str, Any]:
        record = standing.record
        told = self._told(record, intent.content)
        found = report.result(record, intent.video, told, datetime.now(UTC), standing.warnings)
        self.post_url, self.studio_url = found["url"], found["studio_url"]
        for warning in found["warnings"]:
            self.log.warning("%s", warning)
        self.log.info("%s: %s is %s: %s.", self.target, record.post_id, found["state"], record.url or "no page")
        if record.committing_at and record.committing_at.timestamp() >= intent.began:
            # Else an earlier try has counted it.
            metrics.count_post("published", self.target, record)
        posts.remember(source.place, found, record)
        self._tell(context, partial(lineage.of_post, found))
        return found

    def _sources(self) -> Iterable[Any]:
        return path_of(self.video, self.sample)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Fail the task for good on errors that a retry cannot mend, and add to every error what others can see."""
        try:
            yield
        except ApimartError as error:
            record = self._publication.record if self._publication else None
            text = report.explain(error, record, self.target)
            if error.terminal:
                metrics.count_post("failed", self.target)
                raise AirflowFailException(text) from error
            error.explained = text
            raise


def _reason(standing: Standing | None, limit: TargetLimitError | None) -> tuple[str, datetime | None]:
    """Return what is waited for, and until when if that is known."""
    if standing is not None:
        return standing.decision.reason.rstrip("."), standing.until
    if limit is None:
        raise AssertionError("there is nothing to wait for")
    return str(limit).rstrip("."), limit.until


def _key_problems(name: str, value: Any) -> list[FieldProblem]:
    if arguments.is_unset(value) or (isinstance(value, str) and len(value) <= MAX_KEY_LENGTH):
        return []
    return [FieldProblem(name, value, f"allowed: text of up to {MAX_KEY_LENGTH} characters, or None")]
