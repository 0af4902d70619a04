"""The connection of a professional Instagram account."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import shown
from airflow_provider_apimart.connection_form import FORMS
from airflow_provider_apimart.hooks.connections.connection_hook import mask
from airflow_provider_apimart.hooks.connections.connection_parts import LONGEST_EXTRA, extra_of, joined_url
from airflow_provider_apimart.hooks.publishers import Publisher, PublisherHook
from airflow_provider_apimart.publishing.errors import CredentialsError, PublishError
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.targets.instagram import answers, tokens
from airflow_provider_apimart.publishing.targets.instagram.settings import (
    DEFAULT_VERSION,
    InstagramCredentials,
    InstagramSettings,
)
from airflow_provider_apimart.publishing.targets.instagram.target import InstagramTarget

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

log = logging.getLogger(__name__)

CONN_TYPE = "instagram"
#: From when on the log says that the token is about to expire.
WARN_BEFORE = timedelta(days=10)
_TOKEN = "the access token is the connection's password"  # noqa: S105  # a text that holds none
_ACCOUNT = "the Instagram account's id is the connection's login"
_URL = "the Graph API's URL is the connection's host"
_MEANT = {
    **dict.fromkeys(("token", "accesstoken", "password", "longlivedtoken", "key"), _TOKEN),
    **dict.fromkeys(("userid", "iguserid", "accountid", "businessaccountid", "id", "login", "username"), _ACCOUNT),
    **dict.fromkeys(("url", "baseurl", "host", "graphurl", "endpoint"), _URL),
    **dict.fromkeys(("version", "graphversion"), "write 'api_version'"),
    **dict.fromkeys(("clientsecret", "secret"), "write 'app_secret'"),
    **dict.fromkeys(("expiresat", "expiresin", "tokenexpiry"), "write 'token_expires_at'"),
}


class InstagramHook(PublisherHook):
    """Publishes Reels on the professional account of an Airflow connection.

    :param instagram_conn_id: the connection, of the type ``instagram``: ``password`` is a long-lived access token,
        ``login`` the Instagram account's id (with Instagram Login it may be empty), ``host`` the Graph API's URL
        (empty: the one that the token belongs to); extra may hold ``api_version``, ``app_secret``,
        ``token_expires_at`` and ``upload_url``. Any other field in it is refused by name.
    """

    conn_name_attr = "instagram_conn_id"
    default_conn_name = "instagram_default"
    conn_type = CONN_TYPE
    hook_name = "Instagram"
    example_json = f'{{"conn_type": "{CONN_TYPE}", "login": "17841...", "password": "IGAA..."}}'
    example_uri = "instagram://17841...:IGAA...@"
    remedy = f"make one of the type {CONN_TYPE!r} with a long-lived access token as password"

    def __init__(self, instagram_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.instagram_conn_id = instagram_conn_id

    def publisher(self, **options: Any) -> Publisher:
        """Return the publisher of this connection. The log tells if its token is about to expire.

        :param options: ``link``, which makes a signed link to the video, and ``way``; see :class:`.InstagramTarget`.
        :raises ConfigurationError: if the connection cannot be used.
        """
        publisher = super().publisher(**options)
        settings = _target_of(publisher).settings
        left = _left(settings.token_expires_at)
        if left is not None and left < WARN_BEFORE:
            log.warning("%s: %s", self.conn_id, _life_text(settings.token_expires_at))
        return publisher

    def _read(
        self, connection: Connection, *, link: Callable[[], str] | None = None, way: str = "auto", **_: Any
    ) -> Publisher:
        settings = self._settings(connection)
        target = InstagramTarget(settings, link=link, way=way)
        # The app's secret outlives the tokens. So what it has sealed can be read longer.
        seal = Seal(*(secret for secret in (settings.app_secret, settings.token) if secret))
        return Publisher(target, InstagramCredentials(settings), seal)

    def _settings(self, connection: Connection) -> InstagramSettings:
        host = (connection.host or "").strip()
        extra = extra_of(connection.extra, CONN_TYPE, FORMS[CONN_TYPE].fields, _MEANT)
        url = joined_url(host, (connection.schema or "").strip(), connection.port)
        return InstagramSettings(
            token=(connection.password or "").strip(),
            user_id=(connection.login or "").strip(),
            base_url=_with_scheme(url),
            upload_url=_with_scheme(str(extra.get("upload_url") or "").strip()),
            api_version=str(extra.get("api_version") or DEFAULT_VERSION).strip(),
            app_secret=str(extra.get("app_secret") or "").strip(),
            token_expires_at=_moment(extra.get("token_expires_at")),
        )

    def _secrets(self, connection: Connection) -> Iterable[str]:
        if (connection.password or "").strip():
            yield (connection.password or "").strip()
        try:
            yield from self._settings(connection).hidden
        except (ConfigurationError, ValueError):
            # It cannot be used. What else is secret in it, no error shows.
            return

    # --- the token ------------------------------------------------------------------------------------------------

    def refresh_token(self) -> tokens.RenewedToken:
        """Renew the token of Instagram Login for another 60 days, and return the new one.

        Nothing is stored: put the value into the connection, or into the secrets backend that it comes from. The token
        has to be at least 24 hours old and not expired.

        :returns: ``value``, masked in this process's logs, and ``expires_at`` (aware, UTC).
        :raises ConfigurationError: if the connection cannot be used, or has a token of Facebook Login.
        :raises PublishError: if Instagram does not renew it.
        """
        publisher = super().publisher()
        settings = _target_of(publisher).settings
        if settings.facebook:
            raise ConfigurationError(
                "the token is one of Facebook Login, which is not renewed in this way: use the token of a Page or of a "
                "system user, which does not expire"
            )
        with Sender(publisher.credentials) as sender:
            renewed = sender.run(tokens.renewal(settings, publisher.credentials.scrub, _now))
        mask(renewed.value)
        return renewed

    # --- the test -------------------------------------------------------------------------------------------------

    def test_connection(self) -> tuple[bool, str]:
        """Find out whether the account can be published on. Posts nothing, and never raises."""
        try:
            return self._tested()
        except ConfigurationError as error:
            return False, str(error)
        except PublishError as error:
            return False, _failure_text(error)
        except Exception as error:
            # Airflow's form shows the returned text, and breaks on an exception. The error's own text may be secret.
            return False, f"The connection could not be tested ({type(error).__name__})"

    def _tested(self) -> tuple[bool, str]:
        publisher = super().publisher()
        target = _target_of(publisher)
        settings, scrub = target.settings, publisher.credentials.scrub
        expires_at = settings.token_expires_at
        with Sender(publisher.credentials) as sender:
            account = sender.run(target.account())
            if settings.facebook:
                facts = sender.run(tokens.token_facts(settings, scrub, _now))
                expires_at = facts.expires_at
                missing = sorted(tokens.NEEDED_SCOPES - facts.scopes)
                if facts.scopes and missing:
                    return False, f"The access token lacks {', '.join(missing)}: make a new one, and grant all of them"
            room = sender.run(target.room())
        count = str(room) if room else "Meta does not tell the limit"
        life = _life_text(expires_at, never=settings.facebook)
        way = "its bytes may be sent" if settings.facebook else "Meta fetches videos by signed links"
        full = room is not None and room.is_full
        name = f" ({target.username})" if target.username else ""
        lead = "can be published on" + (", but not now" if full else "")
        return True, f"The account {account}{name} {lead}: {count}; {way}. {life}"


def _target_of(publisher: Publisher) -> InstagramTarget:
    assert isinstance(publisher.target, InstagramTarget)  # noqa: S101  # for the type checker
    return publisher.target


def _failure_text(error: PublishError) -> str:
    if isinstance(error, CredentialsError):
        return str(error)
    if error.reason == f"{answers.PARAMETER_CODE}/{answers.UNKNOWN_OBJECT}":
        return (
            "Meta does not know the account, or the token may not see it: the login has to be the id of the Instagram "
            f"professional account (not its name, not the Page's id), and the token has to reach it. {error}"
        )
    return f"Instagram cannot be asked now: {error}"


def _life_text(expires_at: datetime | None, *, never: bool = False) -> str:
    """Return what to say about a token's end.

    :param never: whether ``None`` means that it does not expire.
    """
    left = _left(expires_at)
    if left is None or expires_at is None:
        if never:
            return "The token does not expire"
        return (
            "Instagram does not tell when the token expires: note it in token_expires_at. A long-lived one lives for "
            "60 days"
        )
    renew = "renew it with InstagramHook.refresh_token(), or make a new one, and put it into the connection's password"
    if left < timedelta(0):
        return f"The token has expired at {expires_at:%Y-%m-%dT%H:%MZ}: make a new one"
    return f"The token expires at {expires_at:%Y-%m-%dT%H:%MZ}, in {left.days} days" + (
        f": {renew}" if left < WARN_BEFORE else ""
    )


def _left(expires_at: datetime | None) -> timedelta | None:
    return None if expires_at is None else expires_at - _now()


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ConfigurationError(
            f"token_expires_at={shown(value, LONGEST_EXTRA)}: allowed: a date such as 2027-01-20, or empty"
        ) from None
    return found.replace(tzinfo=UTC) if found.utcoffset() is None else found.astimezone(UTC)


def _with_scheme(url: str) -> str:
    return f"https://{url}" if url and "://" not in url else url


def _now() -> datetime:
    return datetime.now(UTC)
