"""What the pages say stands: their DAGs can be parsed, and the errors that they explain are errors of this code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_apimart.emulator.state.settings import DEFAULT_KEY

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ERROR = re.compile(r"^### `(.+)`$", re.MULTILINE)


def dags_of_pages() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        # A block that begins with its imports is a whole file; the others are parts of one.
        whole = [block for block in BLOCK.findall(page.read_text("utf-8")) if block.startswith(("from", "import"))]
        blocks = [block for block in whole if "with DAG(" in block]
        for number, block in enumerate(blocks, 1):
            yield f"{page.relative_to(REPO)}-{number}", block


DAGS = dict(dags_of_pages())


@pytest.mark.parametrize("where", DAGS)
def test_a_dag_of_a_page_can_be_parsed(where: str) -> None:
    names: dict[str, object] = {}
    exec(compile(DAGS[where], where, "exec"), names)
    dags = [value for value in names.values() if isinstance(value, DAG)]
    used = re.search(r'with DAG\(\s*"(\w+)"', DAGS[where])
    assert used
    assert not dags, "a page's DAG is opened by with, and needs no name"


def test_there_are_dags_in_the_pages_that_a_newcomer_reads() -> None:
    pages = {where.rpartition("-")[0] for where in DAGS}
    assert {"README.md", "docs/quickstart.md", "docs/ko/quickstart.md"} <= pages
    assert {f"docs/how-to/{name}.md" for name in ("table", "backfill", "budget", "approve", "publish")} <= pages


def text_of(node: ast.AST) -> str | None:
    """Return the text that an expression makes, with an ellipsis for what it fills in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "…" for part in node.values)
    return None


@cache
def texts() -> str:
    """All texts of the package, one a line."""
    found = []
    for file in sorted((REPO / "airflow_provider_apimart").rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            text = None if id(node) in inner else text_of(node)
            if text:
                found.append(text.replace("\n", " "))
    return "\n".join(found)


EXPLAINED = ERROR.findall((REPO / "docs" / "troubleshooting.md").read_text("utf-8"))


@pytest.mark.parametrize("error", EXPLAINED)
def test_an_error_that_is_explained_is_one_of_ours(error: str) -> None:
    pattern = ".*".join(re.escape(part) for part in error.split("…"))
    assert re.search(pattern, texts()), f"no text of the package has {error!r}: has its wording changed?"


def test_each_error_is_explained_once() -> None:
    assert len(EXPLAINED) > 50
    assert len(set(EXPLAINED)) == len(EXPLAINED)


@pytest.mark.parametrize("page", ["quickstart.md", "ko/quickstart.md"])
def test_the_quickstarts_key_is_one_that_the_emulator_takes(page: str) -> None:
    text = (REPO / "docs" / page).read_text("utf-8")
    (key,) = re.findall(r'"host": "http://127\.0\.0\.1:8808", "password": "([^"]+)"', text)
    assert key == DEFAULT_KEY
