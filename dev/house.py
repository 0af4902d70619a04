"""``make house``: draws the package's rooms from its import graph, into the page on the architecture.

Reads the source with ``ast`` and imports none of it. A room is a folder; a file at the top of the package is a room of
its own. Imports inside functions and under ``TYPE_CHECKING`` count too. An arrow that follows from others is left out.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path

REPO, PACKAGE, PAGE = Path(__file__).resolve().parent.parent, "airflow_provider_apimart", "docs/architecture.md"
BEGIN, END = "<!-- Made by `make house`; do not edit. -->", "<!-- The end of what `make house` makes. -->"
#: Any file may import the package for its version, so arrows to it say nothing.
ROOT = "__init__.py"
#: What each file or room imports, by its path inside the package.
Graph = Mapping[str, frozenset[str]]


def file_of(name: str, files: Collection[str]) -> str | None:
    """Return the file that a dotted name comes from, or ``None`` for a name from outside the package."""
    top, *parts = name.split(".")
    if top != PACKAGE:
        return None
    # A name that is not a module is defined inside one.
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        for candidate in (f"{path}.py", f"{path}/__init__.py"):
            if candidate in files:
                return candidate
    return ROOT


def imports_of(source: str, files: Collection[str]) -> frozenset[str]:
    """Return the files of the package that a source imports, wherever the import statement is."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return frozenset(file for name in names if (file := file_of(name, files)) is not None)


def files_graph(sources: Mapping[str, str]) -> Graph:
    """Return what each file imports, given the sources by path."""
    return {file: imports_of(source, sources) - {file} for file, source in sources.items()}


def room_of(file: str) -> str:
    """Return the folder of a file, or the file itself if it is at the top of the package."""
    return file.rpartition("/")[0] or file


def rooms_graph(files: Graph) -> Graph:
    """Return which rooms each room imports. A folder that holds only folders is not a room."""
    rooms: dict[str, set[str]] = {}
    for file, imported in files.items():
        targets = {room_of(target) for target in imported - {ROOT}} - {room_of(file)}
        if targets or not file.endswith(ROOT):
            rooms.setdefault(room_of(file), set()).update(targets)
        for target in targets:
            rooms.setdefault(target, set())
    rooms.pop(ROOT, None)
    return {room: frozenset(targets) for room, targets in rooms.items()}


def closure(graph: Graph) -> dict[str, set[str]]:
    """Return what each node imports, directly or through others (Warshall's algorithm)."""
    far = {node: set(targets) for node, targets in graph.items()}
    for via in graph:
        for node in graph:
            if via in far[node]:
                far[node] |= far[via]
    return far


def essential(graph: Graph) -> Graph:
    """Return the graph without the arrows that follow from others. Arrows on a circle all stay."""
    far = closure(graph)

    def follows(source: str, target: str) -> bool:
        ways = (via for via in graph[source] if target in far[via] and via not in far[target])
        return any(source not in far[via] for via in ways)

    return {node: frozenset(one for one in targets if not follows(node, one)) for node, targets in graph.items()}


def circles(graph: Graph) -> list[tuple[str, ...]]:
    """Return the groups of nodes that import each other, directly or through others."""
    far = closure(graph)
    return sorted({tuple(sorted(other for other in far[node] if node in far[other])) for node in graph} - {()})


def draw(rooms: Graph) -> str:
    """Return the picture, as Mermaid source."""
    lines = ["flowchart TB"]
    for top, group in groupby(sorted(rooms), lambda room: room.partition("/")[0]):
        inside = list(group)
        framed = inside != [top]
        lines += [f'    subgraph {top} ["{top}/"]'] * framed
        for room in inside:
            label = "its own files" if framed and room == top else room.removeprefix(f"{top}/")
            lines.append(f'    {_id(room)}["{label}"]')
        lines += ["    end"] * framed
    lines += [f"    {_id(room)} --> {_id(target)}" for room in sorted(rooms) for target in sorted(rooms[room])]
    return "\n".join(lines)


def _id(room: str) -> str:
    return "room_" + room.replace("/", "_").replace(".", "_")


def put_into(page: str, picture: str) -> str:
    """Return the page with the picture between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no place for the picture: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n```mermaid\n{picture}\n```\n{END}{after}"


def main(arguments: Sequence[str] | None = None, repo: Path = REPO) -> int:
    """Draw, or check, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.house", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if the page is out of date")
    parser.add_argument("--check-circles", action="store_true", help="the same if files or rooms import each other")
    options = parser.parse_args(arguments)
    root, page = repo / PACKAGE, repo / PAGE
    files = files_graph({path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*.py")})
    old = page.read_text("utf-8")
    rooms = rooms_graph(files)
    new = put_into(old, draw(essential(rooms)))
    if not (options.check or options.check_circles):
        page.write_text(new, "utf-8")
    problems = [f"{PAGE} is out of date: run `make house`"] if options.check and old != new else []
    for graph, what in [(files, "files"), (rooms, "rooms")] * options.check_circles:
        problems += [f"{what} that import each other: {', '.join(group)}" for group in circles(graph)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
