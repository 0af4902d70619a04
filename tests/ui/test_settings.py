"""The options of ``[apimart]``: Airflow knows them, and they are read with and without that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest
from airflow.configuration import conf
from packaging.version import Version

from airflow_provider_apimart.configuration import OPTIONS
from airflow_provider_apimart.ui.sources.settings import Settings, settings
from dev.stage import REPO

PAGE = (REPO / "docs" / "ui.md").read_text("utf-8")


def test_each_option_is_declared_and_described() -> None:
    assert {field.name for field in fields(Settings)} == set(OPTIONS)
    for name, option in OPTIONS.items():
        (row,) = re.findall(rf"^\| `{name}` \| (.*?) \|", PAGE, re.MULTILINE)
        assert row.strip("`") == (option["default"] or "(any)")


@pytest.mark.parametrize("with_providers", [True, False])
def test_the_defaults_are_the_same_with_and_without_airflows_list(
    monkeypatch: pytest.MonkeyPatch, with_providers: bool
) -> None:
    for name in OPTIONS:
        monkeypatch.delenv(f"AIRFLOW__APIMART__{name.upper()}", raising=False)
    with conf.make_sure_configuration_loaded(with_providers=with_providers):
        assert conf.has_option("apimart", "max_streams") is with_providers
        assert settings() == Settings()
        monkeypatch.setenv("AIRFLOW__APIMART__GALLERY", "False")
        monkeypatch.setenv("AIRFLOW__APIMART__VIDEO_ROOTS", "s3://a/, /b")
        assert settings() == Settings(gallery=False, video_roots=("s3://a/", "/b"))


def test_airflow_lists_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow", "config", "list", "--section", "apimart", "--include-descriptions"]
    if Version(version("apache-airflow")) >= Version("3.2"):
        # Before, values are always shown.
        command.append("--show-values")
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    told = subprocess.run(
        command,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout
    for name, option in OPTIONS.items():
        assert f"\n{name} = {option['default']}".rstrip() in told
        assert option["description"].splitlines()[0] in told
