"""Sphinx reads this. ``make docs`` builds the site into ``.docs/``; a warning, such as a broken link, fails it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from airflow_provider_apimart import __version__  # the repository's own, not an installed one

project = "airflow-provider-apimart"
release = __version__
copyright = "airflow-provider-apimart contributors"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "dev.site"]
source_suffix = {".md": "markdown"}
# So that `money.md#deadlines` means on the site what it means in the repository.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "colon_fence"]
# Files that Sphinx does not know are errors (dev/site.py finds the repository's own files for it).
suppress_warnings: list[str] = []

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
add_module_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"airflow-provider-apimart {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).resolve().parent / "static" / "scorer.js")
html_theme_options = {"navigation_with_keys": True}
# External addresses are asked only by `make docs-links`.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False
linkcheck_ignore = [r"http://(localhost|127\.0\.0\.1)"]
