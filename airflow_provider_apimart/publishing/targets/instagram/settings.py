"""The values of an Instagram connection, and the credentials that they make.

Meta offers two logins. *Instagram Login* (host ``graph.instagram.com``) needs no Facebook Page, and its token names its
account. *Facebook Login for Business* (host ``graph.facebook.com``) goes through a Page, needs the account's id beside
the token, and alone may upload a file's bytes.

https://developers.facebook.com/docs/instagram-platform/content-publishing
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import is_host, is_loopback, shown
from airflow_provider_apimart.publishing.exchange import NoCredentials

INSTAGRAM_URL = "https://graph.instagram.com"
FACEBOOK_URL = "https://graph.facebook.com"
UPLOAD_URL = "https://rupload.facebook.com"
DEFAULT_VERSION = "v25.0"
#: How the tokens of the two logins begin.
INSTAGRAM_PREFIX, FACEBOOK_PREFIX = "IG", "EA"
SHORTEST_TOKEN = 20
#: Of an Instagram user name.
LONGEST_NAME = 30


@dataclass(frozen=True)
class InstagramSettings:
    """A professional account and the access to it.

    :param token: the long-lived access token. A secret.
    :param user_id: the account's id; may be empty with Instagram Login, whose token names it.
    :param base_url: of the Graph API; empty for the one that the token belongs to.
    :param upload_url: where bytes go; empty for Meta's, or for ``base_url`` if that is another machine.
    :param api_version: such as ``v25.0``.
    :param app_secret: if set, every request carries ``appsecret_proof``. A secret.
    :param token_expires_at: when the token expires, as its owner has noted.
    """

    token: str = field(repr=False)
    user_id: str = ""
    base_url: str = ""
    upload_url: str = ""
    api_version: str = DEFAULT_VERSION
    app_secret: str = field(default="", repr=False)
    token_expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.token:
            raise ConfigurationError(
                "the connection has no access token: put the account's long-lived token into the password field"
            )
        if len(self.token) < SHORTEST_TOKEN or not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise ConfigurationError("password (access token): not a token: copy it again, without spaces")
        if self.user_id and not re.fullmatch(r"[0-9]{1,30}", self.user_id):
            # A longer text may be a token that was pasted into the wrong field.
            value = repr(self.user_id) if len(self.user_id) <= LONGEST_NAME else "(not shown: it may be a token)"
            raise ConfigurationError(
                f"login (Instagram account id) {value}: allowed: the number of the professional account "
                "(not its name, and not the Page's id), or empty with Instagram Login"
            )
        if not re.fullmatch(r"v[0-9]{1,3}\.[0-9]{1,2}", self.api_version):
            raise ConfigurationError(f"api_version={shown(self.api_version)}: allowed: such as {DEFAULT_VERSION}")
        self._check_urls()
        if self.facebook and not self.user_id:
            raise ConfigurationError(
                "login (Instagram account id) is empty: a token of Facebook Login can reach several accounts. Ask for "
                "them in Meta's Graph API Explorer (/me/accounts?fields=instagram_business_account) and put the id of "
                "one into the login field"
            )

    def _check_urls(self) -> None:
        known = self.token.startswith((INSTAGRAM_PREFIX, FACEBOOK_PREFIX))
        if not self.base_url and not known:
            raise ConfigurationError(
                f"the token begins neither with {INSTAGRAM_PREFIX} (Instagram Login) nor with {FACEBOOK_PREFIX} "
                f"(Facebook Login): put {INSTAGRAM_URL} or {FACEBOOK_URL} into the host field"
            )
        for name, url in (("host", self.base_url), ("upload_url", self.upload_url)):
            if url:
                _check_url(name, url)

    @property
    def facebook(self) -> bool:
        """Whether the token is one of Facebook Login."""
        host = urlsplit(self.base_url).hostname or ""
        if host in ("graph.facebook.com", "graph.instagram.com"):
            return host == "graph.facebook.com"
        return self.token.startswith(FACEBOOK_PREFIX)

    @property
    def root(self) -> str:
        """The Graph API's address, without a version."""
        return (self.base_url or (FACEBOOK_URL if self.facebook else INSTAGRAM_URL)).rstrip("/")

    @property
    def uploads(self) -> str:
        """Where a container's bytes go, without its id."""
        own = self.base_url if self.base_url and not self.is_meta else UPLOAD_URL
        return f"{(self.upload_url or own).rstrip('/')}/ig-api-upload/{self.api_version}"

    @property
    def is_meta(self) -> bool:
        """Whether Meta itself is asked, which fetches from the internet only."""
        return (urlsplit(self.root).hostname or "").endswith((".facebook.com", ".instagram.com"))

    @property
    def proof(self) -> Mapping[str, str]:
        """The parameter that proves that a request comes from the app, if the connection has the app's secret.

        https://developers.facebook.com/docs/graph-api/guides/secure-requests
        """
        if not self.app_secret:
            return {}
        digest = hmac.new(self.app_secret.encode(), self.token.encode(), hashlib.sha256)
        return {"appsecret_proof": digest.hexdigest()}

    @property
    def hidden(self) -> tuple[str, ...]:
        """The texts that no log and no error may show."""
        return tuple(text for text in (self.token, self.app_secret, *self.proof.values()) if text)


def _check_url(name: str, url: str) -> None:
    allowed = f"allowed: an https:// URL such as {INSTAGRAM_URL}, or empty"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{name}: not a URL; {allowed}") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(f"{name}: must have no user, password, query or fragment")
    if parts.scheme not in ("http", "https") or not is_host(parts) or port == 0 or " " in url:
        raise ConfigurationError(f"{name} {shown(parts.hostname or '')}: {allowed}")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigurationError(
            f"{name}: http:// to {parts.hostname} would send the access token unencrypted; {allowed}"
        )


class InstagramCredentials(NoCredentials):
    """The connection's access token. It cannot be renewed here: the new one would have to be stored."""

    def __init__(self, settings: InstagramSettings) -> None:
        self._settings = settings

    def headers(self) -> Mapping[str, str]:
        """Return the header that authorizes a request to the Graph API."""
        return {"Authorization": f"Bearer {self._settings.token}"}

    def scrub(self, text: str) -> str:
        """Return ``text`` without the token and the app's secret."""
        for hidden in self._settings.hidden:
            text = text.replace(hidden, "***")
        return text
