"""Storyboards: each shot continues from the last frame of the one before, and all are known before the first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from airflow.sdk import DAG, task

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.budget import Budget
from airflow_provider_apimart.operators.media import storyboard
from airflow_provider_apimart.operators.publish.webhook import WebhookPublishOperator
from tests.operators.films import Run, film, in_order

pytestmark = pytest.mark.usefixtures("no_waiting")
SHOTS = [{"prompt": "a ship leaves", "duration": 4}, {"prompt": "the open sea", "duration": 4}]


def names(group: Any) -> list[str]:
    return [each.task_id.partition(".")[2] for each in in_order(group)]


def upstream(group: Any, name: str) -> set[str]:
    return {each.partition(".")[2] for each in group.children[f"{group.group_id}.{name}"].upstream_task_ids}


# --- what is made -----------------------------------------------------------------------------------------------------


def test_each_shot_begins_with_the_last_frame_of_the_one_before(emulator: Emulator, tmp_path: Path) -> None:
    run = Run(film([*SHOTS, {"prompt": "land", "duration": 4}], tmp_path))
    result = run.run_all()
    made = emulator.state()["generations"]
    assert [each["prompt"] for each in made] == ["a ship leaves", "the open sea", "land"]
    bodies = [each["body"] for each in emulator.requests("submit")]
    assert "first_frame_image" not in bodies[0]
    for number, body in enumerate(bodies[1:], start=1):
        frame = run.xcoms[f"storyboard.frame_{number}"]
        assert (frame["kind"], frame["width"], frame["height"]) == ("last_frame", 1280, 720)
        assert hashlib.sha256(Path(frame["path"]).read_bytes()).hexdigest() == frame["sha256"]
        assert uploaded(body["first_frame_image"]) == Path(frame["path"]).read_bytes()
    assert result["duration_seconds"] == pytest.approx(12, abs=0.05)
    with av.open(result["path"]) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3 * 4 * 24
    # Another task takes it as a video.
    WebhookPublishOperator(task_id="post", video=result)


def uploaded(url: str) -> bytes:
    """Return the bytes of an upload, as APIMart's models would fetch them."""
    response = httpx.get(url, trust_env=False)
    assert response.status_code == 200
    return response.content


def test_the_tasks_and_what_they_wait_for(tmp_path: Path) -> None:
    group = film([*SHOTS, "land"], tmp_path)
    assert names(group)[0] == "plan" and names(group)[-1] == "join"
    assert upstream(group, "shot_1") == {"plan"}
    assert upstream(group, "frame_1") == {"shot_1"}
    assert upstream(group, "shot_2") == {"plan", "frame_1"}
    assert upstream(group, "join") == {"shot_1", "shot_2", "shot_3"}
    assert [each.prompt for each in group.shots] == ["a ship leaves", "the open sea", "land"]


def test_a_shot_with_a_picture_of_its_own_waits_for_no_other(tmp_path: Path) -> None:
    group = film(["one", {"prompt": "two", "first_frame_image": "https://shop.test/two.png"}, "three"], tmp_path)
    assert upstream(group, "shot_2") == {"plan"} and "storyboard.frame_1" not in group.children
    assert upstream(group, "shot_3") == {"plan", "frame_2"}
    # One that all have is the picture that the first shot begins with.
    group = film(["one", "two"], tmp_path, first_frame_image="https://shop.test/one.png")
    assert group.shots[0].first_frame_image == "https://shop.test/one.png"
    assert upstream(group, "shot_2") == {"plan", "frame_1"}


def test_arguments_of_all_and_of_airflow(tmp_path: Path) -> None:
    group = film(
        [{"prompt": "one", "resolution": "4K"}, "two"],
        tmp_path,
        group_id="film",
        resolution="1080p",
        labels={"campaign": "summer"},
        retries=7,
        trigger_rule="none_failed",
        default_args={"owner": "marketing"},
        join={"transition": "fade"},
    )
    assert {(each.retries, each.owner) for each in group.children.values()} == {(7, "marketing")}
    assert [(each.resolution, each.labels) for each in group.shots] == [
        ("4K", {"campaign": "summer"}),
        ("1080p", {"campaign": "summer"}),
    ]
    rules = {name.partition(".")[2]: each.trigger_rule.value for name, each in group.children.items()}
    assert rules.pop("plan") == "none_failed" and set(rules.values()) == {"all_success"}
    assert group.children["film.join"].transition == "fade"
    # At 4K a PNG is larger than what some models take.
    assert group.children["film.frame_1"].picture_format == "jpeg"


def test_a_refused_plan_cannot_be_run_past_by_a_trigger_rule(tmp_path: Path) -> None:
    with DAG("films", schedule=None, default_args={"trigger_rule": "all_done"}):
        group = storyboard(SHOTS, output_path=f"{tmp_path}/")
    assert {each.trigger_rule.value for each in group.shots} == {"all_success"}


