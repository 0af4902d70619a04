"""What Sphinx needs to know of this repository, as an extension of ``docs/conf.py`` (``make docs`` builds the site).

It takes the pages as the repository has them: a link that works there works on the site. It draws the tables of
connections and options from the provider's own metadata, and warns of public names that the reference leaves out or
that say too little of themselves. ``make docs`` turns each warning into a failure.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from airflow_provider_apimart import get_provider_info
from dev.public_names import PACKAGE, public_modules, public_names

REPO = Path(__file__).resolve().parent.parent
#: The repository's own pages, and the site's pages that hold them.
TOLD_IN = {
    "README.md": "docs/index.md",
    "CHANGELOG.md": "docs/changelog.md",
    "CONTRIBUTING.md": "docs/contributing.md",
    "SECURITY.md": "docs/security.md",
    "example_dags": "docs/examples.md",
}
#: A Markdown link or image to somewhere in the repository: its text, the file, and the place in the file.
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?(?=[)\s])")
#: "Takes what :func:`read_table` takes."
SAME_AS = re.compile(r":func:`\.?(\w+)`")
FENCE = re.compile(r"^(```+|~~~+).*?^\1", re.MULTILINE | re.DOTALL)

log = logging.getLogger(__name__)


# --- links -------------------------------------------------------------------------------------------------------


def site_link(file: str, place: str, page: str, written_in: str) -> str:
    """Return a link of the repository as the site's page has to write it.

    :param file: the linked file, as the link has it.
    :param place: what follows the file, ``#`` included, or nothing.
    :param page: the site's page, from the repository's root (``docs/how-to/table.md``).
    :param written_in: the file that the link stands in, which may be included by ``page``.
    """
    linked = posixpath.normpath(posixpath.join(posixpath.dirname(written_in), file))
    folder, _, name = linked.rpartition("/")
    if linked in TOLD_IN:
        linked = TOLD_IN[linked]
    elif folder == "example_dags" and name.endswith(".py"):
        linked, place = TOLD_IN[folder], f"#{name.removesuffix('.py')}"
    return posixpath.relpath(linked, posixpath.dirname(page)) + place


def with_site_links(text: str, page: str, written_in: str) -> str:
    """Return a page's text with each link as the site needs it; code is left as it is."""

    def linked(prose: str) -> str:
        return LINK.sub(lambda m: m[1] + site_link(m[2], m[3] or "", page, written_in), prose)

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [linked(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, linked(text[end:])])


def _read_page(app: Sphinx, docname: str, content: list[str]) -> None:
    page = f"docs/{docname}.md"
    content[0] = with_site_links(content[0], page, page)


def _read_include(app: Sphinx, relative_path: Path, parent_docname: str, content: list[str]) -> None:
    if relative_path.suffix == ".md":
        written_in = (Path(app.srcdir) / relative_path).resolve().relative_to(REPO).as_posix()
        content[0] = with_site_links(content[0], f"docs/{parent_docname}.md", written_in)


# --- tables from the provider's metadata -------------------------------------------------------------------------


def cell(text: object) -> str:
    """Return text as a cell of a Markdown table."""
    return " ".join(str(text).replace("``", "`").split()).replace("|", "\\|")


def table(heads: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def options_text(info: Mapping[str, Any]) -> str:
    """Return the tables of the options in Airflow's configuration."""
    return "\n\n".join(
        table(
            (f"`[{section}]`", "default", "meaning"),
            [
                (f"`{name}`", f"`{option['default']}`" if option["default"] else "", option["description"])
                for name, option in told["options"].items()
            ],
        )
        for section, told in info["config"].items()
    )


def connection_text(info: Mapping[str, Any], kind: str) -> str:
    """Return the table of the extra fields of one type of connection."""
    form = next(form for form in info["connection-types"] if form["connection-type"] == kind)
    labels = form["ui-field-behaviour"].get("relabeling", {})
    rows = [(f"`{name}`", label, "") for name, label in labels.items()]
    for name, told in form["conn-fields"].items():
        rows.append((f"`{name}` (extra)", told["label"], told.get("description") or ""))
    return table(("field", "in the form", "meaning"), rows)


def commands_text() -> str:
    """Return the help of each command, as a page."""
    from airflow_provider_apimart import cli

    commands = next(one for one in cli.parser()._actions if isinstance(one, argparse._SubParsersAction))
    return "\n\n".join(
        f"## {name}\n\n```text\n{command.format_help().strip()}\n```" for name, command in commands.choices.items()
    )


class ProviderTable(SphinxDirective):
    """``{provider-table} options``, ``commands``, or the type of a connection."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        what, info = self.arguments[0], get_provider_info()
        if what == "options":
            text = options_text(info)
        elif what == "commands":
            text = commands_text()
        else:
            text = connection_text(info, what)
        node = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), source="get_provider_info"), self.content_offset, node)
        return list(node.children)


# --- public names ------------------------------------------------------------------------------------------------


def explanations(value: Any) -> str:
    """Return the docstring of a class or a function, with those that it takes parameters from."""
    said = [inspect.getdoc(value) or ""]
    if inspect.isclass(value):
        # What a class passes on to its base through ``**kwargs`` need not be explained again.
        said += [inspect.getdoc(base) or "" for base in value.__mro__[1:] if base.__module__.startswith(PACKAGE)]
    else:
        neighbours = vars(importlib.import_module(value.__module__))
        said += [inspect.getdoc(neighbours.get(name)) or "" for name in SAME_AS.findall(said[0])]
    return "".join(said)


def unsaid(value: Any) -> list[str]:
    """Return the parameters of a class or a function that no docstring explains."""
    if inspect.isclass(value) and "__init__" not in vars(value):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(value.__init__ if inspect.isclass(value) else value).parameters.values()
    names = [one.name for one in parameters if one.name not in ("self", "context") and one.kind not in kinds]
    said = explanations(value)
    return [name for name in names if f":param {name}:" not in said]


def problems_of_names(documented: set[str], info: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the public names, one text each.

    :param documented: the full names that the reference has.
    """
    found = []
    for dotted in public_modules(info):
        for name, value in public_names(importlib.import_module(dotted)):
            full = f"{dotted}.{name}"
            if full not in documented:
                found.append(f"{full} is public, and no page of the reference has it")
            if not inspect.getdoc(value):
                found.append(f"{full} has no docstring")
            found += [f"{full} does not explain its parameter {one}" for one in unsaid(value)]
    return found


def _check_names(app: Sphinx, env: BuildEnvironment) -> None:
    documented = set(env.domaindata["py"]["objects"])
    for problem in problems_of_names(documented, get_provider_info()):
        log.warning("%s", problem)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Sphinx calls this."""
    app.connect("source-read", _read_page)
    app.connect("include-read", _read_include)
    app.connect("env-check-consistency", _check_names)
    app.add_directive("provider-table", ProviderTable)
    # Drawn where the repository is read; here its few lines are read as they are.
    app.add_lexer("mermaid", TextLexer)
    # The metadata is as much a source of the pages as their text.
    app.add_config_value("provider_info", json.dumps(get_provider_info(), sort_keys=True, default=str), "env")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
