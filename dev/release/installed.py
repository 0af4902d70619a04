"""Run by the Python of an environment that holds the wheel and nothing else: what a user without extras has.

It imports nothing of this repository but the installed package, and prints a JSON list of what is wrong. Its argument
is a JSON object: ``{"version", "public": [modules], "optional": [import names that only extras bring]}``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import json
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PACKAGE = "airflow_provider_apimart"


def import_problems(public: list[str], optional: list[str]) -> Iterator[str]:
    """Import every module: a public one always can be, another one may only lack what an extra brings."""
    package = importlib.import_module(PACKAGE)
    if "site-packages" not in (package.__file__ or ""):
        yield f"{package.__file__} is not the installed package"
    found = [one.name for one in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.", onerror=lambda name: None)]
    yield from (f"{name} is public, and is not installed" for name in public if name not in found)
    for name in found:
        if name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            lacks = error.name or ""
            known = any(lacks == one or lacks.startswith(f"{one}.") for one in optional)
            if name in public or not known:
                yield f"{name} cannot be imported without {lacks}"
        except Exception as error:
            yield f"{name} cannot be imported: {type(error).__name__}: {error}"
    for dotted in public:
        # A room that loads its names when they are asked for.
        module = sys.modules.get(dotted)
        for name in [] if module is None else [one for one in dir(module) if not one.startswith("_")]:
            try:
                getattr(module, name)
            except Exception as error:
                yield f"{dotted}.{name} cannot be loaded: {type(error).__name__}: {error}"


def schema_problems(info: Any, schema: Any) -> Iterator[str]:
    """Compare the provider's metadata with Airflow's own schema."""
    import jsonschema

    for problem in jsonschema.validators.validator_for(schema)(schema).iter_errors(info):
        yield f"get_provider_info(): {problem.json_path}: {problem.message}"


def provider_problems(version: str) -> Iterator[str]:
    """Compare the metadata with Airflow's own schema, and see that Airflow finds the provider and its plugin."""
    import airflow

    points = importlib.metadata.entry_points(group="apache_airflow_provider")
    info = next(one for one in points if one.module == PACKAGE).load()()
    yield from schema_problems(info, json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text()))
    if info.get("versions", [""])[0] != version:
        yield f"get_provider_info() says {info.get('versions')}, and the release is {version}"

    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()  # type: ignore[no-untyped-call]
    if info["package-name"] not in manager.providers:
        yield "Airflow does not find the provider"
    for form in info["connection-types"]:
        if manager.hooks.get(form["connection-type"]) is None:
            yield f"Airflow cannot load the hook of the connection type {form['connection-type']}"
    for point in importlib.metadata.entry_points(group="airflow.plugins"):
        if point.module.startswith(PACKAGE):
            point.load()


def _parquet() -> None:
    from airflow_provider_apimart.generation.tables.parquet import parquet_records

    next(iter(parquet_records(io.BytesIO(b""), "prompts.parquet")))


def _media(name: str, **arguments: Any) -> Callable[[], None]:
    def attempt() -> None:
        operator = getattr(importlib.import_module(f"{PACKAGE}.operators.media"), name)
        operator(task_id="task", **arguments).execute({})

    return attempt


def _provenance() -> None:
    from airflow_provider_apimart.operators.media.provenance import require_provenance

    require_provenance()


def _check() -> None:
    from airflow_provider_apimart.operators import checks

    checks.before_paying("default")


def _consent() -> None:
    from airflow_provider_apimart.connect import Client, _flow

    _flow(Client(kind="installed", config={}))


def _emulator() -> None:
    command = [sys.executable, "-I", "-m", f"{PACKAGE}.emulator", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)  # noqa: S603
    raise RuntimeError(done.stdout + done.stderr)


VIDEO = "/nowhere/video.mp4"
#: What needs an extra, and what its error must name.
NEEDS: tuple[tuple[str, Callable[[], None], str], ...] = (
    ("a Parquet table", _parquet, "[parquet]"),
    ("check=", _check, "[media]"),
    ("VideoCheckOperator", _media("VideoCheckOperator", video=VIDEO), "[media]"),
    ("VideoFrameOperator", _media("VideoFrameOperator", video=VIDEO), "[media]"),
    ("VideoPosterOperator", _media("VideoPosterOperator", video=VIDEO), "[media]"),
    ("VideoRenditionOperator", _media("VideoRenditionOperator", video=VIDEO, shapes=["reels"]), "[media]"),
    ("VideoJoinOperator", _media("VideoJoinOperator", videos=[VIDEO, VIDEO]), "[media]"),
    ("VideoProvenanceOperator", _media("VideoProvenanceOperator", video=VIDEO), "[media]"),
    ("VideoBatchOperator", _media("VideoBatchOperator", manifest="/nowhere/manifest.jsonl"), "[media]"),
    ("a signature", _provenance, "[media,provenance]"),
    ("the consent to a YouTube channel", _consent, "[youtube]"),
    ("the emulator", _emulator, "[emulator]"),
)


def extra_problems(needs: tuple[tuple[str, Callable[[], None], str], ...] = NEEDS) -> Iterator[str]:
    """Use what needs an extra, and see that the error names it."""
    for what, attempt, extra in needs:
        try:
            attempt()
        except Exception as error:
            if f"airflow-provider-apimart{extra}" not in str(error):
                said = "".join(traceback.format_exception_only(error)).strip()
                yield f"{what} does not say that it needs {extra}: {said}"
        else:
            yield f"{what} did not need the extra {extra}: this environment holds more than the wheel"


def main() -> None:
    """Print what is wrong, as the last line."""
    asked = json.loads(sys.argv[1])
    found = [
        *import_problems(asked["public"], asked["optional"]),
        *provider_problems(asked["version"]),
        *extra_problems(),
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
