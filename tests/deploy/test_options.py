"""Every Airflow option that ``deploy/`` sets exists, and its value is of the option's type."""

from __future__ import annotations

import importlib

import pytest
import yaml

from tests.deploy.reading import COMPOSE, OF_PROVIDERS, VALUES, fits, leaves_of, options

SET = {
    "compose": {
        (path[-1].removeprefix("AIRFLOW__").lower().replace("__", ".", 1), value)
        for path, value, _ in leaves_of(COMPOSE)
        if path[-1].startswith("AIRFLOW__")
    },
    **{
        file.stem: {
            (f"{section}.{name}", value)
            for section, part in yaml.safe_load(file.read_text("utf-8"))["config"].items()
            for name, value in part.items()
        }
        for file in VALUES
    },
}


@pytest.mark.parametrize("where", SET)
def test_each_option_exists_and_its_value_is_of_its_type(where: str) -> None:
    assert len(SET[where]) > 10
    for name, value in SET[where]:
        section, _, option = name.partition(".")
        assert (section, option) in options(), f"{where}: there is no option [{section}] {option}"
        assert fits(options()[section, option], value), f"{where}: [{section}] {option} = {value}"


@pytest.mark.parametrize("provider", OF_PROVIDERS)
def test_options_of_other_providers_are_theirs(provider: str) -> None:
    try:
        module = importlib.import_module(f"{provider}.get_provider_info")
    except ModuleNotFoundError:
        pytest.skip(f"{provider} is not installed here")
    config = module.get_provider_info()["config"]
    for section, option in OF_PROVIDERS[provider]:
        assert option in config[section]["options"]


@pytest.mark.parametrize("where", SET)
def test_what_the_promise_rests_on_is_set(where: str) -> None:
    # The records of what was paid for outlive the task's success, and no Dag begins to pay by itself.
    assert {("state_store.clear_on_success", "False"), ("core.dags_are_paused_at_creation", "True")} <= SET[where]
    names = {name for name, _ in SET[where]}
    assert {"triggerer.capacity", "logging.remote_logging", "apimart.video_roots", "api.base_url"} <= names


def test_an_option_that_does_not_exist_is_found() -> None:
    assert ("state_store", "clear_on_succes") not in options()
    assert not fits("boolean", "yes")
    assert not fits("integer", "2.5")
