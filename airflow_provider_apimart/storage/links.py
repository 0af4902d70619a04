"""Signed links to stored files, for receivers that fetch a file themselves.

A signed link is a secret as long as it lives: whoever has it can read the file.
"""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.storage.files import Target, error_text, storage_errors

#: What S3 allows at most; the other storages allow at least as much.
LONGEST_LIFE = timedelta(days=7)


def signed_link(target: Target, lifetime: timedelta) -> str:
    """Return an ``https://`` link to a stored file that needs no credentials until ``lifetime`` has passed.

    A link that was signed with temporary credentials (a role) dies with them, even earlier.

    :raises ConfigurationError: if this storage cannot sign links.
    :raises LandingError: if it could, but does not now.
    """
    with storage_errors(target, "signed"):
        try:
            link = str(target.fs.sign(target.path, expiration=int(lifetime.total_seconds())))
        except (NotImplementedError, AttributeError, ImportError) as error:
            raise _cannot(target, error_text(error)) from None
    if not link.startswith(("https://", "http://")):
        raise _cannot(target, "it gave no http(s) URL")
    return link


def _cannot(target: Target, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{target.uri}: this storage cannot make a signed link to a file ({why}). S3, Google Cloud Storage and Azure "
        "Blob Storage can"
    )
