"""What the service says about its models: the list, their schemas, their documentation and their prices.

Prices come from :mod:`airflow_provider_apimart.generation.pricing.price_table`, by which generations are charged.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.apimart import answers, tasks
from airflow_provider_apimart.emulator.apimart.context import Context
from airflow_provider_apimart.emulator.apimart.submit import VERSION, VERSION_HEADER
from airflow_provider_apimart.emulator.apimart.validation import MODELS, OFFICIAL
from airflow_provider_apimart.generation.pricing.price_table import ALIASES, PRICES

DISCOUNT = Decimal("0.8")
DOCS = "https://docs.apimart.ai/en/api-reference/videos/veo3/"
#: Maps each field to its JSON type, as listed on the two documentation pages.
_COMMON: dict[str, dict[str, Any]] = {
    "model": {"type": "string"},
    "prompt": {"type": "string"},
    "aspect_ratio": {"type": "string", "enum": ["16:9", "9:16"], "default": "16:9"},
}
_OFFICIAL: dict[str, dict[str, Any]] = {
    "negative_prompt": {"type": "string"},
    "duration": {"type": "integer", "enum": [4, 6, 8], "default": 8},
    "resolution": {"type": "string", "enum": ["720p", "1080p", "4K"], "default": "720p"},
    "first_frame_image": {"type": "string", "format": "uri"},
    "last_frame_image": {"type": "string", "format": "uri"},
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "sample_count": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    "generate_audio": {"type": "boolean", "default": False},
    "person_generation": {"type": "string", "enum": ["allow_adult", "disallow"], "default": "allow_adult"},
    "resize_mode": {"type": "string", "enum": ["pad", "crop"], "default": "pad"},
    "enhance_prompt": {"type": "boolean", "const": True, "default": True},
}
_EXT: dict[str, dict[str, Any]] = {
    "duration": {"type": "integer", "enum": [8], "default": 8},
    "resolution": {"type": "string", "enum": ["720p", "1080p", "4k"], "default": "720p"},
    "generation_type": {"type": "string", "enum": ["frame", "reference"]},
    "image_urls": {"type": "array", "items": {"type": "string", "format": "uri"}, "maxItems": 3},
    "enable_gif": {"type": "boolean", "default": False},
    "official_fallback": {"type": "boolean", "default": False},
}


def schema(model: str) -> dict[str, Any]:
    """Return the input schema of a model, in the envelope of the schema endpoint."""
    return {
        "object": "model.input_schema",
        "model": model,
        "operation": "video_generation",
        "schema_version": "2026-07-30",
        "endpoint": {"method": "POST", "path": "/v1/videos/generations"},
        "idempotency": {
            "header": "Idempotency-Key",
            "replay_header": "Idempotency-Replayed",
            "required": False,
            "retention_seconds": 86_400,
            "scope": "api_key_endpoint",
        },
        "response_contract": {"header": VERSION_HEADER, "version": VERSION},
        "input_schema": {
            "type": "object",
            "properties": {**_COMMON, **(_OFFICIAL if model in OFFICIAL else _EXT)},
            "required": ["model", "prompt"],
            "additionalProperties": True,
        },
        "source": "task_model_registry",
    }


def model_entry(model: str) -> dict[str, Any]:
    """Return a model's entry in the list of models."""
    return {"id": model, "object": "model", "created": 1756684800, "owned_by": "apimart"}


#: The service's own spelling of the price list's keys.
_SPELLING = {"4k": "4K", "extend-4k": "EXTEND-4K", "720p": "720P", "1080p": "1080P"}


def expanded_entry(model: str) -> dict[str, Any]:
    """Return a model's entry with ``expand=true``.

    The service adds category, capability tags and parameter schema. Nobody has recorded under which names: these are a
    guess.
    """
    return {
        **model_entry(model),
        "category": "video",
        "capabilities": ["text-to-video", "image-to-video"],
        "parameters": schema(model)["input_schema"],
    }


def _spelled(key: str) -> str:
    size, dash, rest = key.partition("-")
    return _SPELLING.get(key) or f"{_SPELLING.get(size, size)}{dash}{rest}"


def _price(key: str, usd: Decimal) -> dict[str, Any]:
    return {"key": _spelled(key), "original_price": float(usd / DISCOUNT), "after_discount": float(usd)}


