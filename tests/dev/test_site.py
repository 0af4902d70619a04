"""What the site of the docs makes of the repository's pages, and what it refuses."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from airflow_provider_apimart import get_provider_info
from dev import site


@pytest.mark.parametrize(
    ("file", "place", "page", "written_in", "expected"),
    [
        ("money.md", "#errors", "docs/index.md", "docs/index.md", "money.md#errors"),
        ("../money.md", "", "docs/how-to/table.md", "docs/how-to/table.md", "../money.md"),
        ("../README.md", "", "docs/index.md", "docs/index.md", "index.md"),
        ("../CHANGELOG.md", "", "docs/money.md", "docs/money.md", "changelog.md"),
        ("../../example_dags/a_b.py", "", "docs/how-to/x.md", "docs/how-to/x.md", "../examples.md#a_b"),
        ("../dev/up.py", "", "docs/money.md", "docs/money.md", "../dev/up.py"),
        ("docs/money.md", "#errors", "docs/contributing.md", "CONTRIBUTING.md", "money.md#errors"),
        ("SECURITY.md", "", "docs/contributing.md", "CONTRIBUTING.md", "security.md"),
    ],
)  # fmt: skip
def test_a_link_leads_to_the_same_place(file: str, place: str, page: str, written_in: str, expected: str) -> None:
    assert site.site_link(file, place, page, written_in) == expected


def test_only_links_of_prose_are_changed() -> None:
    text = "[a](../CHANGELOG.md) [b](https://a.example/../x) [c](#here)\n```\n[d](../CHANGELOG.md)\n```\n![e](x.png)\n"
    expected = text.replace("[a](../CHANGELOG.md)", "[a](changelog.md)")
    assert site.with_site_links(text, "docs/money.md", "docs/money.md") == expected


def test_a_cell_stays_one_cell() -> None:
    assert site.cell("``a`` | b\nc") == "`a` \\| b c"


def test_every_option_and_every_field_of_a_connection_is_in_its_table() -> None:
    info = get_provider_info()
    options = site.options_text(info)
    assert all(f"`{name}`" in options for told in info["config"].values() for name in told["options"])
    for form in info["connection-types"]:
        text = site.connection_text(info, form["connection-type"])
        assert all(f"`{name}` (extra)" in text for name in form["conn-fields"])


def test_every_command_is_in_the_reference() -> None:
    text = site.commands_text()
    assert all(f"## {name}\n" in text for name in ("reconcile", "audit", "connect", "index"))
    assert "--land" in text


def of_module(**names: Any) -> ModuleType:
    module = ModuleType("fake")
    for name, value in names.items():
        if callable(value):
            value.__module__ = "fake"
        setattr(module, name, value)
    return module


def test_a_modules_own_names_are_public_unless_it_lists_them() -> None:
    def mine() -> None:
        """Mine."""

    def other() -> None:
        """Another."""

    assert dict(site.public_names(of_module(mine=mine, _hidden=other, other=other, VALUE=1))) == {
        "mine": mine,
        "other": other,
    }
    listed = of_module(mine=mine, other=other)
    listed.__all__ = ["other"]  # type: ignore[attr-defined]
    assert dict(site.public_names(listed)) == {"other": other}


def test_what_is_not_explained_is_named() -> None:
    def silent(a: int, *, b: int, **kwargs: int) -> None:
        """Do.

        :param a: what.
        """

    assert site.unsaid(silent) == ["b"]


def test_a_public_name_without_a_page_or_a_docstring_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(a: int) -> None:
        pass

    monkeypatch.setattr(site, "public_modules", lambda info: ["fake"])
    monkeypatch.setattr(site.importlib, "import_module", lambda name: of_module(plain=plain))
    assert site.problems_of_names(set(), {}) == [
        "fake.plain is public, and no page of the reference has it",
        "fake.plain has no docstring",
        "fake.plain does not explain its parameter a",
    ]
    assert len(site.problems_of_names({"fake.plain"}, {})) == 2
