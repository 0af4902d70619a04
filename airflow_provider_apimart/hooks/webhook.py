"""The connection of a signed webhook (Standard Webhooks)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.connection_form import FORMS
from airflow_provider_apimart.hooks.connections.connection_parts import HIDDEN, extra_of, joined_url, truth
from airflow_provider_apimart.hooks.publishers import Publisher, PublisherHook
from airflow_provider_apimart.publishing.errors import PublishError
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.targets.webhook.settings import WebhookCredentials, WebhookSettings
from airflow_provider_apimart.publishing.targets.webhook.target import TOLERANCE, WebhookTarget, clock_text, skew_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

CONN_TYPE = "signed_webhook"
_URL = "the URL is the connection's host"
_SECRET = "the signing secret is the connection's password"  # noqa: S105  # a text that holds none
_MEANT = {
    **dict.fromkeys(("url", "uri", "endpoint", "webhook", "webhookurl", "host"), _URL),
    **dict.fromkeys(("secret", "secrets", "signingsecret", "whsec", "password", "key", "token"), _SECRET),
}


class SignedWebhookHook(PublisherHook):
    """Sends signed messages to the receiver of an Airflow connection.

    :param webhook_conn_id: the connection, of the type ``signed_webhook``: ``host`` is the receiver's whole URL,
        ``password`` its signing secret (``whsec_...``; several, separated by spaces, while they rotate: all of them
        sign); extra may hold ``allow_http``. Any other field in it is refused by name.
    """

    conn_name_attr = "webhook_conn_id"
    default_conn_name = "webhook_default"
    conn_type = CONN_TYPE
    hook_name = "Signed webhook"
    example_json = f'{{"conn_type": "{CONN_TYPE}", "host": "https://...", "password": "whsec_..."}}'
    example_uri = "signed-webhook://:whsec_...@https%3A%2F%2Fhooks.example.com%2Fvideos"
    remedy = f"make one of the type {CONN_TYPE!r} with the receiver's URL as host and its whsec_ secret as password"

    def __init__(self, webhook_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.webhook_conn_id = webhook_conn_id

    def _read(self, connection: Connection, *, link: Callable[[timedelta], str] | None = None, **_: Any) -> Publisher:
        settings = self._settings(connection)
        return Publisher(WebhookTarget(settings, link), WebhookCredentials(settings), Seal(*settings.secrets))

    def _settings(self, connection: Connection) -> WebhookSettings:
        if connection.login:
            raise ConfigurationError(f"login: a signed webhook has none; leave it empty ({HIDDEN})")
        host = (connection.host or "").strip()
        if not host:
            raise ConfigurationError("the connection has no URL: put the receiver's whole URL into the host field")
        extra = extra_of(connection.extra, CONN_TYPE, FORMS[CONN_TYPE].fields, _MEANT)
        url = joined_url(host, (connection.schema or "").strip(), connection.port)
        if "://" not in url:
            url = f"https://{url}"
        return WebhookSettings(url, _secrets_in(connection), truth(extra, "allow_http"))

    def _secrets(self, connection: Connection) -> Iterable[str]:
        for secret in _secrets_in(connection):
            yield secret
            yield secret.removeprefix("whsec_")
        try:
            yield from self._settings(connection).hidden
        except (ConfigurationError, ValueError):
            # It cannot be used, so nothing of it will be shown but by the error, which shows no URL.
            yield connection.host or ""

    def test_connection(self) -> tuple[bool, str]:
        """Find out whether the URL and the secrets can be right. Sends no message, and never raises."""
        try:
            return self._tested()
        except ConfigurationError as error:
            return False, str(error)
        except Exception as error:
            # Airflow's form shows the returned text, and breaks on an exception. The error's own text may be secret.
            return False, f"The connection could not be tested ({type(error).__name__})"

    def _tested(self) -> tuple[bool, str]:
        publisher = self.publisher()
        target = publisher.target
        assert isinstance(target, WebhookTarget)  # noqa: S101  # for the type checker
        try:
            with Sender(publisher.credentials) as sender:
                reply = sender.run(target.probe())
        except PublishError as error:
            if re.search(r"(?i)certificate|ssl|tls", str(error)):
                return False, f"The receiver's TLS certificate is not accepted: {error}"
            return False, f"The receiver cannot be reached: {error}"
        where = target.settings.account.partition("/")[0]
        skew = skew_of(reply, datetime.now(UTC))
        if skew is not None and abs(skew) > TOLERANCE:
            return False, f"{where} answers, but {clock_text(skew)[0].lower()}{clock_text(skew)[1:]}"
        if reply.status == 410:
            return False, f"{where} says that this webhook is gone for good (410): put its new URL into the host field"
        if 300 <= reply.status < 400:
            return False, f"{where} redirects ({reply.status}), and messages do not follow: enter the final URL"
        if reply.status >= 500:
            return False, f"{where} has trouble right now (HTTP {reply.status})"
        count = len(target.settings.secrets)
        secrets = "signing secret is" if count == 1 else f"{count} signing secrets are"
        return True, (
            f"{where} answers (HTTP {reply.status} to HEAD), its clock agrees, and the {secrets} well formed. Whether "
            "the receiver accepts the signature shows with the first message: a test message would be taken for a real "
            "one"
        )


def _secrets_in(connection: Connection) -> tuple[str, ...]:
    return (
        tuple(re.split(r"[\s,]+", (connection.password or "").strip())) if (connection.password or "").strip() else ()
    )
