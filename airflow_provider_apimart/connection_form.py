"""The fields of the connection form, for the provider info (Airflow 3.2 and later) and for the hook (3.1)."""

from __future__ import annotations

from typing import Any

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login", "port", "schema", "extra"],
    "relabeling": {"password": "API Key", "host": "Base URL"},
    "placeholders": {"host": "https://api.apimart.ai", "password": "from apimart.ai/keys"},
}

CONN_FIELDS: dict[str, dict[str, Any]] = {
    "allow_http": {
        "label": "Allow http://",
        "description": "Permit an unencrypted Base URL on another machine. The API key then travels in the clear.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "response_version": {
        "label": "Response version",
        "description": "Sent as X-APIMart-Response-Version with submissions, such as 2026-07-27. Empty: not sent.",
        "schema": {"type": ["string", "null"], "pattern": "^$|^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    },
    "read_timeout_seconds": {
        "label": "Read timeout (seconds)",
        "description": "Raises the time that a whole call may take (status 15 s, submission 45 s, upload 120 s).",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
    "on_unknown_submit": {
        "label": "If a submission's answer is lost",
        "description": "resend: the identical request under its idempotency key (default). fail: nothing, until a "
        "person has looked. A task's own on_unknown_submit goes first.",
        "schema": {"type": ["string", "null"], "enum": ["resend", "fail", "", None]},
    },
    "max_video_megabytes": {
        "label": "Largest video (MiB)",
        "description": "Videos larger than this are not landed. Empty: 2048.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
    "requests_per_minute": {
        "label": "Requests per minute",
        "description": "The account's limit, if you know it: no process asks more. Empty: goes by APIMart's 429s.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
}
