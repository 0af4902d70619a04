"""The last check before anything is paid: could a video be written to this place?

Owns the verdicts on places. A place that can never work is a :class:`.ConfigurationError`. A storage that merely does
not answer right now is not.
"""

from __future__ import annotations

import logging
import os

from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError, LandingError
from airflow_provider_apimart.storage import permissions
from airflow_provider_apimart.storage.files import (
    Target,
    error_text,
    is_local,
    is_object_store,
    local_path,
    looking,
    storage_errors,
)

log = logging.getLogger(__name__)


def check_target(target: Target, name: str = "output_path") -> None:
    """Check, before anything is paid, that a video could be written to ``target``.

    :param name: the argument that named it.
    :raises ConfigurationError: if it could not: a directory without the slash, no permission, no such bucket.
    :raises LandingError: if the storage does not answer right now.
    """
    if not target.is_folder and target.name.strip() in ("", ".", ".."):
        raise ConfigurationError(f"{name} {target.uri!r} names no file; end it in '/' to name a folder")
    if is_local(target.fs):
        _check_local(target, name)
    else:
        _check_remote(target, name)


def _check_local(target: Target, name: str) -> None:
    path = local_path(target)
    if target.is_folder:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise ConfigurationError(f"{name} {target.uri!r} ends in '/' but is not a directory")
        folder = path
    else:
        if os.path.isdir(path):
            raise ConfigurationError(
                f"{name} {target.uri!r} is a directory; write {target.uri + '/'!r} to have the videos put into it"
            )
        folder = os.path.dirname(path)
    existing = folder
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise ConfigurationError(f"{name} {target.uri!r} cannot be written: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{name} {target.uri!r} cannot be written: no permission to write in {existing}")


def _check_remote(target: Target, name: str) -> None:
    path = target.path.rstrip("/")
    try:
        if is_object_store(target.fs):
            _check_bucket(target, path.strip("/").split("/")[0], name)
        with looking(target):
            found = target.fs.info(path)
    except FileNotFoundError:
        return  # The usual case: nothing is there, and the storage says so.
    except permissions.DeniedError as error:
        raise ConfigurationError(f"{name} {target.uri!r} cannot be used: {error.message}") from error
    except ApimartError:
        raise
    except (PermissionError, ImportError, ValueError) as error:
        raise ConfigurationError(f"{name} {target.uri!r} cannot be used: {error_text(error)}") from error
    except Exception as error:
        if "credential" in f"{type(error).__name__} {error}".lower():
            raise ConfigurationError(f"{name} {target.uri!r} cannot be used: {error_text(error)}") from error
        raise LandingError(f"The storage of {name} {target.uri!r} does not answer: {error_text(error)}") from error
    if found["type"] == "directory" and not target.is_folder:
        raise ConfigurationError(
            f"{name} {target.uri!r} is a folder; write {target.uri + '/'!r} to have the videos put into it"
        )


def check_listing(target: Target, name: str = "output_path") -> None:
    """Check, before anything is paid, that a folder can be listed, if that is needed.

    :raises ConfigurationError: if the storage forbids it.
    """
    with storage_errors(target, "listed"):
        try:
            target.fs.ls(target.path.rstrip("/"), detail=False)
        except FileNotFoundError:
            return
        except Exception as error:
            if not permissions.is_denied(error):
                raise
            raise ConfigurationError(
                f"{name} {target.uri!r} cannot be used: the storage forbids listing it ({error_text(error)}), and a "
                "batch finds out what it has paid for by listing its journal there; needed: "
                f"{permissions.needed(target.fs, to_list=True)}, or a state_path in another place"
            ) from error


def _check_bucket(target: Target, bucket: str, name: str) -> None:
    # ``exists`` of s3fs also returns false for a host that does not answer, and a role that may write objects often may
    # not inspect the bucket. So only a plain "no such bucket" is a verdict. The check of the object decides the rest.
    try:
        target.fs.info(bucket)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{name} {target.uri!r}: there is no bucket {bucket!r}") from error
    except Exception as error:
        log.debug("The bucket %s does not say whether it is there: %s", bucket, error_text(error))
