"""A short crash run: each kind of kill once and some faults, over a dozen generations. `make crash` is the long one."""

from __future__ import annotations

import pytest

from dev.crash import BAG, Plan, Report, crash

RUNS, TASKS = 2, 6
SHORT_BAG = {**dict.fromkeys(BAG, 1), "runner": 2, "fault": 4}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What a crash run of a minute or two has come to."""
    plan = Plan(runs=RUNS, active=RUNS, seed=20261107, pause=(0.5, 3.0), bag=SHORT_BAG, bags=1)
    done = crash(tmp_path_factory.mktemp("crash"), plan, say=print)
    print(done.text())
    return done


def test_every_kind_of_kill_happened(report: Report) -> None:
    kills = {name.removeprefix("kill -9 ") for name in report.events if name.startswith("kill")}
    assert kills == set(BAG) - {"fault"}
    assert any(name.startswith("fault") for name in report.events)
    assert report.audit.tries > report.audit.asked


def test_all_is_paid_for_once_and_whole(report: Report) -> None:
    found = report.audit
    assert found.problems == []
    assert (found.asked, found.paid, found.landed) == (RUNS * TASKS,) * 3
    assert found.bill_usd == pytest.approx(found.expected_usd)
    assert found.expected_usd > 0
