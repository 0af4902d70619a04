"""Airflow's object storage paths as the targets and files that ``generation/`` works with."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_apimart.client.errors import (
    ApimartError,
    ConfigurationError,
    FieldProblem,
    InvalidParameterError,
)
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.images import MAX_UPLOAD_BYTES, LocalImage, check_image
from airflow_provider_apimart.generation.storage import Target

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
        path = output_path if isinstance(output_path, ObjectStoragePath) else ObjectStoragePath(uri)
        fs = path.fs
    except Exception as error:
        # Storage back ends raise what they like here: a missing package, a missing connection, an unknown scheme.
        raise ConfigurationError(
            f"output_path={uri!r}: this storage cannot be used: {type(error).__name__}: {error}"
        ) from error
    inner = str(path.path)
    return Target(fs=fs, path=inner.rstrip("/") + "/" if uri.endswith("/") else inner, uri=uri)


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
        with ObjectStoragePath(path).open("rb") as file:  # type: ignore[no-untyped-call]
            # One byte over the limit is enough to know that it is over.
            content = file.read(MAX_UPLOAD_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, PermissionError, ValueError, ImportError) as error:
        problem = (
            f"allowed: an http(s) URL, asset://…, or the path of a readable image; {type(error).__name__}: {error}"
        )
        raise InvalidParameterError((FieldProblem(name, path, problem),)) from None
    except Exception as error:
        # What object stores raise when they are out of reach is theirs; a retry may find them again.
        raise StorageReadError(f"{name}={path!r} could not be read: {type(error).__name__}: {error}") from error
    return check_image(name, path, content, request.rules)
