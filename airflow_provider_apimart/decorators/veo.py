"""``@task.veo``: a function writes the prompt, and the task is a :class:`~.operators.veo.VeoGenerateOperator`.

The function runs on the worker, before anything is paid. Its result is kept across the deferral and, on Airflow 3.3
(task state store), for retries, too: a function that would return something else the second time (a language model, a
clock) does not pay twice. A clear calls it again.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.request import VeoRequest, path_text
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.task import identity_of
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

STATE_KEY = "apimart_veo_asked"
#: The task state store takes 64 KB per value; a retry computes a longer prompt again.
MAX_KEPT_BYTES = 60_000


class VeoDecoratedOperator(DecoratedOperator, VeoGenerateOperator):
    """Generates what a function returns: text is the prompt, a dict the request's parameters (which go before those of
    the decorator), a :class:`~.client.request.VeoRequest` both.

    :param python_callable: the function.
    :param op_args: its arguments (templated).
    :param op_kwargs: its named arguments (templated).
    """

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *VeoGenerateOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **VeoGenerateOperator.template_fields_renderers,
    }
    # A function's arguments are Airflow's concern, and are objects if the DAG renders native objects.
    object_fields = (*DecoratedOperator.template_fields, *VeoGenerateOperator.object_fields)
    custom_operator_name = "@task.veo"
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            prompt=SET_DURING_EXECUTION,
            **kwargs,
        )
        if inspect.iscoroutinefunction(python_callable):
            allowed = "allowed: a function that returns a prompt or a request; this one is async"
            arguments.refuse(
                arguments.owner_of(self), [FieldProblem("python_callable", python_callable.__name__, allowed)]
            )

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function, then generate what it asks for."""
        self._set(self._asked(context))
        return VeoGenerateOperator.execute(self, context)

    def execute_after_reset(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Ask the budget again, with what the function returns, as a retry does."""
        self._set(self._asked(context))
        return super().execute_after_reset(context, event)

    def execute_complete(
        self,
        context: Context,
        event: Any,
        record: Any = None,
        request: Any = None,
        labels: Any = None,
        fallback_model: Any = None,
    ) -> dict[str, Any]:
        """Land what was paid for. The function is not called again, unless Airflow dropped the deferral's kwargs
        (``dags test`` does) and no store has its result; either way nothing is paid for here.
        """
        self._set(self._asked(context) if request is None else request)
        return super().execute_complete(context, event, record, request, labels, fallback_model)

    def _asked(self, context: Context) -> dict[str, Any]:
        store: Any = context.get("task_state_store")
        epoch = identity_of(context).clear_epoch
        kept = store.get(STATE_KEY) if store is not None else None
        if isinstance(kept, Mapping) and kept.get("epoch") == epoch and isinstance(kept.get("asked"), Mapping):
            self.log.info("An earlier try has called the function; continuing with its result.")
            return dict(kept["asked"])
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        asked = self._read(self.python_callable(*self.op_args, **kwargs))
        # Checked before it is kept, so that a retry computes a refused result anew.
        problems = VeoRequest.problems({**self._request_values(), **asked})
        arguments.refuse(arguments.owner_of(self), problems)
        if store is not None:
            self._keep(store, {"epoch": epoch, "asked": asked})
        return asked

    def _keep(self, store: Any, value: Mapping[str, Any]) -> None:
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        if len(json.dumps(value)) <= MAX_KEPT_BYTES:
            store.set(STATE_KEY, value, retention=NEVER_EXPIRE)
        else:
            self.log.info("The request is too long to be kept for retries; a retry will call the function again.")

    def _read(self, returned: Any) -> dict[str, Any]:
        if isinstance(returned, VeoRequest):
            return returned.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        if isinstance(returned, Mapping):
            unknown = [name for name in returned if name not in VeoRequest.FIELDS]
            allowed = f"no such parameter; allowed: {', '.join(VeoRequest.FIELDS)}"
            arguments.refuse(
                arguments.owner_of(self), [FieldProblem(str(name), returned[name], allowed) for name in unknown]
            )
            # Kept for a retry as JSON, which has no paths.
            return {"prompt": None, **{name: path_text(value) for name, value in returned.items()}}
        return {"prompt": returned}

    def _set(self, asked: Mapping[str, Any]) -> None:
        for name, value in asked.items():
            setattr(self, name, value)


def veo_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """Make a task that generates what the function returns.

    :param python_callable: the function; returns a prompt (text), or parameters (dict or ``VeoRequest``).
    :param multiple_outputs: also push each key of the task's result (``generation_id``, ``videos``, ...) as its own
        XCom. Elsewhere Airflow infers this from the function's annotation; here the annotation describes the request.
    :param kwargs: the arguments of :class:`~airflow_provider_apimart.operators.veo.VeoGenerateOperator`, except
        ``prompt``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=bool(multiple_outputs),
        decorated_operator_class=VeoDecoratedOperator,
        **kwargs,
    )
