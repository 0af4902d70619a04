"""Every operator can be mapped: ``.partial()`` leaves Airflow's own defaults as they are."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_apimart import get_provider_info

#: What ``BaseOperator`` gives a task that sets none of these.
COMMON = ("inlets", "outlets", "retries", "retry_delay", "queue", "trigger_rule", "executor_config", "owner")


def all_operators() -> Iterator[type[BaseOperator]]:
    """Yield every operator and sensor that the provider offers, and those behind its decorators."""
    info = get_provider_info()
    modules = [name for kind in ("operators", "sensors") for each in info[kind] for name in each["python-modules"]]
    decorators = [each["class-name"].rpartition(".")[0] for each in info["task-decorators"]]
    for name in dict.fromkeys((*modules, *decorators)):
        module = importlib.import_module(name)
        # Some modules load their operators when they are asked for.
        members = [getattr(module, member) for member in getattr(module, "__all__", dir(module))]
        ours = [each for each in members if isinstance(each, type) and issubclass(each, BaseOperator)]
        yield from (each for each in ours if each.__module__.startswith("airflow_provider_apimart."))


OPERATORS = list(dict.fromkeys(all_operators()))


def test_the_operators_are_found() -> None:
    assert {each.__name__ for each in OPERATORS} > {
        "VeoGenerateOperator",
        "VeoRemixOperator",
        "VeoDecoratedOperator",
        "VeoGenerateBatchOperator",
        "YouTubePublishOperator",
    }


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.__name__)
def test_mapping_keeps_airflows_defaults(operator: type[BaseOperator]) -> None:
    with DAG("mapped", schedule=None):
        mapped = operator.partial(task_id="task").expand_kwargs([{}])
    with DAG("plain", schedule=None):
        plain = BaseOperator(task_id="task")
    for name in COMMON:
        assert getattr(mapped, name) == getattr(plain, name), name
