"""(e) The cost of a DAG file: the import of each provider's operator, and the parse of files with many operators."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measurements.figures import median

#: name -> (module, class, arguments of one operator)
OPERATORS = {
    "ours": (
        "airflow_provider_apimart.operators.veo",
        "VeoGenerateOperator",
        'prompt="A red fox in the snow", duration=8, output_path="s3://videos/out/"',
    ),
    "openai": (
        "airflow.providers.openai.operators.openai",
        "OpenAITriggerBatchOperator",
        'file_id="file-1", endpoint="/v1/responses", deferrable=True',
    ),
    "airbyte": (
        "airflow.providers.airbyte.operators.airbyte",
        "AirbyteTriggerSyncOperator",
        'connection_id="c", deferrable=True',
    ),
    "dbt-cloud": ("airflow.providers.dbt.cloud.operators.dbt", "DbtCloudRunJobOperator", "job_id=1, deferrable=True"),
    "fivetran": ("fivetran_provider_async.operators", "FivetranOperator", 'connector_id="c"'),
    "http": ("airflow.providers.http.operators.http", "HttpOperator", 'endpoint="x", deferrable=True'),
}

IMPORT = """
import importlib, json, sys, time
import airflow.sdk
before, began = len(sys.modules), time.perf_counter()
importlib.import_module(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - began, "modules": len(sys.modules) - before}))
"""

# This follows the dag processor: from the file to the serialized DAG, in a process that has already loaded Airflow.
PARSE = """
import json, sys, time, logging
logging.disable(logging.CRITICAL)
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.sdk import DAG, BaseOperator
# What Airflow itself loads for its first DAG is nobody's operator's.
with DAG("first", schedule=None) as first:
    BaseOperator(task_id="first")
DagSerialization.to_dict(first)
began = time.perf_counter()
bag = DagBag(sys.argv[1])
parsed = time.perf_counter()
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
DagSerialization.to_dict(dag)
done = time.perf_counter()
print(json.dumps({"seconds": parsed - began, "serialize_seconds": done - parsed, "tasks": len(dag.tasks)}))
"""

DAG_FILE = """
from airflow.sdk import DAG
from {module} import {operator}

with DAG("bench", schedule=None):
    for number in range({count}):
        {operator}(task_id=f"task_{{number}}", {arguments})
"""


def child(code: str, argument: str, home: Path) -> dict[str, Any]:
    """Run code in a fresh interpreter and return what it prints."""
    env = os.environ | {"AIRFLOW_HOME": str(home), "PYTHONWARNINGS": "ignore", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code, argument], capture_output=True, text=True, env=env, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all contestants in turn, round after round, so that other load on the machine affects all of them."""
    imports: dict[str, list[dict[str, Any]]] = {name: [] for name in OPERATORS}
    parses: dict[str, dict[int, list[Any]]] = {name: {count: [] for count in options.operators} for name in OPERATORS}
    with tempfile.TemporaryDirectory(prefix="apimart-imports-") as name:
        home = Path(name)
        for each in range(options.import_rounds + 1):
            for who, (module, _, _) in OPERATORS.items():
                found = child(IMPORT, module, home)
                if each:  # The first round reads the files into the machine's cache.
                    imports[who].append(found)
        for count in options.operators:
            for who, (module, operator, arguments) in OPERATORS.items():
                path = home / f"{who.replace('-', '_')}_{count}.py"
                path.write_text(DAG_FILE.format(module=module, operator=operator, count=count, arguments=arguments))
            for each in range(options.parse_rounds + 1):
                for who in OPERATORS:
                    found = child(PARSE, str(home / f"{who.replace('-', '_')}_{count}.py"), home)
                    if each:
                        parses[who][count].append(found)
    lines = [line_of(who, imports, parses) for who in OPERATORS]
    for line in lines:
        parse = ", ".join(f"{count}: {each['seconds']:.2f} s" for count, each in line["parse"].items())
        print(f"  {line['row']}: {line['modules']} modules, {line['seconds'] * 1000:.0f} ms, parse {parse}", flush=True)
    return {"lines": lines, "rounds": options.import_rounds, "parse_rounds": options.parse_rounds}


def line_of(who: str, imports: dict[str, Any], parses: dict[str, Any]) -> dict[str, Any]:
    """Return one line: medians, and our figures as a share of this provider's, computed per round."""
    seconds = [found["seconds"] for found in imports[who]]
    ours = [found["seconds"] for found in imports["ours"]]
    parse = {}
    for count, found in parses[who].items():
        mine = parses["ours"][count]
        parse[count] = {
            "seconds": median([each["seconds"] for each in found]),
            "serialize_seconds": median([each["serialize_seconds"] for each in found]),
            "ours_to_this": median([a["seconds"] / b["seconds"] for a, b in zip(mine, found, strict=True)]),
        }
    return {
        "row": who,
        "operator": OPERATORS[who][1],
        "modules": imports[who][0]["modules"],
        "seconds": median(seconds),
        "ours_to_this": median([a / b for a, b in zip(ours, seconds, strict=True)]),
        "parse": parse,
    }
