"""``storyboard()``: shots that continue one another, each paid for once, and the video that they are joined to.

What keeps the money: no shot begins before the plan has approved all of them, and a shot that is to continue another
is never submitted without that one's last frame.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import TaskGroup, XComArg

from airflow_provider_apimart._compat import BaseOperator
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.media.frame_orders import Format
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.budget import budget_problems
from airflow_provider_apimart.operators.media.base import folder_problems
from airflow_provider_apimart.operators.media.frame import VideoFrameOperator
from airflow_provider_apimart.operators.media.join import VideoJoinOperator
from airflow_provider_apimart.operators.media.shots import continues, shot_problems, shots_of, shots_problems
from airflow_provider_apimart.operators.media.storyboard_plan import StoryboardPlanOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

#: What the plan takes of the arguments that all shots have.
OF_THE_PLAN = ("apimart_conn_id", "budget", "fallback_model", "rules")
#: A shot whose plan was refused, or whose frame is missing, is not to run, whatever the DAG's default_args say.
ALL_WELL = "all_success"


class Storyboard(TaskGroup):
    """The task group of a storyboard.

    ``output`` is what the task ``join`` returns, for ``video=`` of other operators; ``shots`` are the tasks that
    generate.
    """

    output: XComArg
    shots: tuple[VeoGenerateOperator, ...]


def storyboard(
    shots: Sequence[Mapping[str, Any] | Any],
    *,
    output_path: Any,
    group_id: str = "storyboard",
    max_cost_usd: float | str | None = None,
    join: Mapping[str, Any] | None = None,
    default_args: Mapping[str, Any] | None = None,
    **common: Any,
) -> Storyboard:
    """Generate shots of which each continues from the last frame of the one before, and join them.

    The tasks of the group are ``plan``, which checks all shots and what they cost before the first one is paid for;
    ``shot_1``, ``shot_2``, …; ``frame_1``, …, which store the last frames; and ``join``. Every shot is paid for once,
    whatever crashes: it is a :class:`~airflow_provider_apimart.operators.veo.VeoGenerateOperator`. Within a mapped task
    group there is one storyboard for each row of a table. The workers need the extra ``media``.

    A shot that has a ``first_frame_image`` of its own begins with that one, and waits for no other shot.

    :param shots: the parameters of each shot's request, as ``VeoGenerateOperator`` takes them, without
        ``sample_count``; anything but a dict is a prompt. How many there are has to be known while the DAG is parsed;
        each value may be a template, another task's output or a mapped task group's argument.
    :param output_path: a folder for the shots, the frames and the joined video: a local path or any
        ``ObjectStoragePath``, with ``/`` at the end.
    :param group_id: the name of the task group.
    :param max_cost_usd: refuse the whole if its shots together cost more, before the first one is paid for.
    :param join: further arguments of :class:`~airflow_provider_apimart.operators.media.VideoJoinOperator`, such as
        ``{"transition": "fade"}``.
    :param default_args: of all tasks in the group, as in a ``TaskGroup``.
    :param common: parameters of every shot that does not set them itself (``model``, ``resolution``, …), and further
        arguments of its operator (``apimart_conn_id``, ``fallback_model``, ``deferrable``, ``timeout``, …). A
        ``budget`` has to have room for all shots before the first one is paid for. Airflow's own (``retries``,
        ``pool``, …) hold for all tasks in the group; ``trigger_rule`` is that of the task ``plan``.
    :raises InvalidVeoArgument: with everything that is wrong with all shots.
    """
    request = {name: common.pop(name) for name in VeoRequest.FIELDS if name in common}
    rule = {"trigger_rule": common.pop("trigger_rule")} if "trigger_rule" in common else {}
    own = {name: common.pop(name) for name in _airflow_arguments() if name in common}
    owner = f"storyboard {group_id!r}"
    arguments.refuse(owner, shots_problems(shots))
    given = shots_of(shots, request)
    group = Storyboard(group_id=group_id, default_args={**(default_args or {}), **own})  # type: ignore[arg-type]
    problems = _problems(group.dag, given, common.get("fallback_model"), max_cost_usd, output_path)
    arguments.refuse(owner, [*problems, *budget_problems("budget", common.get("budget"))])
    with group:
        of_the_plan = {name: common[name] for name in OF_THE_PLAN if name in common}
        plan = StoryboardPlanOperator(task_id="plan", shots=given, max_cost_usd=max_cost_usd, **of_the_plan, **rule)
        group.shots = _shot_tasks(plan, given, {"output_path": output_path, **common})
        videos = [task.output for task in group.shots]
        joined = VideoJoinOperator(**{"task_id": "join", "trigger_rule": ALL_WELL, "videos": videos, **(join or {})})
    group.output = joined.output
    return group


def _shot_tasks(
    plan: StoryboardPlanOperator, given: Sequence[Mapping[str, Any]], common: Mapping[str, Any]
) -> tuple[VeoGenerateOperator, ...]:
    made: list[VeoGenerateOperator] = []
    for number, shot in enumerate(given, start=1):
        values: dict[str, Any] = {"task_id": f"shot_{number}", "trigger_rule": ALL_WELL, **common, **shot}
        if continues(number, shot):
            frame = VideoFrameOperator(
                task_id=f"frame_{number - 1}",
                trigger_rule=ALL_WELL,
                video=made[-1].output,
                frame="last",
                picture_format=_picture_format(given[number - 2]),
                multiple_outputs=True,
            )
            values["first_frame_image"] = XComArg(frame, key="path")
            task: VeoGenerateOperator = ContinuedShotOperator(**values)
        else:
            task = VeoGenerateOperator(**values)
        plan >> task
        made.append(task)
    return tuple(made)


class ContinuedShotOperator(VeoGenerateOperator):
    """Generates a shot that begins with another one's last frame, and never one without."""

    custom_operator_name = "VeoGenerateOperator"

    def _checked_request(self) -> VeoRequest:
        if arguments.is_unset(self.first_frame_image):
            allowed = "the last frame of the shot before is needed, and its task has not returned one"
            arguments.refuse(
                arguments.owner_of(self), [FieldProblem("first_frame_image", self.first_frame_image, allowed)]
            )
        return super()._checked_request()


