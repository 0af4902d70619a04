"""The picture of the house: what is read from the sources, what is drawn, and what is found wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev import house
from dev.house import BEGIN, END, circles, draw, essential, files_graph, imports_of, put_into, rooms_graph

FILES = ("__init__.py", "cli.py", "client/__init__.py", "client/errors.py", "client/client.py", "hooks/hook.py")


def graph(**arrows: str) -> dict[str, frozenset[str]]:
    """Return a graph from ``a="b c"``."""
    names = {*arrows, *" ".join(arrows.values()).split()}
    return {name: frozenset(arrows.get(name, "").split()) for name in sorted(names)}


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import airflow_provider_apimart.client.errors", {"client/errors.py"}),
        ("import airflow_provider_apimart.client.errors as e", {"client/errors.py"}),
        ("from airflow_provider_apimart.client import errors, client", {"client/errors.py", "client/client.py"}),
        ("from airflow_provider_apimart.client.errors import ApimartError", {"client/errors.py"}),
        ("from airflow_provider_apimart.client import something", {"client/__init__.py"}),
        ("from airflow_provider_apimart import __version__", {"__init__.py"}),
        ("import airflow_provider_apimart", {"__init__.py"}),
        ("def f():\n    from airflow_provider_apimart import cli", {"cli.py"}),
        ("if TYPE_CHECKING:\n    from airflow_provider_apimart.hooks.hook import Hook", {"hooks/hook.py"}),
        ("import httpx, airflow.sdk\nfrom airflow_provider_other.client import errors", set()),
        ("# import airflow_provider_apimart.cli\n'import airflow_provider_apimart.cli'", set()),
    ],
)
def test_imports(source: str, expected: set[str]) -> None:
    assert imports_of(source, FILES) == expected


def test_nothing_of_the_package_is_run() -> None:
    assert files_graph({"cli.py": "raise SystemExit\nimport airflow_provider_apimart.cli"}) == {"cli.py": frozenset()}


def test_rooms_are_folders_and_files_at_the_top() -> None:
    files = {
        "__init__.py": frozenset({"cli.py"}),
        "cli.py": frozenset({"__init__.py", "hooks/hook.py"}),
        "hooks/__init__.py": frozenset(),
        "hooks/hook.py": frozenset({"generation/purchase/decide.py"}),
        "generation/__init__.py": frozenset(),
        "generation/purchase/decide.py": frozenset({"__init__.py", "generation/purchase/record.py"}),
        "generation/purchase/record.py": frozenset(),
    }
    assert rooms_graph(files) == graph(**{"cli.py": "hooks", "hooks": "generation/purchase", "generation/purchase": ""})


# --- arrows ------------------------------------------------------------------------------------------------------


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    assert essential(graph(a="b c d", b="c", c="d")) == graph(a="b", b="c", c="d")


def test_arrows_on_a_circle_stay() -> None:
    circle = graph(a="b", b="a c", c="a")
    assert essential(circle) == circle


def test_what_only_a_circle_leads_to_keeps_its_arrows() -> None:
    above, below = graph(top="a b", a="b", b="a"), graph(a="b c", b="a c")
    assert essential(above) == above
    assert essential(below) == below


def test_circles_of_two_and_of_more() -> None:
    assert circles(graph(a="b", b="c", c="a d", d="e", e="d", f="a")) == [("a", "b", "c"), ("d", "e")]
    assert circles(graph(a="b c", b="c")) == []


# --- drawing -----------------------------------------------------------------------------------------------------


def test_the_picture() -> None:
    rooms = {"_compat.py": "", "generation": "client", "generation/batch": "generation", "hooks": "generation/batch"}
    assert draw(graph(**rooms)).splitlines() == [
        "flowchart TB",
        '    room__compat_py["_compat.py"]',
        '    room_client["client"]',
        '    subgraph generation ["generation/"]',
        '    room_generation["its own files"]',
        '    room_generation_batch["batch"]',
        "    end",
        '    room_hooks["hooks"]',
        "    room_generation --> room_client",
        "    room_generation_batch --> room_generation",
        "    room_hooks --> room_generation_batch",
    ]


def test_the_rest_of_the_page_stays() -> None:
    page = f"# Title\n\n{BEGIN}\nold\n{END}\n\nText\n"
    once = put_into(page, "flowchart TB")
    assert once == f"# Title\n\n{BEGIN}\n```mermaid\nflowchart TB\n```\n{END}\n\nText\n"
    assert put_into(once, "flowchart TB") == once


@pytest.mark.parametrize("page", ["# Title\n", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_a_place_for_the_picture_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="no place for the picture"):
        put_into(page, "flowchart TB")


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repo with a package of two rooms and a page without a picture."""
    for path, source in {
        "client/errors.py": "",
        "hooks/hook.py": "import airflow_provider_apimart.client.errors",
    }.items():
        file = tmp_path / house.PACKAGE / path
        file.parent.mkdir(parents=True)
        file.write_text(source)
    (tmp_path / "docs").mkdir()
    (tmp_path / house.PAGE).write_text(f"{BEGIN}\n{END}\n")
    return tmp_path


def test_check_fails_until_it_is_drawn(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main(["--check"], repo) == 1
    assert "run `make house`" in capsys.readouterr().err
    assert (repo / house.PAGE).read_text() == f"{BEGIN}\n{END}\n"
    assert house.main([], repo) == 0
    assert "room_hooks --> room_client" in (repo / house.PAGE).read_text()
    assert house.main(["--check"], repo) == 0


def test_check_fails_when_an_arrow_is_new(repo: Path) -> None:
    house.main([], repo)
    (repo / house.PACKAGE / "client/new.py").write_text("import airflow_provider_apimart.hooks.hook")
    assert house.main(["--check"], repo) == 1


def test_circles_are_named(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main(["--check-circles"], repo) == 0
    (repo / house.PACKAGE / "client/errors.py").write_text("import airflow_provider_apimart.hooks.hook")
    assert house.main(["--check-circles"], repo) == 1
    assert capsys.readouterr().err.splitlines() == [
        "files that import each other: client/errors.py, hooks/hook.py",
        "rooms that import each other: client, hooks",
    ]


def test_rooms_can_form_a_circle_where_files_do_not(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / house.PACKAGE / "client/new.py").write_text("import airflow_provider_apimart.hooks.hook")
    assert house.main(["--check-circles"], repo) == 1
    assert capsys.readouterr().err == "rooms that import each other: client, hooks\n"
