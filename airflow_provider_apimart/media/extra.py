"""Whether the extra ``media`` is installed, without loading it."""

from __future__ import annotations

import importlib.util

from airflow_provider_apimart.client.errors import ConfigurationError

#: The modules that the extra brings, by the name that pip knows.
MODULES = {"av": "av", "PIL": "pillow", "fontTools": "fonttools", "regex": "regex"}


def require_media(what: str = "this") -> None:
    """Check that the extra is installed.

    :param what: what needs it, for the message.
    :raises ConfigurationError: if it is not.
    """
    missing = [name for module, name in MODULES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"{what} needs {' and '.join(missing)} on the worker: pip install 'airflow-provider-apimart[media]'"
        )
