"""Buttons on the task instance's page: the finished video, and help when it failed.

Airflow asks for a link at the end of each part of a task, in the process that ran it, and stores the answer. So the
operator carries what it knows as attributes, and nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_apimart._compat import BaseOperator, BaseOperatorLink

__all__ = ["ApimartHelpLink", "VeoVideoLink"]


class VeoVideoLink(BaseOperatorLink):
    """Opens the finished video at APIMart, until its URL expires."""

    name = "Video"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the video's URL, or nothing while there is none."""
        return getattr(operator, "video_url", None) or ""


class ApimartHelpLink(BaseOperatorLink):
    """Opens APIMart's page about what went wrong."""

    name = "APIMart help"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the page for the error that ended this try, or nothing."""
        return getattr(operator, "help_url", None) or ""


@contextmanager
def only_useful(task: Any) -> Iterator[None]:
    """Leave a task, at the end of its part, with those links that lead somewhere.

    Airflow stores each link of a task at the end of each part: a request to the API server and a row in the database.
    A link that is not stored is a button that leads nowhere, as one that is stored empty.
    """
    try:
        yield
    finally:
        ours = (VeoVideoLink, ApimartHelpLink)
        task.operator_extra_links = tuple(
            link for link in task.operator_extra_links if not isinstance(link, ours) or link.get_link(task, ti_key=None)
        )
