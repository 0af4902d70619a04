"""Renders as templates only what the DAG's author wrote, never data.

Airflow renders every text that it finds in a template field. It does not render values that ``expand()`` took from
another task, but it does render those that ``expand_kwargs()`` took. A table's cell ``{{ conn.warehouse.password }}``
would become that password, be sent to APIMart and be kept in the sidecar. Literal braces, as in a JSON prompt, would be
rendered too. Here all data arrives unchanged:

- what ``expand()`` and ``expand_kwargs()`` take from another task, in the operators and in ``@task.veo``;
- what another task's output, a mapped task group's argument or a DAG param resolves to (Airflow does this by itself);
- the rows of a table that was read while the DAG was parsed (:mod:`~airflow_provider_apimart.hooks.rows.verbatim`);
- an argument that is a table of its own (``requests=``).

Three more rules hold. In a DAG with ``render_template_as_native_obj`` text stays text: only an argument that takes an
object (``extra_body``) may become one, and the values within it keep their types. In the batch only the query
(``sql=``) may name a template file. And an argument that renders to nothing counts as not given.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment, native_concat

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.hooks.rows.verbatim import Verbatim
from airflow_provider_apimart.operators import arguments


class AuthorTemplates:
    """A mixin that renders only what the author wrote. An operator lists it before Airflow's own base class."""

    #: Arguments that take objects. A template may give such an object if the DAG renders native objects.
    object_fields: ClassVar[Collection[str]] = ()
    #: Arguments whose texts are data, even if the DAG file holds them. Other tasks' outputs in them are resolved.
    data_fields: ClassVar[Collection[str]] = ()
    #: Arguments that may name a template file (``template_ext``); ``None`` for all, as elsewhere in Airflow.
    file_fields: ClassVar[Collection[str] | None] = None
    #: Arguments that must not be blank: these do not fall back to their default when they render to nothing.
    needed_fields: ClassVar[Collection[str]] = ("model", "output_path", "apimart_conn_id")

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        base: Any = super()
        if parent is not self:
            # A decorated function's argument may be an object that has template fields of its own.
            base._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
            return
        text_env, defaults = _text_env(self, jinja_env), _defaults(type(self))
        seen = seen_oids | _mapped_data(self, context, defaults)
        extensions = self.template_ext
        try:
            for name in template_fields:
                value = getattr(self, name)
                if name in self.data_fields and not isinstance(value, str):
                    setattr(self, name, _resolved(value, context))
                    continue
                self.template_ext = extensions if self.file_fields is None or name in self.file_fields else ()
                env = jinja_env if name in self.object_fields else text_env
                base._do_render_template_fields(self, (name,), context, env, seen)
                found = getattr(self, name)
                if found is value:
                    # Airflow before 3.3 keeps the template if it renders to nothing (blank text, None, 0, False).
                    found = self.render_template(value, context, env, seen)
                if isinstance(env, NativeEnvironment) and isinstance(value, str) and isinstance(found, str):
                    # The text of an object: "{'a': {{ params.n }}}".
                    found = native_concat([found])
                if name not in self.needed_fields and arguments.is_unset(found):
                    found = defaults.get(name, found)
                setattr(self, name, found)
        finally:
            self.template_ext = extensions

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, seen_oids: Any = None) -> Any:
        """Render ``content`` if it is a template. Text without markup is not evaluated as Python either."""
        if isinstance(content, Verbatim):
            return str(content)
        if (
            isinstance(content, str)
            and isinstance(jinja_env, NativeEnvironment)
            and not _has_markup(jinja_env, content)
        ):
            return content
        if isinstance(content, os.PathLike) and not isinstance(content, ObjectStoragePath):
            # Airflow 3.1 mistakes a path's resolve() for that of another task's output.
            return content
        base: Any = super()
        return base.render_template(content, context, jinja_env, seen_oids)

    def _render(self, template: Any, context: Any, dag: Any = None) -> Any:
        if not isinstance(template.environment, NativeEnvironment):
            return template.render(context)
        # Airflow would evaluate the rendered text as Python once more, and turn "1_000" into a number.
        found = list(template.root_render_func(template.new_context(dict(context))))
        return found[0] if len(found) == 1 else "".join(map(str, found))


def _mapped_data(task: Any, context: Any, defaults: Mapping[str, Any]) -> set[int]:
    """Return the ids of the values that ``expand_kwargs()`` took from another task.

    :param defaults: of the operator's own arguments.
    """
    dag = task.get_dag()
    mapped = dag.task_dict.get(task.task_id) if dag else None
    if mapped is None or mapped is task or not hasattr(mapped, "partial_kwargs"):
        return set()
    expand_input = mapped._get_specified_expand_input()
    if getattr(expand_input, "EXPAND_INPUT_TYPE", None) != "list-of-dicts":
        return set()
    rows = expand_input.value
    if isinstance(rows, Sequence) and isinstance(rows[context["ti"].map_index], Mapping):
        # Written in the DAG file, like partial()'s arguments.
        return set()
    # An operator keeps the very objects that it is given. So an object that is not from the DAG file came with the row.
    group = mapped.task_group
    places = (mapped.partial_kwargs, group and group.default_args, dag.default_args, defaults)
    written = {id(value) for arguments in places for value in _with_function_arguments(arguments or {})}
    given = {name: getattr(task, name) for name in task.template_fields}
    return {id(value) for value in _with_function_arguments(given)} - written


def _with_function_arguments(arguments: Mapping[str, Any]) -> Iterable[Any]:
    for name, value in arguments.items():
        if name == "op_kwargs" and isinstance(value, Mapping):
            # A decorated function's arguments are mapped one by one.
            yield from value.values()
        else:
            yield value


def _defaults(cls: type) -> dict[str, Any]:
    """Return the defaults of an operator's arguments. A subclass's defaults override those of its base."""
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__):
        if "__init__" in vars(each):
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            found.update({one.name: one.default for one in parameters if one.default is not one.empty})
    return found


def _text_env(task: Any, jinja_env: Environment) -> Environment:
    if not isinstance(jinja_env, NativeEnvironment):
        return jinja_env
    env: Environment = task.get_dag().get_template_env(force_sandboxed=True)
    return env


def _has_markup(env: Environment, text: str) -> bool:
    if env.line_statement_prefix or env.line_comment_prefix:
        return True
    return any(start in text for start in (env.variable_start_string, env.block_start_string, env.comment_start_string))


def _resolved(value: Any, context: Any) -> Any:
    """Replace other tasks' outputs by their values, and leave everything else unchanged."""
    if isinstance(value, Mapping):
        return {key: _resolved(item, context) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolved(item, context) for item in value]
    resolve = getattr(value, "resolve", None) if hasattr(value, "iter_references") else None
    return value if resolve is None else resolve(context)
