"""Airflow on two nodes with Celery loses one of them with its disk: all is paid for once and landed whole.

`make cluster` loses a scheduler, the broker and the database as well.
"""

from __future__ import annotations

import pytest

from dev.cluster.programs import why_no_cluster
from dev.crash_audit import Report

pytestmark = [pytest.mark.cluster]
ROWS, TASKS = 6, 6


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[tuple[int, int]]]:
    """What a run of a minute or two has come to."""
    if (why := why_no_cluster()) is not None:
        pytest.skip(why)
    from dev.cluster.run import ClusterPlan, run_cluster

    plan = ClusterPlan(losses=("node",), seed=20261127, rows=ROWS, marketing=False)
    report, lost = run_cluster(tmp_path_factory.mktemp("cluster"), plan, say=print)
    print(report.text())
    return report, lost


def test_the_lost_node_had_work(done: tuple[Report, list[tuple[int, int]]]) -> None:
    report, lost = done
    assert report.events == {"node": 1}
    # (On a busy machine a task's part can end between the look and the kill, so its tries say nothing.)
    ((running, waits),) = lost
    assert running > 0
    assert waits > 0


def test_all_is_paid_for_once_and_whole(done: tuple[Report, list[tuple[int, int]]]) -> None:
    found = done[0].audit
    assert found.problems == []
    assert (found.asked, found.paid, found.landed) == (TASKS + ROWS,) * 3
    assert found.bill_usd == pytest.approx(found.expected_usd)
    assert found.expected_usd > 0
