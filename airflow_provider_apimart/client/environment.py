"""Reads from the environment how to reach a server: which certificates to trust, and which proxy to use.

Only this module reads it, for the API and for media, in the way curl and requests do. httpx itself does not know
``REQUESTS_CA_BUNDLE``, and fails on an address range in ``NO_PROXY``. An unusable value is refused with the name of its
variable. A proxy's value is never shown: it may hold a password.
"""

from __future__ import annotations

import functools
import importlib.util
import ipaddress
import os
import re
import ssl
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import is_host, is_loopback

#: The first variable that is set counts. httpx reads the first two, requests the third and fourth.
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
DEFAULT_PORTS = {"http": 80, "https": 443}
#: The file names by which OpenSSL finds certificates in a folder.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


@functools.cache
def load_tls() -> ssl.SSLContext:
    """Return the context that checks server certificates, for the API and for the hosts of videos.

    The first call takes tens of milliseconds, which would block an event loop: make it in a thread beforehand.

    :raises ConfigurationError: if the environment names certificates that cannot be used.
    """
    variable = next((name for name in CERTIFICATE_VARIABLES if os.environ.get(name)), None)
    try:
        if variable is None:
            return httpx.create_ssl_context(trust_env=False)
        place = os.environ[variable]
        if variable == "SSL_CERT_DIR" or os.path.isdir(place):
            _check_folders(variable, place)
            return ssl.create_default_context(capath=place)
        return ssl.create_default_context(cafile=place)
    except OSError as error:
        # An unreadable or missing file, or (ssl.SSLError) one that holds no certificate.
        named = f"{variable}={os.environ[variable]!r}" if variable else "the certificates that come with Python"
        raise ConfigurationError(
            f"{named}: the certificates cannot be loaded ({error.strerror or type(error).__name__}); let the variable "
            "name a readable PEM file, or a folder made by 'openssl rehash', or unset it"
        ) from None


def _check_folders(variable: str, place: str) -> None:
    """Refuse a folder without certificates: OpenSSL accepts any folder silently, and then trusts nobody."""
    for folder in place.split(os.pathsep):
        try:
            if any(_HASHED_NAME.fullmatch(name) for name in os.listdir(folder)):
                return
        except OSError:
            continue
    raise ConfigurationError(
        f"{variable}={place!r}: no such folder, or none with certificates under hashed names; run 'openssl rehash' on "
        "it, let SSL_CERT_FILE name a PEM file instead, or unset the variable"
    )


def check_proxies() -> None:
    """Check that the proxies named by the environment can be used.

    :raises ConfigurationError: if one cannot, naming the variable.
    """
    proxies = urllib.request.getproxies()
    if "*" in _entries(proxies.get("no", "")):
        return
    for scheme in ("http", "https"):
        name = _applicable(proxies, scheme)
        if proxies.get(name):
            _checked(name, proxies[name])


def proxy_for(url: httpx.URL) -> str | None:
    """Return the URL of the proxy that applies to ``url``; ``None`` if there is none, as for this machine itself.

    :raises ConfigurationError: if it cannot be used, naming the variable.
    """
    if is_loopback(_bare(url.host)):
        return None
    proxies = urllib.request.getproxies()
    scheme = _applicable(proxies, url.scheme)
    proxy = proxies.get(scheme)
    # If the system, not the environment, names the proxy, only urllib knows the system's exceptions.
    if not proxy or _is_excepted(url, proxies.get("no", "")) or urllib.request.proxy_bypass(url.host):
        return None
    return _checked(scheme, proxy)


def open_proxy(proxy: str) -> httpx.Proxy:
    """Return a proxy for httpx. A proxy reached over TLS is checked with the same certificates."""
    encrypted = proxy.lower().startswith("https:")
    return httpx.Proxy(proxy, ssl_context=load_tls() if encrypted else None)


def _applicable(proxies: Mapping[str, str], scheme: str) -> str:
    return scheme if proxies.get(scheme) else "all"


def _checked(scheme: str, proxy: str) -> str:
    proxy = proxy.strip()
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parsed = httpx.Proxy(proxy).url
        server = urlsplit(f"//{parsed.netloc.decode('ascii')}")
        is_usable = is_host(server) and server.port != 0
    except (httpx.InvalidURL, ValueError):
        is_usable = False
    if not is_usable:
        raise ConfigurationError(
            f"{_variable(scheme)} is not the URL of a proxy (not shown: it may hold a password); allowed: "
            "http://host:port, https://host:port, socks5://host:port, with user:password@ where needed, or empty"
        )
    if parsed.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"{_variable(scheme)} names a SOCKS proxy, for which a package is missing: pip install 'httpx[socks]', or "
            "name an http:// proxy, or set NO_PROXY=* to go without one"
        )
    return proxy


def _variable(scheme: str) -> str:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
    return next((name for name in names if os.environ.get(name)), "the system's proxy setting")


def _is_excepted(url: httpx.URL, no_proxy: str) -> bool:
    """Return whether an entry of ``NO_PROXY`` matches the host. An entry that cannot be parsed matches no host."""
    return any(_excepts(entry, url) for entry in _entries(no_proxy))


def _entries(no_proxy: str) -> list[str]:
    return [entry for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry]


def _excepts(entry: str, url: httpx.URL) -> bool:
    if entry == "*":
        return True
    scheme, _, rest = entry.rpartition("://")
    name, port = _split(rest)
    if scheme not in ("", "all", url.scheme):
        return False
    if port and port != str(url.port or DEFAULT_PORTS.get(url.scheme)):
        return False
    host = _bare(url.host)
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        name = name.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, str]:
    """Split ``name``, ``name:port``, ``[address]:port``, ``[address]/bits`` and an IPv6 address without brackets."""
    if entry.startswith("["):
        address, _, rest = entry[1:].partition("]")
        return (address, rest[1:]) if rest.startswith(":") else (address + rest, "")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _bare(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")
