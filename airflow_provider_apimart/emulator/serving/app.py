"""Combines the routes into one application, inside the layer of :mod:`.middleware`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from airflow_provider_apimart.emulator.apimart import (
    answers,
    catalogue,
    side_routes,
    submit,
    task_routes,
    unpublished_routes,
    usage,
)
from airflow_provider_apimart.emulator.apimart.context import Context
from airflow_provider_apimart.emulator.control import control_routes, page
from airflow_provider_apimart.emulator.publishing import control as publishing_control
from airflow_provider_apimart.emulator.publishing import instagram_routes, webhook, youtube_routes
from airflow_provider_apimart.emulator.publishing.serving import Dropped
from airflow_provider_apimart.emulator.publishing.world import World
from airflow_provider_apimart.emulator.serving.middleware import FaultMiddleware, drop_connection
from airflow_provider_apimart.emulator.state.settings import EmulatorSettings


async def _api_error(request: Request, error: Any) -> Response:
    response: Response = error.response()
    return response


async def _http_error(request: Request, error: Any) -> Response:
    text = f"Invalid URL ({request.method} {request.url.path})"
    return answers.documented(error.status_code, text).response()


async def _dropped(request: Request, error: Any) -> Response:
    await drop_connection(request.scope, request.receive)
    return Response()


def create_app(settings: EmulatorSettings) -> ASGIApp:
    """Return the emulator as an ASGI application; its lifespan closes the state.

    :param settings: how the emulator behaves.
    """
    context = Context.create(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        context.close()

    app = FastAPI(title="APIMart emulator", openapi_url=None, lifespan=lifespan)
    app.add_exception_handler(answers.ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)

    app.add_exception_handler(Dropped, _dropped)

    for module in (submit, task_routes, side_routes, catalogue, usage, unpublished_routes, control_routes, page):
        app.include_router(module.routes(context))
    world = World(
        processing_seconds=settings.processing_seconds,
        listing_seconds=settings.listing_seconds,
        token_seconds=settings.youtube_token_seconds,
        public_url=settings.public_url,
    )
    for publishing in (youtube_routes, instagram_routes, publishing_control):
        app.include_router(publishing.routes(world))
    app.include_router(webhook.routes(world.webhook))
    return FaultMiddleware(app, context.store, context.faults, settings, context.signer)
