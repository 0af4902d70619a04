"""The Google project and the consent of the channel's owner: access tokens, their scope, and the day's quota. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from airflow_provider_apimart.emulator.publishing.faults import PublishFaults
from airflow_provider_apimart.emulator.publishing.youtube_rules import Problem

CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN = "emulated-client", "emulated-secret", "emulated-refresh-token"
PACIFIC = ZoneInfo("America/Los_Angeles")
MAX_INSERTS, MAX_UNITS = 100, 10_000
SCOPE = "https://www.googleapis.com/auth/youtube"
UPLOAD_SCOPE = f"{SCOPE}.upload"


class Project:
    """The project of the one OAuth client that is known.

    :param now: unix seconds.
    :param token_seconds: how long an access token lives.
    """

    def __init__(self, faults: PublishFaults, now: Callable[[], float], token_seconds: float) -> None:
        self.now, self.token_seconds = now, token_seconds
        self._faults = faults
        self._tokens: dict[str, float] = {}
        self._used: dict[tuple[str, str], int] = {}

    def reset(self) -> None:
        """Forget what the day has cost. Tokens stay."""
        self._used.clear()

    # --- tokens ------------------------------------------------------------------------------------------------------

    @property
    def scope(self) -> str:
        """What the owner has allowed."""
        return UPLOAD_SCOPE if self._faults.condition("youtube", "upload_scope_only") else SCOPE

    def grant(self, client_id: str, client_secret: str, refresh_token: str) -> tuple[str, float]:
        """Return a new access token, and how long it lives.

        :raises Problem: as Google's token endpoint names it.
        """
        if (client_id, client_secret) != (CLIENT_ID, CLIENT_SECRET):
            raise Problem(401, "invalid_client", "The OAuth client was not found.")
        if refresh_token != REFRESH_TOKEN or self._faults.condition("youtube", "invalid_grant"):
            raise Problem(400, "invalid_grant", "Token has been expired or revoked.")
        token = f"emulated-access-{secrets.token_hex(8)}"
        self._tokens[token] = self.now() + self.token_seconds
        return token, self.token_seconds

    def expire_tokens(self) -> None:
        """Let every access token expire now."""
        self._tokens.clear()

    def check_token(self, token: str, *, uploads: bool = False) -> None:
        """Refuse a request whose token is void or may not do this.

        :param uploads: the request needs no more than the scope ``youtube.upload``.
        """
        if self._tokens.get(token, 0.0) <= self.now():
            raise Problem(401, "authError", "Invalid Credentials", "Authorization")
        if not uploads and self.scope == UPLOAD_SCOPE:
            raise Problem(403, "insufficientPermissions", "Request had insufficient authentication scopes.")

    # --- quota -------------------------------------------------------------------------------------------------------

    def spend(self, bucket: str, units: int) -> None:
        """Count a request against the day's quota, which begins anew at midnight Pacific. Refused requests cost too.

        :param bucket: ``inserts`` or ``units``.
        """
        most = MAX_INSERTS if bucket == "inserts" else MAX_UNITS
        used = self.used()[bucket]
        if self._faults.condition("youtube", "quota") or used + units > most:
            raise Problem(403, "quotaExceeded", "The request cannot be completed because you have exceeded your quota.")
        self._used[self._day(), bucket] = used + units

    def used(self) -> dict[str, int]:
        """Return what the day has cost so far, by bucket."""
        return {bucket: self._used.get((self._day(), bucket), 0) for bucket in ("inserts", "units")}

    def _day(self) -> str:
        return datetime.fromtimestamp(self.now(), PACIFIC).date().isoformat()
