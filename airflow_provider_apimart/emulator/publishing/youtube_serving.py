"""What YouTube's routes have in common: the token, the quota, the parts of a resource, and the form of an error."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from airflow_provider_apimart.emulator.publishing.faults import PublishFault, PublishFaults
from airflow_provider_apimart.emulator.publishing.serving import Refused, serve
from airflow_provider_apimart.emulator.publishing.youtube import Channel
from airflow_provider_apimart.emulator.publishing.youtube_rules import Problem

#: Errors that are not the resource's own.
_DOMAINS = {
    **dict.fromkeys(("quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded"), "youtube.quota"),
    **dict.fromkeys(
        ("authError", "insufficientPermissions", "badRequest", "parseError", "backendError", "internalError"), "global"
    ),
    "missingRequiredParameter": "youtube.parameter",
}


def refused(status: int, reason: str, message: str = "", location: str = "", domain: str = "youtube.video") -> Refused:
    """Return an error in Google's form."""
    one = {"domain": _DOMAINS.get(reason, domain), "reason": reason, "message": message or reason}
    if location:
        kind = "other" if location.startswith("body") else "header" if location[0].isupper() else "parameter"
        one |= {"location": location, "locationType": kind}
    return Refused(status, {"error": {"code": status, "message": message or reason, "errors": [one]}})


class YouTubeServing:
    """Serves the requests of one channel.

    :param faults: the script that every request may meet.
    """

    def __init__(self, channel: Channel, faults: PublishFaults) -> None:
        self.channel, self._faults = channel, faults

    async def step(
        self, name: str, work: Callable[[PublishFault | None], Awaitable[Response]], domain: str = "youtube.video"
    ) -> Response:
        """Do the work of a request, or what its fault says.

        :param domain: whose errors these are, in Google's terms.
        """

        async def checked(fault: PublishFault | None) -> Response:
            try:
                return await work(fault)
            except Problem as problem:
                raise refused(problem.status, problem.reason, problem.message, problem.location, domain) from None

        def of_fault(fault: PublishFault) -> Refused:
            return refused(fault.status, fault.reason, domain=domain)

        return await serve(self._faults, "youtube", name, checked, of_fault)

    def check_token(self, request: Request, *, uploads: bool = False) -> None:
        """Refuse a void token, and one whose scope is too small."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        self.channel.project.check_token(token if scheme.lower() == "bearer" else "", uploads=uploads)

    def allow(self, request: Request, units: int = 0, *, inserts: int = 0, uploads: bool = False) -> None:
        """Check the token, and count the request against the day's quota."""
        self.check_token(request, uploads=uploads)
        self.channel.project.spend("inserts" if inserts else "units", inserts or units)

    def parts(self, request: Request) -> frozenset[str]:
        """Return the parts that the request names.

        :raises Problem: if it names none.
        """
        return frozenset(self.required(request, "part").replace(" ", "").split(","))

    def required(self, request: Request, name: str) -> str:
        """Return a parameter that must be there.

        :raises Problem: if it is not.
        """
        found = request.query_params.get(name, "")
        if not found:
            raise Problem(400, "missingRequiredParameter", f"Required parameter: {name}", name)
        return found

    async def body_of(self, request: Request) -> Any:
        """Return the body's JSON."""
        try:
            return json.loads(await request.body())
        except ValueError:
            raise Problem(400, "parseError", "The request body is no JSON.") from None