# --- money ------------------------------------------------------------------------------------------------------------


def test_the_cost_of_all_is_known_before_the_first(emulator: Emulator, tmp_path: Path) -> None:
    run = Run(film(SHOTS, tmp_path, max_cost_usd="1.5", resolution="720p"))
    plan = run.run("plan")
    costs = [shot["cost_usd"] for shot in plan["shots"]]
    assert len(costs) == 2 and plan["cost_usd"] == pytest.approx(sum(costs)) and plan["source"]
    assert [shot["model"] for shot in plan["shots"]] == ["veo3.1-fast-official"] * 2
    run.run_all()
    assert sum(each["charged_usd"] for each in emulator.state()["generations"]) == pytest.approx(plan["cost_usd"])


def test_too_dear_together_is_refused_before_anything_is_paid(emulator: Emulator, tmp_path: Path) -> None:
    one = Run(film(SHOTS, tmp_path)).run("plan")["shots"][0]["cost_usd"]
    # Each shot by itself would be allowed.
    run = Run(film(SHOTS, tmp_path, max_cost_usd=one * 1.5))
    with pytest.raises(InvalidVeoArgument, match=r"the 2 shots together cost about .* No shot is submitted"):
        run.run("plan")
    assert emulator.requests("submit") == [] and emulator.requests("upload") == []


@pytest.mark.parametrize("in_default_args", [True, False])
def test_the_plan_compares_all_shots_with_what_a_budget_has_left(
    emulator: Emulator, tmp_path: Path, in_default_args: bool
) -> None:
    one = Run(film(SHOTS, tmp_path)).run("plan")["shots"][0]["cost_usd"]

    def run(shots: float) -> Run:
        budget = {"budget": Budget(one * shots, "month", f"{tmp_path}/budgets")}
        return Run(film(SHOTS, tmp_path, **({"default_args": budget} if in_default_args else budget)))

    with pytest.raises(AirflowFailException, match=r"the 2 shots together cost about .* more than the whole budget"):
        run(1.5).run("plan")
    assert emulator.requests("submit") == []
    run(2).run_all()
    assert emulator.state()["paid"] == 2
    # They are paid for, and count in the ledger: after a clear of all, the plan does not stand in the way.
    assert run(2).run("plan")["cost_usd"] == pytest.approx(2 * one)


def test_a_storyboards_budget_is_checked_when_the_dag_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"budget=5.*a Budget, such as"):
        film(SHOTS, tmp_path, budget=5)


def test_the_dearer_of_the_model_and_its_fallback_counts(emulator: Emulator, tmp_path: Path) -> None:
    def cost(**options: Any) -> float:
        found: float = Run(film(SHOTS, tmp_path, **options)).run("plan")["cost_usd"]
        return found

    fast, quality = cost(), cost(model="veo3.1-quality-official")
    assert fast < quality == cost(fallback_model="veo3.1-quality-official")


def test_a_price_that_is_not_known_cannot_be_compared(emulator: Emulator, tmp_path: Path) -> None:
    shots = ["one", {"prompt": "two", "model": "veo9-unheard-of"}]
    assert Run(film(shots, tmp_path)).run("plan")["cost_usd"] is None
    with pytest.raises(InvalidVeoArgument, match="the price of shot_2 is not known"):
        Run(film(shots, tmp_path, max_cost_usd=100)).run("plan")


def test_a_missing_picture_of_a_later_shot_is_found_before_the_first_is_paid(
    emulator: Emulator, tmp_path: Path
) -> None:
    shots = ["one", {"prompt": "two", "first_frame_image": str(tmp_path / "nothing.png")}]
    with pytest.raises(InvalidVeoArgument, match=r"shot_2\.first_frame_image=.*FileNotFoundError"):
        Run(film(shots, tmp_path)).run("plan")
    assert emulator.requests("submit") == []


