"""Cross-origin requests: APIMart lets browsers read the balance routes. Its other routes and the media host do not."""

from __future__ import annotations

from starlette.types import Message, Scope, Send

#: The routes (as the request log names them) that browsers may call.
OPEN_ROUTES = ("balance",)
_ALLOW_ANY = (b"access-control-allow-origin", b"*")
_PREFLIGHT = (
    _ALLOW_ANY,
    (b"access-control-allow-methods", b"GET, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-max-age", b"43200"),
)


def is_preflight(scope: Scope, route: str) -> bool:
    """Return whether a browser asks for permission. It sends no key with that."""
    names = {name.lower() for name, _ in scope["headers"]}
    asks = {b"origin", b"access-control-request-method"} <= names
    return route in OPEN_ROUTES and scope["method"] == "OPTIONS" and asks


async def answer_preflight(send: Send) -> None:
    """Give the permission."""
    await send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
    await send({"type": "http.response.body", "body": b""})


def opened(message: Message, scope: Scope, route: str) -> Message:
    """Return the start of an answer with the header that lets a browser read it, if the route has it."""
    if route not in OPEN_ROUTES or not any(name.lower() == b"origin" for name, _ in scope["headers"]):
        return message
    headers = message.get("headers", [])
    known = any(name.lower() == _ALLOW_ANY[0] for name, _ in headers)
    return message if known else {**message, "headers": [*headers, _ALLOW_ANY]}
