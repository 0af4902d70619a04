"""``deploy/Dockerfile`` builds what the other files run: the same Airflow, this version, extras that there are."""

from __future__ import annotations

import re

import yaml

from airflow_provider_apimart import __version__
from tests.deploy.reading import COMPOSE, DEPLOY, VALUES, extras

REPO = DEPLOY.parent
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
ARGS = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))


def test_the_airflow_is_the_one_that_the_tests_run_with() -> None:
    (pinned,) = re.findall(r"^apache-airflow==(\S+)$", (REPO / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert ARGS["AIRFLOW_VERSION"] == pinned
    assert {yaml.safe_load(file.read_text("utf-8"))["airflowVersion"] for file in VALUES} == {pinned}
    # Named where packages are installed, too, so that none of them moves it.
    assert '"apache-airflow==${AIRFLOW_VERSION}"' in DOCKERFILE


def test_the_tag_is_this_version() -> None:
    assert f":-{__version__}}}" in yaml.safe_load(COMPOSE.read_text("utf-8"))["x-airflow"]["image"]
    assert {yaml.safe_load(file.read_text("utf-8"))["images"]["airflow"]["tag"] for file in VALUES} == {__version__}


def test_the_extras_exist() -> None:
    assert set(ARGS["APIMART_EXTRAS"].split(",")) <= set(extras())


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY --chown=\S+ (.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied
    assert all((REPO / source).exists() for source in copied)
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in sent if line.startswith("!")} == copied
    assert "*" in sent


def test_the_package_can_be_built_from_what_is_copied() -> None:
    import tomllib

    project = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert all(re.search(rf"^COPY .*\b{re.escape(name)}\b", DOCKERFILE, re.MULTILINE) for name in needed)
