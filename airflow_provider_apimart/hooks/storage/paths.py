"""Turns Airflow's object storage paths into the targets and files that ``generation/`` works with."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from airflow_provider_apimart.client.errors import (
    ApimartError,
    ConfigurationError,
    FieldProblem,
    InvalidParameterError,
)
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.images import MAX_UPLOAD_BYTES, LocalImage, check_image
from airflow_provider_apimart.hooks.connections.connection_hook import mask
from airflow_provider_apimart.storage.files import Target
from airflow_provider_apimart.storage.links import signed_link

#: Connection ids that mean "the credentials of this machine" to Amazon's provider. Such a connection need not exist.
AMBIENT_CONNECTIONS = frozenset({"aws_default"})
#: What a path on this machine's disk may begin with.
LOCAL_PROTOCOLS = frozenset({"", "file", "local"})
#: A path object that ends in one of these is a file. Any other is a folder, also ``v1.2`` and ``2026.01.15``.
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov"})


def target_of(output_path: str | os.PathLike[str] | ObjectStoragePath) -> Target:
    """Return the target that an ``output_path`` names.

    Text that ends in ``/`` is a folder. A path object cannot end in ``/``: ``ObjectStoragePath("s3://b/videos/")``
    loses its slash. If it were taken for a file, each run would replace that file. So a path object is a folder, where
    each video has a name of its own, unless it has the suffix of a video.

    :raises ConfigurationError: if the storage cannot be used: an unknown scheme, a missing connection or package.
    """
    uri = str(output_path)
    if not isinstance(output_path, str) and posixpath.splitext(uri)[1].lower() not in VIDEO_SUFFIXES:
        uri = f"{uri.rstrip('/')}/"
    return _place(output_path, uri, "output_path")


def folder_of(path: str | os.PathLike[str] | ObjectStoragePath) -> Target:
    """Return the target of a folder, whether or not its path ends in a slash.

    :raises ConfigurationError: if the storage cannot be used: an unknown scheme, a missing connection or package.
    """
    uri = str(path)
    return target_of(uri if uri.endswith("/") else f"{uri}/")


def file_of(path: str | os.PathLike[str] | ObjectStoragePath, name: str) -> Target:
    """Return the place of an existing file.

    :param name: the argument that named it.
    :raises ConfigurationError: if the storage cannot be used: an unknown scheme, a missing connection or package.
    """
    return _place(path, str(path), name)


def _place(given: str | os.PathLike[str] | ObjectStoragePath, uri: str, name: str) -> Target:
    try:
        path = storage_path(given)
        fs = file_system(path)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}={shown_path(uri)!r}: {error.message}") from None
    except Exception as error:
        # Each storage back end raises its own errors: a missing package, a missing connection, an unknown scheme.
        raise ConfigurationError(
            f"{name}={shown_path(uri)!r}: this storage cannot be used: {type(error).__name__}: {error}"
        ) from error
    inner = str(path.path)
    return Target(fs=fs, path=inner.rstrip("/") + "/" if uri.endswith("/") else inner, uri=uri)


def storage_path(path: str | os.PathLike[str] | ObjectStoragePath) -> ObjectStoragePath:
    """Return a path in some storage, after checking that its connection exists.

    :raises ConfigurationError: if it does not exist. Amazon's provider would otherwise use whatever credentials the
        machine has, or none.
    """
    if isinstance(path, ObjectStoragePath):
        # Where the path keeps it depends on the version of Airflow.
        conn_id = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")
    else:
        # Taken from the text, because creating the path object would already access the storage.
        conn_id = urlsplit(str(path)).netloc.rpartition("@")[0]
    if conn_id and conn_id not in AMBIENT_CONNECTIONS:
        _check_connection(str(conn_id))
    return path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(str(path))


def file_system(path: ObjectStoragePath) -> Any:
    """Return the file system that a path is on.

    Airflow's own look-up loads the file systems of all providers that are installed, with their clients: half a second
    of CPU in each process where Amazon's provider is, also for a path on this machine's disk. So that one is opened
    without it, as Airflow would open it.
    """
    conn_id = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")
    if path.protocol in LOCAL_PROTOCOLS and not conn_id and not path.storage_options:
        return LocalFileSystem()
    return path.fs


@functools.lru_cache(maxsize=64)
def _check_connection(conn_id: str) -> None:
    """Raise if a connection does not exist. Connections that exist are cached; a missing one is looked up each time."""
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
    """Return a path for a message, with any password in it hidden."""
    return re.sub(r"://[^/@]*:[^/@]*@", "://***@", str(path))


def masked_link(target: Target, lifetime: timedelta) -> str:
    """Return a signed link to a stored file, masked in every log of this process: it is a secret while it lives.

    :raises ConfigurationError: if this storage cannot sign links.
    :raises LandingError: if it could, but does not now.
    """
    link = signed_link(target, lifetime)
    mask(link)
    return link


class StorageReadError(ApimartError):
    """A file in storage could not be read this time. Nothing was sent."""

    charge = ConfigurationError.charge


def read_images(request: VeoRequest) -> Mapping[str, LocalImage]:
    """Read and check those of the request's frames that are files, before anything is paid for.

    :raises InvalidParameterError: for a file that is missing, too large or not an image.
    """
    return {name: read_image(name, path, request) for name, path in request.local_images.items()}


def read_image(name: str, path: str, request: VeoRequest) -> LocalImage:
    """Read and check one frame.

    :raises InvalidParameterError: for a file that is missing, too large or not an image.
    :raises StorageReadError: if the storage cannot be reached this time.
    """
    try:
        place = storage_path(path)
        with file_system(place).open(place.path, "rb") as file:
            # One byte over the limit is enough to see that the file is too large.
            content = file.read(MAX_UPLOAD_BYTES + 1)
    except ConfigurationError as error:
        raise InvalidParameterError((FieldProblem(name, shown_path(path), error.message),)) from None
    except (FileNotFoundError, IsADirectoryError, PermissionError, ValueError, ImportError) as error:
        problem = (
            f"allowed: an http(s) URL, asset://…, or the path of a readable image; {type(error).__name__}: {error}"
        )
        raise InvalidParameterError((FieldProblem(name, path, problem),)) from None
    except Exception as error:
        # Each object store raises its own errors when it cannot be reached. A retry may reach it again.
        raise StorageReadError(f"{name}={path!r} could not be read: {type(error).__name__}: {error}") from error
    return check_image(name, path, content, request.rules)
