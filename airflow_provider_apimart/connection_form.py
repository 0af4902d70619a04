"""The connection forms, for the provider info (Airflow 3.2 and later) and for the hooks (3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Form:
    """The form of one type of connection.

    :param hook: the hook's class.
    :param name: what Airflow's list of types calls it.
    :param behaviour: hidden fields, labels and placeholders of the fields that every connection has.
    :param fields: the fields of extra, by name.
    """

    hook: str
    name: str
    behaviour: dict[str, Any]
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)


_HOOKS = "airflow_provider_apimart.hooks"

#: By connection type.
FORMS: dict[str, Form] = {
    "apimart": Form(f"{_HOOKS}.apimart.ApimartHook", "APIMart", UI_FIELD_BEHAVIOUR, CONN_FIELDS),
    "signed_webhook": Form(
        f"{_HOOKS}.webhook.SignedWebhookHook",
        "Signed webhook",
        {
            "hidden-fields": ["login", "port", "schema", "extra"],
            "relabeling": {"password": "Signing secrets", "host": "URL"},
            "placeholders": {
                "host": "https://hooks.example.com/videos",
                "password": "whsec_... (several, separated by spaces, while they rotate)",
            },
        },
        {
            "allow_http": {
                "label": "Allow http://",
                "description": "Permit an unencrypted URL on another machine. Messages and links then travel in the "
                "clear.",
                "schema": {"type": ["boolean", "null"], "default": False},
            },
        },
    ),
    "c2pa_signer": Form(
        f"{_HOOKS}.c2pa.C2paSignerHook",
        "C2PA signer",
        {
            "hidden-fields": ["host", "login", "port", "schema", "extra"],
            "relabeling": {"password": "Private key"},
            "placeholders": {"password": "-----BEGIN PRIVATE KEY----- ... (PEM; line breaks may be lost)"},
        },
        {
            "certificate_chain": {
                "label": "Certificate chain",
                "description": "PEM: the signer's own certificate first, then those that issued it.",
                "schema": {"type": ["string", "null"], "format": "multiline"},
            },
            "private_key_passphrase": {
                "label": "Passphrase of the private key",
                "description": "If the key is encrypted.",
                "schema": {"type": ["string", "null"], "format": "password"},
            },
            "timestamp_url": {
                "label": "Timestamp authority (URL)",
                "description": "RFC 3161. It proves when a file was signed, also after the certificate has expired. "
                "Empty: none is asked.",
                "schema": {"type": ["string", "null"]},
            },
        },
    ),
    "instagram": Form(
        f"{_HOOKS}.instagram.InstagramHook",
        "Instagram",
        {
            "hidden-fields": ["port", "schema", "extra"],
            "relabeling": {"login": "Instagram account ID", "password": "Access token", "host": "Graph API URL"},
            "placeholders": {
                "login": "17841..., may be empty with Instagram Login",
                "password": "a long-lived token: IGAA... (Instagram Login) or EAA... (Facebook Login)",
                "host": "empty: the one that the token belongs to",
            },
        },
        {
            "token_expires_at": {
                "label": "Token expires at",
                "description": "A date such as 2027-01-20: the log warns in the last ten days. Meta does not tell it "
                "for tokens of Instagram Login.",
                "schema": {"type": ["string", "null"]},
            },
            "app_secret": {
                "label": "App secret",
                "description": "Signs each request (appsecret_proof), if the app asks for it. Empty: not sent.",
                "schema": {"type": ["string", "null"], "format": "password"},
            },
            "api_version": {
                "label": "API version",
                "description": "Of the Graph API. Empty: v25.0.",
                "schema": {"type": ["string", "null"], "pattern": "^$|^v[0-9]+\\.[0-9]+$"},
            },
            "upload_url": {
                "label": "Upload URL",
                "description": "Where a file's bytes go. Empty: Meta's own.",
                "schema": {"type": ["string", "null"]},
            },
        },
    ),
    "youtube": Form(
        f"{_HOOKS}.youtube.YouTubeHook",
        "YouTube",
        {
            "hidden-fields": ["host", "port", "schema", "extra"],
            "relabeling": {"login": "OAuth client ID", "password": "OAuth client secret"},
            "placeholders": {
                "login": "1234-abc.apps.googleusercontent.com",
                "password": "airflow-provider-apimart connect youtube makes the whole connection",
            },
        },
        {
            "refresh_token": {
                "label": "Refresh token",
                "description": "What the channel's owner has granted. The command connect youtube gets it.",
                "schema": {"type": ["string", "null"], "format": "password"},
            },
            "api_base_url": {
                "label": "API base URL",
                "description": "For the emulator. Empty: https://www.googleapis.com.",
                "schema": {"type": ["string", "null"]},
            },
            "token_url": {
                "label": "Token URL",
                "description": "For the emulator. Empty: https://oauth2.googleapis.com/token.",
                "schema": {"type": ["string", "null"]},
            },
            "allow_http": {
                "label": "Allow http://",
                "description": "Permit an unencrypted URL on another machine. Tokens then travel in the clear.",
                "schema": {"type": ["boolean", "null"], "default": False},
            },
        },
    ),
}
