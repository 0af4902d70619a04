from __future__ import annotations

import ssl
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client.errors import ForbiddenAddressError, LandingError
from airflow_provider_apimart.generation.landing.addresses import host_is_private, parse_url, resolve_host, route, shown
from tests.generation.landing.fetching import DATA, Fetch, fetch
from tests.generation.landing.media_server import MediaServer, Serve, redirect

__all__ = ["fetch"]

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = ["127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "::1", "fd12::1", "::ffff:10.0.0.1"]
PRIVATE += ["64:ff9b::a00:1", "2002:a00:1::1", "::7f00:1"]
NEVER = ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "fe80::1%eth0", "fd00:ec2::254"]
NEVER += ["0.0.0.0", "0.1.2.3", "::", "100.64.0.1", "100.100.100.200", "168.63.129.16", "224.0.0.1", "ff02::1"]
NEVER += ["255.255.255.255", "240.0.0.1", "fec0::1", "2002:a9fe:a9fe::1"]


def allowed(addresses: list[str], *, allow_private: bool) -> bool:
    try:
        found = route(httpx.URL("https://m.example/v"), allow_private=allow_private, resolver=lambda *_: addresses)
    except ForbiddenAddressError:
        return False
    assert found.addresses == tuple(addresses)
    return True


@pytest.fixture(autouse=True)
def _no_proxy(fetch: Fetch) -> None:
    """Everything here starts without proxies."""


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert allowed([address], allow_private=False)
    assert allowed([address], allow_private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_only_where_the_api_lives_there(address: str) -> None:
    assert not allowed([address], allow_private=False)
    assert allowed([address], allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_are_never_fetched(address: str) -> None:
    assert not allowed([address], allow_private=False)
    assert not allowed([address], allow_private=True)


def test_one_bad_address_among_good_ones_is_enough() -> None:
    assert not allowed(["8.8.8.8", "10.0.0.1"], allow_private=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "[::ffff:7f00:1]"]
)
def test_literals_in_all_their_spellings(host: str) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError("a literal is not resolved")

    with pytest.raises(ForbiddenAddressError):
        route(httpx.URL(f"http://{host}/v"), allow_private=False, resolver=never)
    assert route(httpx.URL(f"http://{host}/v"), allow_private=True, resolver=never).addresses


def test_no_address_is_a_passing_error() -> None:
    with pytest.raises(OSError, match="no address"):
        allowed([], allow_private=False)


@pytest.mark.parametrize(
    ("base", "addresses", "private"),
    [
        ("http://127.0.0.1:8000", ["127.0.0.1"], True),
        ("http://emulator:8000/v1", ["172.18.0.4"], True),
        ("https://api.apimart.ai", ["104.18.1.1"], False),
        ("https://split.example", ["10.0.0.1", "8.8.8.8"], False),
        ("http://meta.example", ["169.254.169.254"], False),
        ("https://none.example", [], False),
        ("http://[::1", ["127.0.0.1"], False),
    ],
)
def test_where_the_api_lives(base: str, addresses: list[str], private: bool) -> None:
    assert host_is_private(base, lambda *_: addresses) is private


def test_an_api_that_does_not_resolve_is_not_private() -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    assert host_is_private("https://api.example", nowhere) is False


def test_the_real_resolver() -> None:
    assert "127.0.0.1" in resolve_host("127.0.0.1", 80)
    assert host_is_private("http://localhost:8080")


def test_what_is_shown_of_a_url() -> None:
    assert shown("https://u:p@m.example:8443/a/b.mp4?X-Sig=s3cret#f") == "https://m.example:8443/a/b.mp4"
    assert shown("http://[::1") == "an unreadable URL"


def test_the_pinned_request_names_the_host() -> None:
    way = route(parse_url("https://M.example:8443/v?a=b"), allow_private=False, resolver=lambda *_: ["2606:4700::1111"])
    request = way.request(way.addresses[0], {"Accept": "*/*"}, httpx.Timeout(1))
    assert str(request.url) == "https://[2606:4700::1111]:8443/v?a=b"
    assert request.headers["host"] == "m.example:8443"
    assert request.extensions["sni_hostname"] == "m.example"


def test_names_that_cannot_be_hosts() -> None:
    with pytest.raises(ForbiddenAddressError):
        route(httpx.URL(f"https://{'a' * 80}.example/"), allow_private=False, resolver=resolve_host)


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "ftp://x/y"])
def test_redirect_to_where_nobody_may_go(fetch: Fetch, location: str) -> None:
    with MediaServer(redirect(location)) as media, pytest.raises(ForbiddenAddressError):
        fetch(media.url())


def test_redirect_from_a_public_host_to_this_machine(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first hop is public by its name; a transport stands in for the public network."""
    hops: list[str] = []

    def public(client: httpx.Client, request: httpx.Request, **_: Any) -> httpx.Response:
        hops.append(str(request.url))
        return httpx.Response(302, headers={"Location": "http://localhost:1/"}, request=request)

    monkeypatch.setattr(httpx.Client, "send", public)
    resolved = {"media.example": ["8.8.8.8"], "localhost": ["127.0.0.1"]}
    with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.1"):
        fetch("https://media.example/v.mp4", allow_private=False, resolver=lambda host, _: resolved[host])
    assert hops == ["https://8.8.8.8/v.mp4"]


def test_connects_to_the_address_that_was_checked(fetch: Fetch) -> None:
    """A name that resolves to another address the second time: only the first answer is ever used."""
    answers = [["127.0.0.1"]]
    with MediaServer(Serve(DATA)) as media:
        fetch.check(fetch(media.url(host="rebind.example"), resolver=lambda *_: answers.pop()))
        assert media.seen[0].headers["host"] == f"rebind.example:{media.port}"


def test_tries_the_next_address(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA)) as media:
        fetch.check(fetch(media.url(host="two.example"), resolver=lambda *_: ["127.0.0.9", "127.0.0.1"]))
    assert fetch.slept == []


def test_tls_verifies_the_name_and_not_the_address(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def wrap(self: ssl.SSLContext, *_: Any, server_hostname: str, **__: Any) -> None:
        asked.append((self.check_hostname, self.verify_mode, server_hostname))
        raise ssl.SSLError("enough")

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
    with MediaServer(Serve(DATA)) as media, pytest.raises(LandingError):
        fetch(f"https://named.example:{media.port}/v.mp4", resolver=lambda *_: ["127.0.0.1"])
    assert set(asked) == {(True, ssl.CERT_REQUIRED, "named.example")}


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://[::1", "http://a\x00b/", "gopher://x/"])
def test_urls_that_are_none(fetch: Fetch, url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        fetch(url)


def test_proxy_resolves_and_no_proxy_is_heeded(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError("the proxy resolves")

    with MediaServer(Serve(DATA)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url("/"))
        fetch.check(fetch("http://media.example/v.mp4", allow_private=False, resolver=never))
        assert proxy.seen[0].path == "http://media.example/v.mp4"
        with pytest.raises(ForbiddenAddressError):
            fetch("http://localhost/v.mp4", allow_private=False, resolver=lambda *_: ["127.0.0.1"])
        with pytest.raises(ForbiddenAddressError):
            fetch("http://10.0.0.1/v.mp4", allow_private=False, resolver=never)
        monkeypatch.setenv("no_proxy", "media.example")
        with pytest.raises(ForbiddenAddressError):
            fetch("http://media.example/v.mp4", allow_private=False, resolver=lambda *_: ["10.0.0.1"])
        assert len(proxy.seen) == 1
