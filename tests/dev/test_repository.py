"""The files that other people's machines read (workflows, the registry's file) name what there is."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

from airflow_provider_apimart import get_provider_info
from dev.public_names import public_names

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ENDINGS = {"operators": "Operator", "sensors": "Sensor", "hooks": "Hook", "triggers": "Trigger"}


@pytest.mark.parametrize("kind", ENDINGS)
def test_the_registry_is_told_of_every_public_class(kind: str) -> None:
    told = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text())
    info = get_provider_info()
    public = {
        f"{module}.{name}"
        for group in info[kind]
        for module in group["python-modules"]
        for name, value in public_names(importlib.import_module(module))
        if name.endswith(ENDINGS[kind])
    }
    assert {one["module"] for one in told[kind]} == public
    assert all(one["description"] for one in told[kind])
    assert (told["package-name"], told["display-name"]) == (info["package-name"], info["name"])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_call_targets_that_the_makefile_has(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"run: make ([a-z-]+)", file.read_text()))
    assert called
    assert called <= targets


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_are_pinned_by_commit_with_their_version(file: Path) -> None:
    used = re.findall(r"uses: (.+)", file.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)


def test_one_action_has_one_version_in_all_workflows() -> None:
    used = {one for file in WORKFLOWS for one in re.findall(r"uses: (.+)", file.read_text())}
    assert len(used) == len({one.partition("@")[0] for one in used})


def test_only_the_job_that_publishes_has_an_identity() -> None:
    jobs = {
        f"{file.stem}.{name}": job
        for file in WORKFLOWS
        for name, job in yaml.safe_load(file.read_text())["jobs"].items()
    }
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["release.publish"]
    assert jobs["release.publish"]["environment"] == "release"
    # It runs no code of the repository: what it publishes was built by a job without an identity.
    assert all(
        "run" not in step and "checkout" not in step.get("uses", "") for step in jobs["release.publish"]["steps"]
    )
    assert not any("secrets." in file.read_text() for file in WORKFLOWS)
