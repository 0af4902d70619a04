"""Which addresses a video may be fetched from.

A video's URL comes from APIMart's answer, and a redirect from an unknown server's. Neither may lead the worker to its
own network: the cloud's metadata service, a database, Airflow's own API. Every address that a name resolves to must be
public. The connection goes to the address that was checked, so that the name cannot resolve to another one in between.
Private addresses are allowed only if the API itself has one; link-local addresses never are.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from airflow_provider_apimart.client.environment import DEFAULT_PORTS, proxy_for
from airflow_provider_apimart.client.errors import ForbiddenAddressError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Metadata services that live outside the link-local range.
_METADATA = frozenset(ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16"))


@dataclass(frozen=True)
class Route:
    """How to fetch one URL.

    :param url: the requested URL.
    :param addresses: the checked addresses of its host, to connect to; empty if a proxy connects instead.
    :param proxy: the proxy that applies to the host.
    """

    url: httpx.URL
    addresses: tuple[str, ...]
    proxy: str | None = None

    def request(self, address: str | None, headers: dict[str, str], timeout: httpx.Timeout) -> httpx.Request:
        """Build the GET that connects to ``address`` but still names the URL's host and lets TLS verify it."""
        extensions: dict[str, object] = {"timeout": timeout.as_dict()}
        if address is None:
            return httpx.Request("GET", self.url, headers=headers, extensions=extensions)
        pinned = self.url.copy_with(host=address)
        named = {"Host": self.url.netloc.decode("ascii"), **headers}
        return httpx.Request(
            "GET", pinned, headers=named, extensions={**extensions, "sni_hostname": _plain_host(self.url)}
        )


def resolve_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which the system would try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def shown(url: str | httpx.URL) -> str:
    """Return a URL without its signature, for messages."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        return "an unreadable URL"
    return str(parsed.copy_with(userinfo=b"", query=None, fragment=None))


def host_is_private(base_url: str, resolver: Resolver = resolve_host) -> bool:
    """Return whether the API is on the worker's own network. Only then may media be there too."""
    try:
        parsed = httpx.URL(base_url)
        addresses = resolver(_plain_host(parsed), _port(parsed))
    except (OSError, ValueError, httpx.InvalidURL):
        return False
    return bool(addresses) and all(_is_private(_parse(address)) for address in addresses)


def parse_url(url: str) -> httpx.URL:
    """Parse a URL.

    :raises ForbiddenAddressError: if it cannot be parsed.
    """
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise ForbiddenAddressError(f"The video's URL cannot be read: {error}") from error


def route(url: httpx.URL, *, allow_private: bool, resolver: Resolver = resolve_host) -> Route:
    """Check a URL and return how to reach it.

    :raises ForbiddenAddressError: when it must not be fetched.
    :raises ConfigurationError: when the environment names a proxy that cannot be used.
    :raises OSError: when its host has no address right now.
    """
    host = _plain_host(url)
    if url.scheme not in DEFAULT_PORTS or not host:
        raise ForbiddenAddressError(f"The video's URL is not http(s): {shown(url)[:200]}")
    proxy = proxy_for(url)
    literal = _literal(host)
    if literal is not None:
        addresses = [str(literal)]
    elif proxy is not None and host != "localhost" and not host.endswith(".localhost"):
        # The proxy resolves the name, often because the worker's own network cannot.
        return Route(url, (), proxy)
    else:
        addresses = _resolved(url, host, resolver)
    _check(url, addresses, allow_private)
    return Route(url, () if proxy else tuple(addresses), proxy)


def _resolved(url: httpx.URL, host: str, resolver: Resolver) -> list[str]:
    try:
        return resolver(host, _port(url))
    except UnicodeError as error:
        raise ForbiddenAddressError(f"{host[:80]!r} cannot be the name of a host") from error


def _check(url: httpx.URL, addresses: list[str], allow_private: bool) -> None:
    if not addresses:
        raise OSError(f"{url.host} has no address")
    for address in addresses:
        parsed = _parse(address)
        if not (_is_public(parsed) or (allow_private and _is_private(parsed))):
            raise ForbiddenAddressError(
                f"The video's URL {shown(url)} points to {address}, which is not a public address. "
                "The worker fetches from its own network only when the API itself lives there."
            )


def _is_public(address: IPAddress) -> bool:
    refused = address.is_multicast or address.is_unspecified or address in _METADATA
    return address.is_global and not refused and not getattr(address, "is_site_local", False)


def _is_private(address: IPAddress) -> bool:
    if address.is_loopback:
        return True
    refused = address.is_link_local or address.is_unspecified or address.is_multicast or address.is_reserved
    if refused or address in _METADATA or address in ipaddress.ip_network("0.0.0.0/8"):
        return False
    return address.is_private


def _parse(address: str) -> IPAddress:
    """Parse an address, and unwrap an IPv4 address that is embedded in an IPv6 one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return parsed.ipv4_mapped
        if parsed.sixtofour is not None:
            return parsed.sixtofour
        if parsed in _NAT64 or (int(parsed) >> 32 == 0 and int(parsed) > 1):
            return ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        # The C library also accepts these forms of an address: 127.1, 0x7f000001, 2130706433.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


def _plain_host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").strip("[]").rstrip(".").lower()


def _port(url: httpx.URL) -> int:
    return url.port or DEFAULT_PORTS.get(url.scheme, 443)
