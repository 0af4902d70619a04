"""Routes that exist at APIMart and that the emulator does not imitate: what they answer is not published, or not video.

Without a key they answer 401, as recorded. With one they say that the emulator cannot answer, so that a client does not
take a 404 for "there is no such route".
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from airflow_provider_apimart.emulator.apimart import answers
from airflow_provider_apimart.emulator.apimart.context import Context

ROUTES = (
    ("POST", "/v1/tasks/batch"),
    ("POST", "/v1/logs/export"),
    ("GET", "/v1/dashboard/billing/usage"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/chat/completions"),
)


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    async def answer(request: Request) -> Response:
        context.key_id(request)
        text = f"the emulator does not imitate {request.method} {request.url.path}"
        raise answers.documented(501, text, kind="not_emulated")

    for method, path in ROUTES:
        router.add_api_route(path, answer, methods=[method])
    return router
