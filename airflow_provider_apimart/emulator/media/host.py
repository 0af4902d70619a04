"""Serves bytes as a media host does: one range at a time, a strong ETag, CloudFront's XML if access is refused."""

from __future__ import annotations

import re
from email.utils import formatdate
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import Response

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def refused(status: int) -> Response:
    """Return an error as a media host sends it: XML with CloudFront's headers."""
    code = "AccessDenied" if status == 403 else HTTPStatus(status).phrase.replace(" ", "")
    error = f"<Error><Code>{code}</Code><Message>{HTTPStatus(status).phrase}</Message></Error>"
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'
    headers = {"Server": "CloudFront", "X-Cache": "Error from cloudfront"}
    return Response(text, status_code=status, media_type="application/xml", headers=headers)


def denied() -> Response:
    """Return the 403 of an expired URL."""
    return refused(403)


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a range; ``None`` for a range that cannot be served.

    :raises ValueError: for a header that is not a single range of bytes; the caller ignores such a header.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not any(match.groups()):
        raise ValueError(header)
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) and size else None
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        raise ValueError(header)
    return (start, end) if start < size else None


def serve(request: Request, data: bytes, *, etag: str, media_type: str, modified: float) -> Response:
    """Answer a GET or HEAD for some bytes."""
    last_modified = formatdate(modified, usegmt=True)
    headers = {"ETag": etag, "Last-Modified": last_modified, "Accept-Ranges": "bytes"}
    if request.headers.get("if-none-match") in (etag, "*"):
        return Response(status_code=304, headers=headers)
    status, body = 200, data
    wanted = request.headers.get("range")
    if wanted and request.headers.get("if-range", etag) in (etag, last_modified):
        try:
            span = _span(wanted, len(data))
        except ValueError:
            pass
        else:
            if span is None:
                headers["Content-Range"] = f"bytes */{len(data)}"
                return Response(status_code=416, headers=headers)
            status, body = 206, data[span[0] : span[1] + 1]
            headers["Content-Range"] = f"bytes {span[0]}-{span[1]}/{len(data)}"
    headers["Content-Length"] = str(len(body))
    return Response(b"" if request.method == "HEAD" else body, status, headers, media_type)
