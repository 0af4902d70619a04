"""The Airflow connections that lead to the emulated publishing services. Imports nothing of Airflow."""

from __future__ import annotations

import json

from airflow_provider_apimart.emulator.publishing import instagram, webhook
from airflow_provider_apimart.emulator.publishing.youtube_project import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN


def connections(base_url: str, receiver: str = "cms") -> dict[str, dict[str, str]]:
    """Return the default connections of the publish operators, by id, in Airflow's JSON form.

    :param base_url: where the emulator listens.
    :param receiver: the name of the webhook receiver.
    """
    google = {"refresh_token": REFRESH_TOKEN, "api_base_url": base_url, "token_url": f"{base_url}/token"}
    return {
        "youtube_default": {
            "conn_type": "youtube",
            "login": CLIENT_ID,
            "password": CLIENT_SECRET,
            "extra": json.dumps(google),
        },
        "instagram_default": {
            "conn_type": "instagram",
            "host": base_url,
            "login": instagram.USER,
            "password": instagram.TOKENS[1],
        },
        "webhook_default": {
            "conn_type": "signed_webhook",
            "host": f"{base_url}/webhook-receiver/{receiver}",
            "password": webhook.SECRET,
        },
    }
