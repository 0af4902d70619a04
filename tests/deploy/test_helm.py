"""The values for the Helm chart name keys that the chart has, give reasons, and hold no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.reading import VALUES, has_reason, leaves_of

KEYS = {
    line
    for line in Path(__file__).with_name("chart_keys.txt").read_text("utf-8").splitlines()
    if line[:1] not in ("#", "")
}
#: Keys under which the chart takes a secret itself.
HELD = re.compile(
    r"(?i)^(pass|password|fernetKey|jwtSecret|apiSecretKey|brokerUrl|connection|sshKey|postgresPassword)$"
)
each_file = pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)


def values(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return found


def test_there_is_a_file_for_each_executor() -> None:
    assert {values(file)["executor"] for file in VALUES} == {"CeleryExecutor", "KubernetesExecutor"}


@each_file
def test_every_key_is_one_that_was_looked_up(file: Path) -> None:
    used = {".".join(path) for path, _, _ in leaves_of(file) if path[0] != "config"}
    assert used <= KEYS


def test_no_key_is_listed_in_vain() -> None:
    assert {".".join(path) for file in VALUES for path, _, _ in leaves_of(file) if path[0] != "config"} == KEYS


@each_file
def test_every_value_says_why(file: Path) -> None:
    lines = file.read_text("utf-8").splitlines()
    for path, _, at in leaves_of(file):
        assert has_reason(lines, at), f"{file.name}, line {at[-1] + 1}: {'.'.join(path)} has no reason"


@each_file
def test_secrets_are_only_named(file: Path) -> None:
    for path, value, _ in leaves_of(file):
        assert not any(HELD.match(part) for part in path), path
        assert "@" not in value or value.startswith("s3://aws_default@"), path
    found = values(file)
    for name in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"):
        assert found[name]
    assert found["data"]["metadataSecretName"]
    # The chart's defaults have known passwords.
    assert found["createUserJob"] == found["postgresql"] == {"enabled": False}


@each_file
def test_workers_and_triggerers_get_the_connections(file: Path) -> None:
    # `secret` is for all Airflow containers, and for pods of tasks.
    assert {one["envName"] for one in values(file)["secret"]} == {
        "AIRFLOW_CONN_APIMART_DEFAULT",
        "AIRFLOW_CONN_AWS_DEFAULT",
    }


@each_file
def test_pods_have_no_privileges(file: Path) -> None:
    contexts = values(file)["securityContexts"]
    assert contexts["containers"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert contexts["pod"]["runAsNonRoot"] is True


@each_file
def test_what_may_die_is_there_twice(file: Path) -> None:
    found = values(file)
    assert [found[name]["replicas"] for name in ("scheduler", "apiServer", "triggerer")] == [2, 2, 2]


def test_the_executors_broker_is_there_where_it_is_needed() -> None:
    brokers = {values(file)["executor"]: values(file) for file in VALUES}
    assert brokers["CeleryExecutor"]["data"]["brokerUrlSecretName"]
    assert brokers["CeleryExecutor"]["redis"]["passwordSecretName"]
    assert brokers["KubernetesExecutor"]["redis"] == {"enabled": False}
