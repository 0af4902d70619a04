"""``VideoApprovalOperator``: a person decides before a video is published.

Airflow asks and waits (``HITLOperator``). Here is what is about videos: the form, the answer, the decision and
further takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.client.errors import ApimartError, FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.budget import Budget
from airflow_provider_apimart.generation.pricing.prices import estimate
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.record import Record
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.decisions import record_decision
from airflow_provider_apimart.hooks.storage.beside import Beside, beside
from airflow_provider_apimart.hooks.storage.paths import file_of, target_of
from airflow_provider_apimart.hooks.stores.approval_stores import KeptStore, case_store, take_identity, take_store
from airflow_provider_apimart.links import pages
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.approval import values
from airflow_provider_apimart.operators.approval.asking import (
    CHANGED,
    XCOM_KEY,
    AskingOperator,
    OnReject,
    beside_each,
    candidate_of,
    with_poster,
)
from airflow_provider_apimart.operators.approval.takes import (
    Order,
    TakeRefusedError,
    is_for_good,
    kept,
    request_of,
    spent_of,
)
from airflow_provider_apimart.operators.arguments import DEFAULT_TIMEOUT
from airflow_provider_apimart.operators.budget import spending_of
from airflow_provider_apimart.operators.task import identity_of
from airflow_provider_apimart.operators.videos import resolve_all
from airflow_provider_apimart.publishing.approval import form
from airflow_provider_apimart.publishing.approval.answer import (
    ANOTHER_TAKE,
    APPROVE,
    REJECT,
    Answer,
    read_answer,
)
from airflow_provider_apimart.publishing.approval.case import Candidate, Case, Pending
from airflow_provider_apimart.publishing.decision import Verdict

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class VideoApprovalOperator(AskingOperator):
    """Ask a person whether a video may be published, and wait for the answer (Airflow's "Required Actions").

    The form shows the poster, a link to the player, the prompt, the cost, the checks, and the texts of the channel to
    edit. The person approves, rejects, or asks for another take, if ``max_takes`` allows: one new generation of the
    same request with another seed, paid for once and within ``max_cost_usd``; then they are asked again, and can choose
    any of the takes. **A video is published only after an approval**: a rejection and a timeout skip or fail this task,
    and they are written beside the video (``<video>.decision.json``), where every publish operator looks.

    An answer that cannot be used (an unknown video, a text that is too long) decides nothing: the person is asked
    again, with a note. A field that was not sent keeps the text that it was filled in with. A retry goes on with what
    is decided or paid for, and asks again if nothing is. A clear asks anew; takes that were paid for can be chosen.

    Returns (XCom), only after an approval, what the publish operators take as ``video=approve.output``:
    ``{"decision": "approved", "by": {"id", "name"}, "at", "reason", "changes": {name: text}, "title", "description",
    "caption", "video_sha256", "poster_sha256", "chosen", "takes", "generation_id", "cost_usd", "videos": [{"path",
    "bytes", "sha256", "duration_seconds", "width", "height", "has_audio", "url", "expires_at"}]}``. ``videos`` holds
    the chosen video. A text that the form did not have is null. The XCom ``approval`` tells how it stands at any time,
    and how it ended.

    :param video: what to decide about: a generate task's output (``generate.output``), one entry of its ``videos``, a
        row of a batch's manifest, or the absolute path of a video. Of several videos of a generation the person chooses
        one.
    :param sample: which of a generation's several videos, counted from 1; ``None`` for all to choose from.
    :param title: a title to edit (YouTube), up to 300 characters. ``None``: the form has no such field.
    :param description: a description to edit (YouTube), up to 5,000 characters.
    :param caption: a caption to edit (Instagram), up to 2,200 characters.
    :param subject: the headline; ``None`` makes one of the prompt.
    :param body: Markdown above the form's own text.
    :param on_reject: ``"skip"``: a rejection and a timeout skip this task and what depends on it. ``"fail"``: they fail
        it, without a retry.
    :param response_timeout: how long to wait for an answer, each time that is asked. Then the video counts as not
        approved. ``None`` waits for ever.
    :param max_takes: how many takes there may be, the first included: 1 (no other) to 5. Anybody who may answer can
        spend that money.
    :param max_cost_usd: what all takes together may cost, the first included.
    :param budget: what another take is paid from, a :class:`~airflow_provider_apimart.operators.budget.Budget`.
    :param veo: the request for another take, as the parameters of ``VeoGenerateOperator``. ``None``: the request in the
        sidecar beside the video.
    :param output_path: the folder for further takes. ``None``: beside the video.
    :param apimart_conn_id: the connection that pays for them.
    :param timeout: how long a further take may take from its submission: ``timedelta`` or seconds. After that the try
        fails and the take is parked: the next try, or a clear, re-attaches. They are waited for in the triggerer.
    :param poll_interval: seconds between two polls for it; ``None`` adapts.
    :param assigned_users: the only ones who may answer, as ``{"id", "name"}`` (one or a list).
    :param notifiers: called each time that is asked; ``{{ task.decide_url }}``, ``{{ task.poster_url }}``,
        ``{{ task.poster_path }}`` and ``{{ task.note }}`` are there for their texts.
    """

    template_fields: Sequence[str] = (
        *("subject", "body", "video", "sample", "title", "description", "caption", "on_reject"),
        *("max_takes", "max_cost_usd", "veo", "output_path", "apimart_conn_id", "timeout", "poll_interval"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"body": "md", "description": "md", "veo": "json"}
    object_fields: ClassVar[Collection[str]] = ("video", "veo")
    needed_fields: ClassVar[Collection[str]] = ("video", "apimart_conn_id")
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        video: Any,
        sample: int | str | None = None,
        title: str | None = None,
        description: str | None = None,
        caption: str | None = None,
        subject: str | None = None,
        body: str | None = None,
        on_reject: OnReject = "skip",
        response_timeout: timedelta | None = None,
        max_takes: int | str = 1,
        max_cost_usd: float | str | None = None,
        budget: Budget | None = None,
        veo: Mapping[str, Any] | str | None = None,
        output_path: str | ObjectStoragePath | None = None,
        apimart_conn_id: str = ApimartHook.default_conn_name,
        timeout: timedelta | float | str = DEFAULT_TIMEOUT,
        poll_interval: timedelta | float | str | None = None,
        **kwargs: Any,
    ) -> None:
        if "options" in kwargs:
            raise TypeError("VideoApprovalOperator makes the form by itself: options= cannot be given")
        super().__init__(
            subject=subject,
            body=body,
            options=[APPROVE, REJECT, ANOTHER_TAKE],
            reject=REJECT,
            on_reject=on_reject,
            response_timeout=response_timeout,
            **kwargs,
        )
        self.video = video
        self.sample = sample
        self.title = title
        self.description = description
        self.caption = caption
        self.max_takes = max_takes
        self.max_cost_usd = max_cost_usd
        self.budget = budget
        self.veo = veo
        self.output_path = output_path
        self.apimart_conn_id = apimart_conn_id
        self.timeout = timeout
        self.poll_interval = poll_interval
        arguments.refuse(arguments.owner_of(self), self._problems(arguments.unless_late(self)))

    # --- arguments ------------------------------------------------------------------------------------------------

    def _problems(self, check: arguments.Check) -> list[FieldProblem]:
        return values.problems(self, check)

    @property
    def _most(self) -> int:
        return int(arguments.number_of(self.max_takes) or 1)

    @property
    def _texts(self) -> dict[str, str]:
        given = {name: getattr(self, name) for name in form.TEXTS}
        return {name: text for name, text in given.items() if text is not None}

    # --- the ends of the task -------------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, or go on with what an earlier try has decided or paid for."""
        with self._beginning(context):
            store, case, _ = self._case(context)
            if case.decision is not None:
                return self._decided(context, case)
            if case.pending is not None:
                return self._take(context, store, case)
            return self._ask(context, store, case)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Read the answer, and act on it.

        :param event: Airflow's, with ``chosen_options``, ``params_input``, ``responded_at`` and ``responded_by_user``.
        """
        with self._resumed():
            store, case, asked = self._case(context)
            if not asked:
                return self._ask(context, store, case.but(note=f"the last answer is about another video: {CHANGED}"))
            if case.decision is not None:
                return self._decided(context, case)
            answer = read_answer(event, case, self._texts, datetime.now(UTC))
            match answer.choice:
                case "unusable":
                    note = f"the last answer could not be used: {answer.problem}. Nothing was decided"
                    return self._ask(context, store, case.but(note=note))
                case "another_take":
                    return self._another(context, store, case, answer)
                case _:
                    return self._decide(context, store, case, answer)

    def take_complete(self, context: Context, event: Any, record: Any = None, request: Any = None) -> dict[str, Any]:
        """Land the take that the triggerer has waited for, and ask again.

        :param event: the trigger's event; see :class:`~airflow_provider_apimart.triggers.veo.VeoGenerationTrigger`.
        :param record: the take's record when the deferral began; ``None`` if Airflow dropped it.
        :param request: its request then; ``None`` if Airflow dropped it.
        """
        with self._resumed():
            store, case, _ = self._case(context)
            if case.decision is not None:
                return self._decided(context, case)
            if case.pending is None:
                return self._ask(context, store, case)
            return self._take(context, store, case, lambda order: order.complete(event, record), request)

    # --- the case -------------------------------------------------------------------------------------------------

    def _case(self, context: Context) -> tuple[KeptStore[Case], Case, bool]:
        """Return the case of this task instance, a new one if there is none, and keep it; and whether the last question
        was about these videos: an answer to any other decides nothing.
        """
        first = self._candidates()
        identity = identity_of(context)
        store = case_store(context, file_of(first[0].path, "video"), identity)
        known = store.load()
        case = known if known is not None and known.is_about(first) else None
        asked = case is not None
        if case is None:
            case = Case(epoch=identity.clear_epoch, candidates=first)
        elif case.epoch < identity.clear_epoch:
            # Cleared: ask anew. What was paid for stays to choose from, or to go on with.
            case = case.but(epoch=identity.clear_epoch, decision=None, chosen=None, note="")
        if case != known:
            store.save(case)
        return store, case, asked

    def _candidates(self) -> tuple[Candidate, ...]:
        cost = values.cost_of(self.video)
        sources = enumerate(resolve_all(self.video, self.sample), start=1)
        return tuple(candidate_of(source, number, cost) for number, source in sources)

    # --- to ask ---------------------------------------------------------------------------------------------------

    def _ask(self, context: Context, store: KeptStore[Case], case: Case) -> NoReturn:
        """Put the question, and wait. Airflow resumes in :meth:`execute_complete`."""
        about = beside_each(case.candidates)
        # What is shown now is what a decision is about.
        case = case.but(candidates=tuple(map(with_poster, case.candidates, about)))
        store.save(case)
        own = pages.place_of(context["ti"])
        shown = list(map(values.shown, about))
        terms = self._terms(about[0])
        self.note = case.note
        newest = case.newest[0].number
        self._show_poster(about[newest - 1], own, newest)
        self._tell(context, case, "asked", about[0].prompt)
        self._put(
            context,
            options=[APPROVE, REJECT] if terms.max_takes == 1 else [APPROVE, REJECT, ANOTHER_TAKE],
            subject=form.subject_of(case, shown[0]),
            body=form.body_of(case, shown, own, terms, self.body or "", self._deadline),
            fields=form.fields_of(case, self._texts, terms),
        )

    def _terms(self, first: Beside) -> form.Terms:
        limit = arguments.money_of(self.max_cost_usd)
        price = ""
        if self._most > 1:
            try:
                found = estimate(request_of(self._request_known(first), 2))
                price = f"{found.usd:g} USD" if found is not None else ""
            except ApimartError as error:
                self.log.warning("Another take would be refused: %s", error)
        return form.Terms(self._most, None if limit is None else float(limit), price)

    # --- another take ---------------------------------------------------------------------------------------------

    def _another(self, context: Context, store: KeptStore[Case], case: Case, answer: Answer) -> dict[str, Any]:
        try:
            # Also checks that its request is known.
            order = self._order(context, case, case.takes + 1)
            order.check_number()
            pending = Pending(take=order.take, by=answer.by, at=answer.at, request=kept(order.request))
        except ApimartError as error:
            return self._ask(context, store, case.but(note=str(error)))
        # Noted before it is paid for: from here on the next try goes on with the take, and asks nobody.
        case = case.but(pending=pending, note="")
        store.save(case)
        who = answer.by or "somebody"
        self.log.info("%s asks for another take: number %d of at most %d.", who, order.take, self._most)
        return self._take(context, store, case)

    def _order(self, context: Context, case: Case, take: int, request: VeoRequest | None = None) -> Order:
        first = case.first[0]
        video = file_of(first.path, "video")
        about = beside(video, first.sha256)
        output = video.sibling("") if self.output_path is None else target_of(self.output_path)
        identity = take_identity(identity_of(context), take, first.sha256)
        store = take_store(context, output, identity)
        return Order(
            take=take,
            request=request or request_of(self._request_known(about), take),
            identity=identity,
            output=output,
            store=store,
            apimart_conn_id=self.apimart_conn_id,
            spent=spent_of(case.candidates),
            most=self._most,
            limit=arguments.money_of(self.max_cost_usd),
            timeout_seconds=arguments.seconds_of(self.timeout) or DEFAULT_TIMEOUT.total_seconds(),
            poll_seconds=arguments.seconds_of(self.poll_interval),
            labels=about.labels,
            try_number=getattr(context["ti"], "try_number", None),
            spending=spending_of(self.budget, identity, store),
        )

    def _request_known(self, first: Beside) -> dict[str, Any] | None:
        given = arguments.object_of(self.veo)
        return dict(given) if given else first.request

    def _take(
        self, context: Context, store: KeptStore[Case], case: Case, carry_out: Any = None, request: Any = None
    ) -> dict[str, Any]:
        """Pay for the pending take, or go on with it, and ask again."""
        if case.pending is None:
            raise AssertionError("no take was asked for")
        take = case.pending.take
        # As it was when the take was asked for: another one would be another generation, and paid for beside it.
        request = case.pending.request or request
        self._pass_over(context, case, case.pending)
        order: Order | None = None
        try:
            order = self._order(context, case, take, VeoRequest.checked(request) if request else None)
            current = order

            def defer(record: Record) -> NoReturn:
                self._tell(context, case, "take_under_way", str(current.request.prompt))
                self.defer(method_name="take_complete", **current.deferral(record))

            record = carry_out(order) if carry_out else order.obtain(defer)
        except ApimartError as error:
            text = report.explain(error, None if order is None else order.known())
            if not is_for_good(error):
                error.explained = text
                raise
            note = str(error) if isinstance(error, TakeRefusedError) else f"take {take} came to nothing. {text}"
            return self._ask(context, store, case.but(pending=None, note=note))
        case = case.with_take(order.candidates(record, len(case.candidates) + 1))
        store.save(case)
        return self._ask(context, store, case)

    # --- to decide ------------------------------------------------------------------------------------------------

    def _pass_over(self, context: Context, case: Case, pending: Pending) -> None:
        """Write beside the videos so far that they are not the ones, until somebody approves one of them."""
        for candidate in case.candidates:
            decision = self._said(context, Verdict.ANOTHER_TAKE, candidate, pending.by, pending.at)
            record_decision(file_of(candidate.path, "video"), decision)

    def _decide(self, context: Context, store: KeptStore[Case], case: Case, answer: Answer) -> dict[str, Any]:
        verdict = {"approve": Verdict.APPROVED, "reject": Verdict.REJECTED}.get(answer.choice, Verdict.TIMEOUT)
        about = answer.candidate or case.newest[0]
        changes = {name: text for name, text in answer.texts.items() if text != self._texts.get(name)}
        decision = self._said(context, verdict, about, answer.by, answer.at, changes=changes, reason=answer.reason)
        case = case.but(decision=decision, chosen=about.number if verdict is Verdict.APPROVED else None, note="")
        store.save(case)
        return self._decided(context, case)

    def _decided(self, context: Context, case: Case) -> dict[str, Any]:
        """Write the decision beside the videos, tell it, and end the task as it says. Repeatable."""
        if case.decision is None:
            raise AssertionError("nothing is decided yet")
        # What must not be published first: a crash after the first line then leaves less open.
        for candidate in sorted(case.candidates, key=lambda one: one.number == case.chosen):
            record_decision(file_of(candidate.path, "video"), case.said_about(candidate))
        self._tell(context, case, "decided")
        self.log.info("%s: %s.", case.candidates[0].path, case.decision)
        if case.decision.decision is Verdict.APPROVED:
            return values.result_of(case, case.decision, self._texts)
        self._not_published(case.decision, "The video is not", (candidate.path for candidate in case.candidates))

    def _tell(self, context: Context, case: Case, state: str, prompt: str = "") -> None:
        """Tell in an XCom how it stands, for our pages and for tasks that ask."""
        context["ti"].xcom_push(key=XCOM_KEY, value=values.standing(case, state, self._most, prompt))
