"""Buttons on the task instance's page: the post, and the target's own page about it."""

from __future__ import annotations

from typing import Any

from airflow_provider_apimart._compat import BaseOperator, BaseOperatorLink


class PostLink(BaseOperatorLink):
    """Opens the post."""

    name = "Post"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the post's page, or nothing while there is none."""
        return getattr(operator, "post_url", None) or ""


class StudioLink(BaseOperatorLink):
    """Opens the page where the account's owner edits the post."""

    name = "Studio"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the page, or nothing where a target has none."""
        return getattr(operator, "studio_url", None) or ""