def price_entry(model: str) -> dict[str, Any]:
    """Return a model's entry in the price list, with the keys that the service has been seen to use."""
    prices = PRICES[ALIASES.get(model, model)]
    items = [_price(key, usd) for key, usd in prices.usd.items()]
    return {
        "id": model,
        "fixed_prices": {"unit": prices.unit, "dimension": "resolution", "items": items},
        "token_settlement_prices": None,
        "input_material_prices": None,
    }


def _pricing_model(model: str) -> dict[str, Any]:
    entry = price_entry(model)
    prices = {item["key"]: item["after_discount"] for item in entry["fixed_prices"]["items"]}
    return {
        **entry,
        "model_name": model,
        "billing_type": "per_second" if model in OFFICIAL else "per_call",
        "model_price": prices["default"],
        "discount_rate": float(DISCOUNT),
        "resolution_enabled": True,
        "resolution_prices": prices,
        "paid_price": prices["default"],
        "resolution_paid_prices": prices,
    }


def _no_price(model: str) -> dict[str, Any]:
    zeros = {"model_price": 0, "paid_price": 0, "discount_rate": 0, "resolution_prices": {}}
    return {"model_name": model, "billing_type": "", "resolution_enabled": False, "resolution_paid_prices": {}, **zeros}


def _marketplace_entry(number: int, model: str) -> dict[str, Any]:
    pricing = {
        "starting_price": float(PRICES[ALIASES.get(model, model)].usd["default"]),
        "discount_rate": float(DISCOUNT),
        "billing_type": "per_second" if model in OFFICIAL else "per_call",
        "has_price": True,
    }
    names = {"model_name": model, "display_name": model, "media_type": "video"}
    return {"id": number, **names, "pricing": pricing}


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    def listed() -> list[str]:
        return [name for name in MODELS if context.is_listed(name)]

    def known(model: str) -> str:
        if model not in MODELS or not context.is_listed(model):
            raise answers.documented(404, f"model not found: {model}")
        return model

    @router.get("/v1/models")
    async def models(request: Request, expand: str = "") -> Response:
        context.key_id(request)
        entry = expanded_entry if expand.strip().lower() in ("true", "1") else model_entry
        return JSONResponse({"object": "list", "success": True, "data": [entry(name) for name in listed()]})

    @router.get("/v1/models/{model}")
    async def one_model(model: str, request: Request) -> Response:
        context.key_id(request)
        return JSONResponse(model_entry(known(model)))

    @router.get("/v1/models/{model}/schema")
    async def model_schema(model: str, request: Request) -> Response:
        context.key_id(request)
        return JSONResponse(schema(known(model)))

    @router.get("/v1/model-schema")
    async def model_schema_by_query(request: Request, model: str = "", operation: str = "video_generation") -> Response:
        context.key_id(request)
        if operation != "video_generation":
            raise answers.documented(400, f"unsupported operation: {operation}")
        return JSONResponse(schema(known(model)))

    @router.get("/v1/model-docs")
    async def model_docs(request: Request, model: str = "") -> Response:
        context.key_id(request)
        known(model)
        url = DOCS + ("generation-official" if model in OFFICIAL else "generation")
        fields = schema(model)["input_schema"]["properties"]
        markdown = f"# {model}\n\n" + "".join(f"- `{name}`: {rule['type']}\n" for name, rule in fields.items())
        answer = {
            "object": "model.documentation",
            "model": model,
            "doc_url": url,
            "markdown_url": f"{url}.md",
            "markdown": markdown,
            "stale": False,
        }
        return JSONResponse({**answer, "fetched_at": int(tasks.wall_clock()), "cache_ttl_seconds": 604_800})

    @router.get("/api/pricing/models/all")
    async def all_prices() -> Response:
        return JSONResponse({"success": True, "data": {"models": {"video": [price_entry(name) for name in MODELS]}}})

    @router.get("/api/marketplace/models")
    async def marketplace(page: int = 1, page_size: int = 20) -> Response:
        size = max(1, min(page_size, 100))
        shown = MODELS[(max(1, page) - 1) * size :][:size]
        models = [_marketplace_entry(MODELS.index(name) + 1, name) for name in shown]
        data = {"total": len(MODELS), "page": page, "page_size": size, "models": models}
        return JSONResponse({"success": True, "data": data})

    @router.get("/api/pricing/model")
    async def one_price(model: str = "") -> Response:
        # As recorded: an unknown model has no error, but prices of zero.
        return JSONResponse({"success": True, "data": _pricing_model(model) if model in MODELS else _no_price(model)})

    return router
