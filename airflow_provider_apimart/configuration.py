"""The options of ``[apimart]`` in Airflow's configuration, as ``airflow config list`` and its docs tell them.

Imported while Airflow discovers providers, so it imports nothing.
"""

from __future__ import annotations

from typing import Any

SECTION = "apimart"


def _option(kind: str, default: str, description: str, example: str | None = None) -> dict[str, Any]:
    return {
        "description": f"{description}\n",
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }


OPTIONS = {
    "video_delivery": _option(
        "string",
        "proxy",
        "How a video reaches the browser. ``proxy``: through the API server. ``redirect``: by a presigned link of\n"
        "S3, Google Cloud Storage or Azure, after the permission check; storages without such links answer 501.\n"
        "``auto``: by a link where the storage makes one, else through the API server.",
        "auto",
    ),
    "video_link_seconds": _option("integer", "300", "For how many seconds a presigned link lives: 10 to 3600.", "900"),
    "max_streams": _option(
        "integer",
        "32",
        "How many videos one API server process sends at the same time, 1 to 1000. Each takes some 3 MiB of memory.\n"
        "Whoever comes when all are taken is told to come back in 2 seconds.",
        "64",
    ),
    "video_roots": _option(
        "string",
        "",
        "Comma-separated folders. Only videos and pictures below these are shown. Empty: all that a task's record\n"
        "names.",
        "s3://aws_prod@videos/, /mnt/videos",
    ),
    "gallery": _option(
        "boolean",
        "True",
        "Whether there is a gallery, and the index behind it in Airflow's database. Without it the tabs of tasks stay.",
        "False",
    ),
    "index_retention_days": _option(
        "integer",
        "0",
        "After how many days a generation leaves the gallery; 0 keeps it for ever. Its video stays where it is.",
        "365",
    ),
}
DESCRIPTION = "Options of the APIMart provider's pages. They are read by the API servers.\n"
CONFIG = {SECTION: {"description": DESCRIPTION, "options": OPTIONS}}
