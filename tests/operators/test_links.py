"""Airflow stores each link of a task at the end of each part: only those that lead somewhere are left to it."""

from __future__ import annotations

import pytest

from airflow_provider_apimart._compat import BaseOperatorLink
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.links.veo import only_useful
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries


class OwnLink(BaseOperatorLink):
    """Somebody else's, in a subclass."""

    name = "own"

    def get_link(self, operator: object, *, ti_key: object) -> str:
        return ""


class WithLink(VeoGenerateOperator):
    operator_extra_links = (*VeoGenerateOperator.operator_extra_links, OwnLink())


def names(operator: VeoGenerateOperator) -> list[str]:
    return [link.name for link in operator.operator_extra_links]


def test_before_it_runs_a_task_has_all_links() -> None:
    assert names(VeoGenerateOperator(task_id="make", prompt="a cat")) == ["Video", "APIMart help"]


def test_a_finished_one_links_its_video_and_a_failed_one_the_help(apimart_emulator_conn: Emulator) -> None:
    good = VeoGenerateOperator(task_id="good", prompt="a cat", duration=4, deferrable=False)
    good.execute(Tries().next(good))
    assert names(good) == ["Video"]
    bad = VeoGenerateOperator(task_id="bad", prompt="a cat", duration=4, deferrable=False)
    with pytest.raises(ZeroDivisionError), only_useful(bad):
        bad.help_url = "https://docs.apimart.ai/"
        raise ZeroDivisionError
    assert names(bad) == ["APIMart help"]


def test_links_of_others_stay() -> None:
    operator = WithLink(task_id="make", prompt="a cat")
    with only_useful(operator):
        pass
    assert names(operator) == ["own"]
    assert [link.name for link in type(operator).operator_extra_links] == ["Video", "APIMart help", "own"]
