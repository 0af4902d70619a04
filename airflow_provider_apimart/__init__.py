"""Apache Airflow provider for APIMart's Veo video generation.

Kept light: Airflow imports this module to discover the provider, before its own configuration is ready.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as Airflow expects it."""
    from airflow_provider_apimart.configuration import CONFIG
    from airflow_provider_apimart.connection_form import FORMS

    name = "APIMart Veo"
    return {
        "package-name": "airflow-provider-apimart",
        "name": "APIMart",
        "description": "Video generation with APIMart's Veo 3.1 models: paid for once, landed whole.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": name, "external-doc-url": "https://docs.apimart.ai", "tags": ["service"]},
        ],
        "hooks": [
            {
                "integration-name": name,
                "python-modules": [
                    "airflow_provider_apimart.hooks.apimart",
                    "airflow_provider_apimart.hooks.webhook",
                    "airflow_provider_apimart.hooks.c2pa",
                    "airflow_provider_apimart.hooks.instagram",
                    "airflow_provider_apimart.hooks.youtube",
                    "airflow_provider_apimart.hooks.tables",
                    "airflow_provider_apimart.hooks.manifest",
                    "airflow_provider_apimart.hooks.posts",
                    "airflow_provider_apimart.hooks.decisions",
                ],
            }
        ],
        "operators": [
            {
                "integration-name": name,
                "python-modules": [
                    "airflow_provider_apimart.operators.veo",
                    "airflow_provider_apimart.operators.batch",
                    "airflow_provider_apimart.operators.media",
                    "airflow_provider_apimart.operators.remix",
                    "airflow_provider_apimart.operators.publish",
                    "airflow_provider_apimart.operators.approval",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": name,
                "python-modules": ["airflow_provider_apimart.sensors.apimart", "airflow_provider_apimart.sensors.veo"],
            }
        ],
        "triggers": [
            {
                "integration-name": name,
                "python-modules": [
                    "airflow_provider_apimart.triggers.veo",
                    "airflow_provider_apimart.triggers.batch",
                    "airflow_provider_apimart.triggers.balance",
                    "airflow_provider_apimart.triggers.budget",
                    "airflow_provider_apimart.triggers.publish",
                ],
            }
        ],
        "task-decorators": [{"name": "veo", "class-name": "airflow_provider_apimart.decorators.veo.veo_task"}],
        "extra-links": [
            "airflow_provider_apimart.links.veo.VeoVideoLink",
            "airflow_provider_apimart.links.veo.ApimartHelpLink",
            "airflow_provider_apimart.links.publish.PostLink",
            "airflow_provider_apimart.links.publish.StudioLink",
        ],
        "connection-types": [
            {
                "connection-type": kind,
                "hook-class-name": form.hook,
                "hook-name": form.name,
                "ui-field-behaviour": form.behaviour,
                "conn-fields": form.fields,
            }
            for kind, form in FORMS.items()
        ],
        "config": CONFIG,
    }