def test_a_missing_extra_is_found_before_the_first_is_paid(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.media.extra.importlib.util.find_spec", lambda name: None)
    with pytest.raises(AirflowFailException, match=r"airflow-provider-apimart\[media\]"):
        Run(film(SHOTS, tmp_path)).run("plan")


def test_a_shot_is_never_submitted_without_the_frame_that_it_continues(emulator: Emulator, tmp_path: Path) -> None:
    run = Run(film(SHOTS, tmp_path))
    run.xcoms["storyboard.frame_1"] = {"path": None}
    with pytest.raises(InvalidVeoArgument, match="the last frame of the shot before is needed"):
        run.run("shot_2")
    assert emulator.requests("submit") == []


def test_a_clear_of_all_pays_for_nothing_and_makes_nothing(emulator: Emulator, tmp_path: Path) -> None:
    run = Run(film(SHOTS, tmp_path))
    first = run.run_all()

    def made() -> dict[Path, int]:
        # (Before Airflow 3.3 the records lie there, too, and a clear notes itself in them.)
        paths = [path for path in tmp_path.rglob("*") if path.is_file() and ".apimart-records" not in path.parts]
        return {path: path.stat().st_mtime_ns for path in paths}

    files = made()
    again = [run.run(name, cleared=1) for name in names(run.group)][-1]
    assert again == first and len(emulator.state()["generations"]) == 2
    assert made() == files


def test_a_shot_that_is_made_anew_is_continued_anew(emulator: Emulator, tmp_path: Path) -> None:
    run = Run(film(SHOTS, tmp_path, on_clear="regenerate"))
    first, frame = run.run_all(), run.xcoms["storyboard.frame_1"]
    again = [run.run(name, cleared=1) for name in ("shot_1", "frame_1", "shot_2", "join")][-1]
    assert len(emulator.state()["generations"]) == 4 and again["path"] != first["path"]
    anew = run.xcoms["storyboard.frame_1"]
    assert anew["sha256"] != frame["sha256"]
    assert uploaded(emulator.requests("submit")[3]["body"]["first_frame_image"]) == Path(anew["path"]).read_bytes()


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_all_problems_of_all_shots_at_once_while_the_dag_is_parsed(tmp_path: Path) -> None:
    shots: list[Any] = [
        {"prompt": " ", "duration": 7},
        {"duration": 4, "seconds": 5},
        {"prompt": "three", "sample_count": 2},
        {"prompt": "{{ params.four }}", "seed": "{{ params.seed }}", "aspect_ratio": "4:3"},
    ]
    with pytest.raises(InvalidVeoArgument) as refused, DAG("films", schedule=None):
        storyboard(shots, output_path="films", max_cost_usd="much", fallback_model="veo3.1-fast-official")
    text = str(refused.value)
    for part in (
        "storyboard 'storyboard'",
        "shot_1.prompt=' '",
        "shot_1.duration=7",
        "shot_2.prompt=None",
        "shot_2.seconds",
        "shot_3.sample_count=2: a shot is one video",
        "shot_4.aspect_ratio='4:3'",
        "max_cost_usd='much'",
        "output_path='films'",
        "Nothing was submitted",
    ):
        assert part in text, part
    assert "shot_4.prompt" not in text and "shot_4.seed" not in text


@pytest.mark.parametrize("shots", [[], "one", None, {"prompt": "one"}, ["one"] * 101])
def test_no_list_of_shots(shots: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match="allowed: a list of 1 to 100 shots"):
        film(shots, tmp_path)


def test_a_fallback_that_does_not_take_a_shot(tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"shot_2\..*fallback_model"):
        film(["one", "two"], tmp_path, fallback_model="veo3.1-fast-official")


def test_what_is_rendered_is_checked_by_the_plan(emulator: Emulator, tmp_path: Path) -> None:
    run = Run(
        film([{"prompt": "{{ run_id }}", "duration": "{{ 7 }}"}, {"prompt": "two", "seed": "{{ -1 }}"}], tmp_path)
    )
    with pytest.raises(InvalidVeoArgument) as refused:
        run.run("plan")
    assert "shot_1.duration='7'" in str(refused.value) and "shot_2.seed='-1'" in str(refused.value)


def test_parameters_that_another_task_returns_as_a_shot_are_no_prompt(emulator: Emulator, tmp_path: Path) -> None:
    with DAG("films", schedule=None):

        @task
        def row() -> dict[str, Any]:
            return {}

        group = storyboard([row(), "two"], output_path=f"{tmp_path}/")
    run = Run(group, {"row": {"prompt": "one", "duration": 8}})
    with pytest.raises(InvalidVeoArgument, match=r"shot_1\.prompt=\['duration', 'prompt'\]: these are parameters"):
        run.run("plan")


def test_a_template_in_another_tasks_output_stays_data(emulator: Emulator, tmp_path: Path) -> None:
    with DAG("films", schedule=None):

        @task
        def text() -> str:
            return ""

        group = storyboard([text()], output_path=f"{tmp_path}/", deferrable=False, duration=4)
    run = Run(group, {"text": "{{ run_id }}"})
    run.run_all()
    (made,) = emulator.state()["generations"]
    assert made["prompt"] == "{{ run_id }}"


def test_other_marks_of_a_dag_are_known(tmp_path: Path) -> None:
    with DAG(
        "films", schedule=None, jinja_environment_kwargs={"variable_start_string": "[[", "variable_end_string": "]]"}
    ):
        storyboard([{"prompt": "one", "duration": "[[ params.seconds ]]"}], output_path=f"{tmp_path}/")


def test_the_sidecars_say_what_a_shot_continues(emulator: Emulator, tmp_path: Path) -> None:
    run = Run(film(SHOTS, tmp_path))
    run.run_all()
    (video,) = run.xcoms["storyboard.shot_2"]["videos"]
    request = json.loads(Path(f"{video['path']}.json").read_text())["request"]
    assert request["first_frame_image"] == run.xcoms["storyboard.frame_1"]["path"]
