"""Airflow's object storage paths as the targets and files that ``generation/`` works with."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath

from airflow_provider_apimart.client.errors import (
    ApimartError,
    ConfigurationError,
    FieldProblem,
    InvalidParameterError,
)
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.images import MAX_UPLOAD_BYTES, LocalImage, check_image
from airflow_provider_apimart.storage.files import Target

#: Amazon's own way to say "the credentials of this machine": there need be no such connection.
AMBIENT_CONNECTIONS = frozenset({"aws_default"})
#: A path object that ends in one of these is a file. No other ending says so: ``v1.2`` and ``2026.01.15`` are folders.
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov"})


def target_of(output_path: str | os.PathLike[str] | ObjectStoragePath) -> Target:
    """Return the target that an ``output_path`` names.

    Text that ends in ``/`` is a folder. A path object cannot end so: ``ObjectStoragePath("s3://b/videos/")`` has lost
    its slash, and taken for a file it would be replaced by each run. So a path object is a folder, where each video has
    a name of its own, unless it has the suffix of a video.

    :raises ConfigurationError: for a storage that is not there: an unknown scheme, a missing connection or package.
    """
    uri = str(output_path)
    if not isinstance(output_path, str) and posixpath.splitext(uri)[1].lower() not in VIDEO_SUFFIXES:
        uri = f"{uri.rstrip('/')}/"
    try:
        path = storage_path(output_path)
        fs = path.fs
    except ConfigurationError as error:
        raise ConfigurationError(f"output_path={shown_path(uri)!r}: {error.message}") from None
    except Exception as error:
        # Storage back ends raise what they like here: a missing package, a missing connection, an unknown scheme.
        raise ConfigurationError(
            f"output_path={shown_path(uri)!r}: this storage cannot be used: {type(error).__name__}: {error}"
        ) from error
    inner = str(path.path)
    return Target(fs=fs, path=inner.rstrip("/") + "/" if uri.endswith("/") else inner, uri=uri)


def storage_path(path: str | os.PathLike[str] | ObjectStoragePath) -> ObjectStoragePath:
    """Return a path in some storage, whose connection is there.

    :raises ConfigurationError: where it is not. Amazon's provider would go on with whatever credentials the machine
        has, or with none.
    """
    if isinstance(path, ObjectStoragePath):
        # Where the path keeps it depends on the version of Airflow.
        conn_id = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")
    else:
        # Looked at first: to make the path is to reach for the storage already.
        conn_id = urlsplit(str(path)).netloc.rpartition("@")[0]
    if conn_id and conn_id not in AMBIENT_CONNECTIONS:
        _check_connection(str(conn_id))
    return path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(str(path))


@functools.lru_cache(maxsize=64)
def _check_connection(conn_id: str) -> None:
    """Remembers those that are there; one that is missing is looked up anew each time."""
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        if ":" in conn_id:
            raise ConfigurationError(
                "what stands before the @ is the id of an Airflow connection, never a user and a password: make a "
                "connection for this storage and write its id there"
            ) from None
        raise ConfigurationError(
            f"there is no Airflow connection {conn_id!r}, which the path names before the @; make it, name one "
            "that there is, or leave it out to use the credentials of the machine"
        ) from None


def shown_path(path: object) -> str:
    """Return a path for a message, without a password that was written into it."""
    return re.sub(r"://[^/@]*:[^/@]*@", "://***@", str(path))


class StorageReadError(ApimartError):
    """A local image could not be read just now. Nothing was sent."""

    charge = ConfigurationError.charge


def read_images(request: VeoRequest) -> Mapping[str, LocalImage]:
    """Read and check the request's frames that are files, before anything is paid.

    :raises InvalidParameterError: for a file that is missing, too large or not an image.
    """
    return {name: read_image(name, path, request) for name, path in request.local_images.items()}


def read_image(name: str, path: str, request: VeoRequest) -> LocalImage:
    """Read and check one frame.

    :raises InvalidParameterError: for a file that is missing, too large or not an image.
    :raises StorageReadError: where the storage cannot be reached just now.
    """
    try:
        with storage_path(path).open("rb") as file:  # type: ignore[no-untyped-call]
            # One byte over the limit is enough to know that it is over.
            content = file.read(MAX_UPLOAD_BYTES + 1)
    except ConfigurationError as error:
        raise InvalidParameterError((FieldProblem(name, shown_path(path), error.message),)) from None
    except (FileNotFoundError, IsADirectoryError, PermissionError, ValueError, ImportError) as error:
        problem = (
            f"allowed: an http(s) URL, asset://…, or the path of a readable image; {type(error).__name__}: {error}"
        )
        raise InvalidParameterError((FieldProblem(name, path, problem),)) from None
    except Exception as error:
        # What object stores raise when they are out of reach is theirs; a retry may find them again.
        raise StorageReadError(f"{name}={path!r} could not be read: {type(error).__name__}: {error}") from error
    return check_image(name, path, content, request.rules)
