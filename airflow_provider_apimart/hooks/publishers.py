"""Turns an Airflow connection into what a post needs: the target, its credentials, and the seal of its records.

Secrets stay in the connection. They are masked in every log as soon as they are read, and no error shows them.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import shown
from airflow_provider_apimart.hooks.connections.connection_hook import ConnectionHook, mask
from airflow_provider_apimart.hooks.connections.connection_parts import is_type, scrubbed
from airflow_provider_apimart.publishing.exchange import Credentials
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.target import PublishTarget

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

#: The hook of each target, by the target's name. The trigger loads only the one that it needs.
HOOKS: dict[str, str] = {
    "youtube": "airflow_provider_apimart.hooks.youtube.YouTubeHook",
    "instagram": "airflow_provider_apimart.hooks.instagram.InstagramHook",
    "webhook": "airflow_provider_apimart.hooks.webhook.SignedWebhookHook",
}


@dataclass(frozen=True)
class Publisher:
    """A target with all that is needed to post there.

    :param credentials: authorize its requests.
    :param seal: encrypts the secrets in the post's record.
    """

    target: PublishTarget
    credentials: Credentials
    seal: Seal


class PublisherHook(ConnectionHook):
    """A hook for one target. A subclass says how its connection is read."""

    def publisher(self, **options: Any) -> Publisher:
        """Return the publisher of this connection.

        :param options: what this target takes besides; see :meth:`_read`.
        :raises ConfigurationError: if the connection cannot be used.
        """
        connection = self._connection()
        for secret in self._secrets(connection):
            mask(secret)
        return self._checked(connection, options)

    async def apublisher(self, **options: Any) -> Publisher:
        """Return the same as :meth:`publisher`, without blocking the event loop: safe in a trigger."""
        from asgiref.sync import sync_to_async

        connection = await self._aconnection()
        for secret in self._secrets(connection):
            await sync_to_async(mask)(secret)
        return self._checked(connection, options)

    def _checked(self, connection: Connection, options: dict[str, Any]) -> Publisher:
        try:
            if not is_type(connection.conn_type, self.conn_type):
                raise ConfigurationError(
                    f"{self.conn_name_attr}={self.conn_id!r} has conn_type={shown(connection.conn_type)}: its secrets "
                    f"are for another service, so nothing was sent; allowed: {self.conn_type!r}"
                )
            return self._read(connection, **options)
        except ConfigurationError as error:
            scrubbed(error, connection.password, *self._secrets(connection))
            raise

    @abstractmethod
    def _read(self, connection: Connection, **options: Any) -> Publisher:
        """Return the publisher that a connection describes. No I/O.

        :raises ConfigurationError: with the field, the value and what is allowed; never with a secret.
        """

    @abstractmethod
    def _secrets(self, connection: Connection) -> Iterable[str]:
        """Return every secret in the connection, checked or not. Must not raise."""


def hook_for(target: str, conn_id: str) -> PublisherHook:
    """Return the hook of a target, by the target's name."""
    module, _, name = HOOKS[target].rpartition(".")
    hook: PublisherHook = getattr(importlib.import_module(module), name)(conn_id)
    return hook
