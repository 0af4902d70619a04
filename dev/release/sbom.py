"""The software bill of materials: what an installation of the release without extras consists of, as CycloneDX."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dev.release.build import ROOT, run

NAME = "airflow-provider-apimart"


def draw_up(python: Path, file: Path, version: str, wheel_sha256: str) -> dict[str, Any]:
    """Write the bill of an environment, and return it.

    :param python: the environment's interpreter; it holds the wheel, what that needs, and nothing else.
    :raises CommandError: if it cannot be drawn up.
    """
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", "--output-reproducible"]
    project = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library"]
    run(*command, *project, "--output-format", "JSON", "--output-file", str(file), str(python))
    bill: dict[str, Any] = json.loads(file.read_text())
    complete(bill, version, wheel_sha256)
    file.write_text(json.dumps(bill, indent=2) + "\n")
    return bill


def complete(bill: dict[str, Any], version: str, wheel_sha256: str) -> None:
    """Say in the bill which release it is of: pyproject.toml, which the tool reads, leaves the version to the build."""
    bill["metadata"]["component"] |= {
        "version": version,
        "purl": f"pkg:pypi/{NAME}@{version}",
        "hashes": [{"alg": "SHA-256", "content": wheel_sha256}],
    }


def problems(bill: Mapping[str, Any], dependencies: Sequence[str], folder: str) -> list[str]:
    """Return what is wrong with a bill.

    :param dependencies: the names of what the provider itself needs.
    :param folder: a path that must not be told: where the environment lies.
    """
    root = bill["metadata"]["component"]
    found = [
        f"the bill of materials does not say its {key}" for key in ("name", "version", "purl") if not root.get(key)
    ]
    components = {one["name"].lower().replace("_", "-"): one for one in bill.get("components", [])}
    found += [f"the bill of materials lacks {name}" for name in dependencies if name not in components]
    found += [
        f"the bill of materials has {name} without a version"
        for name, one in components.items()
        if not one.get("version")
    ]
    found += [
        f"the bill of materials has {name}, which nothing needs" for name in ("pip", "setuptools") if name in components
    ]
    if folder in json.dumps(bill):
        found.append("the bill of materials names a folder of this machine")
    return found