def _problems(
    dag: Any,
    given: Sequence[Mapping[str, Any]],
    fallback_model: Any,
    max_cost_usd: Any,
    output_path: Any,
) -> list[FieldProblem]:
    """Return what is wrong with what is known while the DAG is parsed."""
    marks = arguments.marks_in(dag)

    def is_late(value: Any) -> bool:
        return arguments.is_template(value, marks)

    problems: list[FieldProblem] = []
    fallback = None if is_late(fallback_model) else fallback_model
    for number, values in enumerate(given, start=1):
        problems += shot_problems(number, values, fallback, [name for name in values if is_late(values[name])])
    if not is_late(max_cost_usd):
        problems += arguments.money_problems("max_cost_usd", max_cost_usd)
    if arguments.is_unset(output_path):
        problems.append(FieldProblem("output_path", output_path, "a folder is needed, such as /data/films/"))
    elif not is_late(output_path):
        problems += folder_problems("output_path", output_path)
    return problems


def _picture_format(shot: Mapping[str, Any]) -> Format:
    """Return the format of a shot's last frame: at 4K a PNG would be larger than what APIMart takes."""
    resolution = shot.get("resolution")
    small = resolution is None or (isinstance(resolution, str) and resolution.lower() in ("720p", "1080p"))
    return "png" if small else "jpeg"


def _airflow_arguments() -> frozenset[str]:
    """Return the names of the arguments that all of Airflow's operators have."""
    names = inspect.signature(BaseOperator.__init__).parameters
    not_shared = {"self", "kwargs", "task_id", "task_group", "dag", "default_args", "params", "multiple_outputs"}
    return frozenset(names) - not_shared
