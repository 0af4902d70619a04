"""``docs/deployment.md`` makes all secrets that the files want, and names the files that there are."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.deploy.reading import COMPOSE, DEPLOY, VALUES

PAGE = (DEPLOY.parent / "docs" / "deployment.md").read_text("utf-8")


def test_the_env_file_sets_each_variable_that_compose_requires() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text("utf-8")))
    (env,) = re.findall(r"cat > \.env <<EOF\n(.*?)EOF", PAGE, re.DOTALL)
    assert set(re.findall(r"^(\w+)=", env, re.MULTILINE)) == required


def test_each_secret_that_the_values_name_is_made_with_its_keys() -> None:
    made = {
        name: set(re.findall(r"--from-(?:file|literal)=([\w-]+)=", line))
        for name, line in re.findall(r"^kubectl create secret generic (\S+) (.+)$", PAGE, re.MULTILINE)
    }
    #: The keys under which the chart looks.
    keys = {"fernet": "fernet-key", "apiSecret": "api-secret-key", "jwt": "jwt-secret", "password": "password"}
    named = set()
    for file in VALUES:
        values = yaml.safe_load(file.read_text("utf-8"))
        for one in values["secret"]:
            assert one["secretKey"] in made[one["secretName"]]
            named.add(one["secretName"])
        for part in (values, values["data"], values["redis"]):
            for key, name in part.items():
                if key.endswith("SecretName"):
                    assert made[name] == {next((k for start, k in keys.items() if key.startswith(start)), "connection")}
                    named.add(name)
    assert named == set(made)


@pytest.mark.parametrize("file", sorted(re.findall(r"`(deploy/[\w./-]+)`", PAGE)))
def test_files_that_the_page_names_exist(file: str) -> None:
    assert (DEPLOY.parent / file).is_file()


def test_the_version_of_the_chart_is_the_one_that_the_files_install() -> None:
    (told,) = set(re.findall(r"up to (1\.\d+)", PAGE))
    for file in VALUES:
        text = file.read_text("utf-8")
        assert f"--version {told}.0" in text
        assert f"(checked against {told})" in text
