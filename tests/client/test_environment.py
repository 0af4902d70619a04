"""Proxies and certificates of the environment: used as curl and requests do, or refused by the variable's name."""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
from airflow_provider_apimart.client.environment import CERTIFICATE_VARIABLES, load_tls, proxy_for
from airflow_provider_apimart.client.errors import ApimartConnectionError, Charge, ConfigurationError
from airflow_provider_apimart.client.settings import Settings
from tests.client.harness import KEY, Both, WireServer, http, raw

TASK = http(b'{"code":200,"data":{"id":"task_1","status":"processing"}}')
PASSWORD = "hunter2-of-the-proxy"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy and no certificates but those of the test."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    load_tls.cache_clear()
    yield
    load_tls.cache_clear()


# --- proxies ---


@pytest.mark.parametrize(
    ("no_proxy", "url", "excepted"),
    [
        ("", "https://api.apimart.ai", False),
        ("*", "https://api.apimart.ai", True),
        ("other.corp,*", "https://api.apimart.ai", True),
        ("api.apimart.ai", "https://api.apimart.ai", True),
        ("API.APIMART.AI", "https://api.apimart.ai", True),
        ("apimart.ai", "https://api.apimart.ai", True),
        (".apimart.ai", "https://api.apimart.ai", True),
        ("*.apimart.ai", "https://api.apimart.ai", True),
        ("mart.ai", "https://api.apimart.ai", False),
        ("api.apimart.ai.corp", "https://api.apimart.ai", False),
        ("a.corp b.corp apimart.ai", "https://api.apimart.ai", True),
        ("apimart.ai:443", "https://api.apimart.ai", True),
        ("apimart.ai:8443", "https://api.apimart.ai", False),
        ("https://apimart.ai", "https://api.apimart.ai", True),
        ("http://apimart.ai", "https://api.apimart.ai", False),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.1/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("10.1.2.3", "https://10.1.2.30", False),
        ("fd07:b51a:cc66:f0::/64", "https://[fd07:b51a:cc66:f0::9]", True),
        ("fd07:b51a:cc66:f0::/64", "https://[fd07:b51a:cc66:f1::9]", False),
        ("[fd07:b51a:cc66:f0::]/64", "https://[fd07:b51a:cc66:f0::9]", True),
        ("fd07::9", "https://[fd07::9]", True),
        ("[fd07::9]", "https://[fd07::9]", True),
        ("[fd07::9]:8443", "https://[fd07::9]:8443", True),
        ("[fd07::9]:8443", "https://[fd07::9]", False),
        ("fd07:b51a:cc66:f0::/64,[::1],[,]:,::::,a/b/c,:,://,10.0.0.0/99", "https://api.apimart.ai", False),
        ("[,]:,fd07::/999,apimart.ai", "https://api.apimart.ai", True),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, excepted: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.corp:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(httpx.URL(url)) == (None if excepted else "http://proxy.corp:3128")
    ApimartClient(Settings(KEY, url)).close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8808", "http://[::1]:8808", "http://localhost"])
def test_this_machine_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.corp:3128")
    assert proxy_for(httpx.URL(url)) is None


def test_the_scheme_s_own_proxy_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "all.corp:1")
    assert proxy_for(httpx.URL("https://a.example")) == "http://all.corp:1"
    monkeypatch.setenv("https_proxy", "https://own.corp:2")
    assert proxy_for(httpx.URL("https://a.example")) == "https://own.corp:2"
    assert proxy_for(httpx.URL("http://a.example")) == "http://all.corp:1"


def test_a_proxy_is_used_by_both_clients(monkeypatch: pytest.MonkeyPatch, both: Both) -> None:
    settings = Settings(KEY, "http://apimart.example", allow_http=True)
    with WireServer([raw(TASK)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url.replace("://", f"://user:{PASSWORD}@"))
        assert both.run("generation", "task_1", settings=settings).generation_id == "task_1"
    assert proxy.requests[0].startswith(b"GET http://apimart.example/v1/tasks/task_1")
    assert b"Proxy-Authorization: Basic " in proxy.requests[0]


def test_no_proxy_is_heeded_by_both_clients(monkeypatch: pytest.MonkeyPatch, both: Both) -> None:
    settings = Settings(KEY, "http://apimart.invalid", allow_http=True)
    with WireServer([raw(TASK)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        monkeypatch.setenv("NO_PROXY", "[::1],fd07::/64,apimart.invalid")
        with pytest.raises(ApimartConnectionError):
            both.run("generation", "task_1", settings=settings)
    assert not proxy.requests


def clients(settings: Settings) -> None:
    """Make one of each; what the environment has done wrong shows here."""
    ApimartClient(settings).close()

    async def work() -> None:
        await AsyncApimartClient(settings).aclose()

    asyncio.run(work())


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize(
    "value",
    [
        f"ftp://user:{PASSWORD}@proxy.corp",
        f"http://user:{PASSWORD}@proxy.corp:port",
        f"http://user:{PASSWORD}@[::1",
        "http://",
        "://",
        "http://a\x7fb",
        f"http://user:{PASSWORD}@..:1",
        f"http://user:{PASSWORD}@xn--:1",
        f"http://user:{PASSWORD}@proxy.corp:99999",
    ],
)
def test_a_proxy_that_is_none_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name} is not the URL of a proxy") as caught:
        clients(Settings(KEY))
    assert PASSWORD not in f"{caught.value} {caught.value!r}"
    assert caught.value.charge is Charge.NO


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "https_proxy"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: (name != "socksio" and found(name, *rest)) or None
    )
    monkeypatch.setenv(name, f"{scheme}://user:{PASSWORD}@127.0.0.1:1080")
    with pytest.raises(
        ConfigurationError, match=rf"^{name} names a SOCKS proxy.*pip install 'httpx\[socks\]'"
    ) as caught:
        clients(Settings(KEY))
    assert PASSWORD not in str(caught.value)
    # The emulator on this machine is reached without it.
    ApimartClient(Settings(KEY, "http://127.0.0.1:9")).close()


@pytest.mark.parametrize(
    "environment",
    [
        {"NO_PROXY": "*", "ALL_PROXY": "ftp://proxy.corp"},
        {"NO_PROXY": "localhost, *", "HTTPS_PROXY": "://"},
        # As desktops set it, beside proxies that can be used.
        {
            "http_proxy": "http://proxy.corp:1",
            "https_proxy": "http://proxy.corp:1",
            "all_proxy": "socks://proxy.corp:2",
        },
    ],
)
def test_a_proxy_that_nothing_goes_through_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    clients(Settings(KEY))


# --- certificates ---


def test_the_certificates_are_loaded_once() -> None:
    assert load_tls() is load_tls()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this machine that nobody but the test trusts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA of our own")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("ca")
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem", folder / "key.pem"


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[Settings]:
    """A server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            connection, _ = listening.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(65536)
                        wrapped.sendall(TASK)
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    yield Settings(KEY, f"https://127.0.0.1:{listening.getsockname()[1]}")
    stopped.set()
    socket.create_connection(listening.getsockname()).close()
    thread.join()
    listening.close()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_of_the_environment_is_trusted(
    monkeypatch: pytest.MonkeyPatch, secure: Settings, certificate: tuple[Path, Path], both: Both, name: str
) -> None:
    with pytest.raises(ApimartConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        both.run("generation", "task_1", settings=secure)
    load_tls.cache_clear()
    monkeypatch.setenv(name, str(certificate[0]))
    assert both.run("generation", "task_1", settings=secure).generation_id == "task_1"


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_folder_of_certificates_is_trusted(
    monkeypatch: pytest.MonkeyPatch,
    secure: Settings,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    both: Both,
    name: str,
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command, to name the certificate")
    hashed = subprocess.run(
        [openssl, "x509", "-hash", "-noout", "-in", certificate[0]], check=True, capture_output=True, text=True
    )
    shutil.copy(certificate[0], tmp_path / f"{hashed.stdout.strip()}.0")
    monkeypatch.setenv(name, f"/nowhere{os.pathsep}{tmp_path}" if name == "SSL_CERT_DIR" else str(tmp_path))
    assert both.run("generation", "task_1", settings=secure).generation_id == "task_1"


def test_what_httpx_reads_comes_first(
    monkeypatch: pytest.MonkeyPatch, secure: Settings, certificate: tuple[Path, Path], both: Both
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    assert both.run("generation", "task_1", settings=secure).generation_id == "task_1"


@pytest.mark.parametrize("name", CERTIFICATE_VARIABLES)
@pytest.mark.parametrize("what", ["missing", "empty", "text", "folder", "key"])
def test_certificates_that_cannot_be_used_are_refused_by_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path], tmp_path: Path, name: str, what: str
) -> None:
    place = tmp_path / what
    if what == "folder":
        place.mkdir()
        (place / "ca.pem").write_text("not under a hashed name")
    elif what != "missing":
        place.write_text({"empty": "", "text": "no certificate", "key": certificate[1].read_text()}[what])
    monkeypatch.setenv(name, str(place))
    with pytest.raises(ConfigurationError, match=f"^{name}='{place}'.*unset") as caught:
        clients(Settings(KEY))
    assert caught.value.charge is Charge.NO
    # Set right, it works: the failure is not kept.
    monkeypatch.delenv(name)
    clients(Settings(KEY))
