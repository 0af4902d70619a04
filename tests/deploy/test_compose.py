"""``deploy/compose.yaml`` refers to what there is, gives reasons, and holds no secret.

Its form is checked by ``make workflows``, against the schema of the Compose specification.
"""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest
import yaml

from tests.deploy.reading import COMPOSE, has_reason, leaves_of

TEXT = COMPOSE.read_text("utf-8")
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = FILE["services"]
AIRFLOW = sorted(name for name in SERVICES if name not in ("postgres", "redis"))
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")
SECRET = re.compile(r"PASSWORD|SECRET|FERNET|_KEY$|AUTH$|TOKEN|CONNECTIONS_FILE")
#: What a line may leave unexplained: what it says is all there is to it.
PLAIN = {"test", "interval", "timeout", "retries", "start_period", "condition", "command", "networks", "name"}


def environment(service: str) -> dict[str, str]:
    found: dict[str, str] = SERVICES[service].get("environment", {})
    return found


def test_there_is_each_component_twice_where_one_may_die() -> None:
    commands = {name: service.get("command") for name, service in SERVICES.items()}
    for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert commands[name] == name
    assert commands["worker"] == "celery worker"
    assert SERVICES["scheduler"]["deploy"]["replicas"] == SERVICES["triggerer"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_refers_to_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service["networks"]) <= set(FILE["networks"])
    assert set(service.get("secrets", ())) <= set(FILE["secrets"])
    for volume in service.get("volumes", ()):
        source = volume.partition(":")[0]
        assert source in FILE["volumes"] or source.startswith(("./", "/", "${")), volume
    for other, how in service.get("depends_on", {}).items():
        assert other in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        if how["condition"] == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "no"


def test_every_volume_network_and_secret_is_used() -> None:
    used = {
        key: {one for service in SERVICES.values() for one in service.get(key, ())} for key in ("networks", "secrets")
    }
    assert {key: set(FILE[key]) for key in used} == used
    volumes = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert set(FILE["volumes"]) <= volumes


def test_a_secret_has_no_default_and_a_missing_one_says_what_to_do() -> None:
    named = VARIABLE.findall(TEXT)
    secrets = [(name, how, said) for name, how, said in named if SECRET.search(name)]
    assert {name for name, _, _ in secrets} >= {
        "FERNET_KEY",
        "JWT_SECRET",
        "API_SECRET_KEY",
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
    }
    for name, how, said in secrets:
        assert how == ":?", f"{name} has a default, or may be empty"
        assert said.startswith(f"Set {name} in .env")


def test_no_secret_is_written_in_the_file() -> None:
    for path, value, _ in leaves_of(COMPOSE):
        backend = path[-1].startswith("AIRFLOW__SECRETS__BACKEND")
        if path[-1].isupper() and SECRET.search(path[-1]) and not backend:
            assert VARIABLE.fullmatch(value), path[-1]
        # What stands in a URL before the @ is a variable, too.
        assert not re.search(r"://[^/@\s]*:[^/@\s]+@", VARIABLE.sub("", value)), path[-1]
    assert not re.search(r"AIRFLOW_CONN_|\bsk-\w", TEXT)


def test_a_generated_key_in_a_url_needs_no_quoting() -> None:
    # hex, as the messages say: nothing in it means something in a URL.
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        assert all("openssl rand -hex" in said for found, _, said in VARIABLE.findall(TEXT) if found == name)


def test_every_setting_says_why() -> None:
    lines = TEXT.splitlines()
    for path, _, at in leaves_of(COMPOSE):
        if path[-1] not in PLAIN:
            assert has_reason(lines, at), f"line {at[-1] + 1}: {'.'.join(path)} has no reason"


def test_only_those_who_make_and_check_tokens_can_sign_them() -> None:
    holders = {name for name in SERVICES if "AIRFLOW__API_AUTH__JWT_SECRET" in environment(name)}
    assert holders == {"api-server", "scheduler"}


@pytest.mark.parametrize("name", AIRFLOW)
def test_all_components_are_one_airflow_without_privileges(name: str) -> None:
    service = SERVICES[name]
    common = FILE["x-environment"]
    assert common.items() <= environment(name).items()
    assert (service["image"], service["user"]) == (FILE["x-airflow"]["image"], "50000:0")
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_nothing_but_the_pages_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["api-server"]
    assert all(port.startswith("127.0.0.1:") for port in published["api-server"])
    assert FILE["networks"]["inside"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    assert outside == {"api-server", "worker", "triggerer", "cli"}


def test_the_classes_that_options_name_can_be_imported() -> None:
    common = FILE["x-environment"]
    bundles = json.loads(common["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    for path in [common["AIRFLOW__SECRETS__BACKEND"], *(bundle["classpath"] for bundle in bundles)]:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type)
    kwargs = json.loads(common["AIRFLOW__SECRETS__BACKEND_KWARGS"])
    (secret,) = FILE["secrets"]
    assert kwargs == {"connections_file_path": f"/run/secrets/{secret}"}
    # The folder of the bundle is the one that is mounted.
    assert any(f":{bundles[0]['kwargs']['path']}:ro" in volume for volume in FILE["x-airflow"]["volumes"])


def test_the_pool_counts_deferred_tasks() -> None:
    *_, script = SERVICES["init"]["command"]
    assert re.search(r'airflow pools set apimart "\$\$\{APIMART_POOL_SLOTS\}" ".+" --include-deferred', script)
