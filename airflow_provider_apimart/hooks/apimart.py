"""The APIMart hook: turns an Airflow connection into a client, sync or async.

The key is kept only in the connection. It is masked in every log as soon as it is read, and no error shows it.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.hooks.connections.connection import CONN_TYPE, settings_of
from airflow_provider_apimart.hooks.connections.connection_hook import ConnectionHook, mask

if TYPE_CHECKING:
    from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
    from airflow_provider_apimart.client.models import Balance
    from airflow_provider_apimart.client.retry import RetryPolicy
    from airflow_provider_apimart.client.settings import Settings

__all__ = ["ApimartHook", "settings_of"]


class ApimartHook(ConnectionHook):
    """Talks to APIMart with the key and the host of an Airflow connection.

    :param apimart_conn_id: the connection, of the type ``apimart``: ``password`` is the API key, ``host`` the base URL
        (empty for APIMart's own); extra may hold ``allow_http``, ``response_version``, ``read_timeout_seconds``,
        ``max_video_megabytes``, ``requests_per_minute`` and ``on_unknown_submit``. Any other field in it is refused by
        name.
    """

    conn_name_attr = "apimart_conn_id"
    default_conn_name = "apimart_default"
    conn_type = CONN_TYPE
    hook_name = "APIMart"
    example_json = f'{{"conn_type": "{CONN_TYPE}", "password": "KEY", "host": "https://..."}}'
    example_uri = f"{CONN_TYPE}://:KEY@http%3A%2F%2F127.0.0.1:8808"
    remedy = f"make one of the type {CONN_TYPE!r} with the API key as its password (keys: apimart.ai/keys)"

    def __init__(self, apimart_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.apimart_conn_id = apimart_conn_id
        self._settings: Settings | None = None

    def settings(self) -> Settings:
        """Return the connection's settings, checked.

        :raises ConfigurationError: if the connection cannot be used.
        """
        if self._settings is None:
            connection = self._connection()
            settings = settings_of(connection)
            if settings.api_key != connection.password:
                # Airflow masks the password exactly as it was entered. The key without the characters pasted around it
                # needs a mask of its own.
                mask(settings.api_key)
            self._settings = settings
        return self._settings

    async def asettings(self) -> Settings:
        """Return the same as :meth:`settings`, without blocking the event loop: safe in a trigger."""
        from asgiref.sync import sync_to_async

        if self._settings is None:
            connection = await self._aconnection()
            settings = settings_of(connection)
            if settings.api_key != connection.password:
                await sync_to_async(mask)(settings.api_key)
            self._settings = settings
        return self._settings

    def get_conn(self, retry: RetryPolicy | None = None) -> ApimartClient:
        """Return a client; close it, or use it as a context manager."""
        from airflow_provider_apimart.client.client import ApimartClient

        return ApimartClient(self.settings(), retry)

    async def aget_conn(self, retry: RetryPolicy | None = None) -> AsyncApimartClient:
        """Return an async client for the running event loop; ``await aclose()`` it, or use it as a context manager."""
        settings = await self.asettings()
        # The first call in a process takes tens of milliseconds.
        await asyncio.to_thread(_load)
        from airflow_provider_apimart.client.client import AsyncApimartClient

        return AsyncApimartClient(settings, retry)

    def test_connection(self) -> tuple[bool, str]:
        """Find out whether the key is wrong, the host is wrong or the balance is empty. Costs nothing, never raises."""
        try:
            return self._tested()
        except Exception as error:
            # Airflow's form shows the returned text, and breaks on an exception. The error's own text may hold the key.
            return False, f"The connection could not be tested ({type(error).__name__})"

    def _tested(self) -> tuple[bool, str]:
        from airflow_provider_apimart.client.retry import RetryPolicy
        from airflow_provider_apimart.generation.pricing.balance import left

        try:
            settings = self.settings()
            with self.get_conn(RetryPolicy(attempts=2, budget_seconds=15)) as client:
                key, account = client.key_balance(), client.account_balance()
        except errors.ConfigurationError as error:
            return False, str(error)
        except errors.ApimartError as error:
            return False, _what_is_wrong(error, self.settings().base_url)
        if _is_empty(key) or _is_empty(account):
            whose = "key's quota" if _is_empty(key) else "account's balance"
            return False, f"The key is accepted at {settings.base_url}, but the {whose} is empty: top up at apimart.ai"
        return True, (
            f"The key is accepted at {settings.base_url}: {left(account)} left on the account, {left(key)} on the key"
        )


def _load() -> None:
    """Load what blocks: the client, the system's certificates, and the transport that triggers poll with."""
    from airflow_provider_apimart.client.environment import load_tls

    load_tls()
    for name in ("client", "quick_get"):
        importlib.import_module(f"airflow_provider_apimart.client.{name}")


def _is_empty(balance: Balance) -> bool:
    return not balance.unlimited and balance.remaining_usd is not None and balance.remaining_usd <= 0


def _too_little(error: errors.InsufficientBalanceError) -> str:
    holds, needs = error.current_usd, error.required_usd
    if holds is None or needs is None:
        return "the balance is empty"
    return f"the account holds {holds:g} USD, and below {needs:g} USD APIMart refuses every request"


def _what_is_wrong(error: errors.ApimartError, base_url: str) -> str:
    if isinstance(error, errors.AuthenticationError):
        return f"The API key is wrong: {base_url} refused it ({error})"
    if isinstance(error, errors.PermissionDeniedError):
        return f"The API key may not be used from here: {error}"
    if isinstance(error, errors.InsufficientBalanceError):
        return f"The key is accepted at {base_url}, but {_too_little(error)}: top up at apimart.ai ({error})"
    if isinstance(error, (errors.ApimartConnectionError, errors.ApimartTimeoutError)):
        return f"The host is wrong or cannot be reached: {error}"
    if isinstance(error, (errors.NotFoundError, errors.ResponseError, errors.RedirectError, errors.BadRequestError)):
        return f"The host is wrong: {base_url} answers, but not as APIMart does ({error})"
    return f"APIMart at {base_url} has trouble right now: {error}"
