"""Certificates and keys: what is read, and what is refused before anything is signed."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.media.provenance.signer import pem_text, read_signer
from tests.media.signers import TestSigner, make_signer

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def signer() -> TestSigner:
    return make_signer()


def _refused(chain: str, key: str, **more: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_signer(chain, key, at=more.pop("at", NOW), **more)
    body = "".join(key.split("-----")[2].split()) if key.count("-----") >= 4 else ""
    assert not body or body[10:60] not in str(caught.value).replace("\n", "")
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "es256"),
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ec.generate_private_key(ec.SECP521R1()), "es512"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_algorithm_follows_from_the_key(key: Any, algorithm: str) -> None:
    found = make_signer(key).settings()
    assert found.algorithm == algorithm
    assert found.public() == {"subject": "CN=Test signer,O=Test", "algorithm": algorithm, "timestamp": False}
    assert "PRIVATE KEY" not in repr(found)


def test_text_that_lost_its_line_breaks_is_read_all_the_same(signer: TestSigner) -> None:
    expected = signer.settings()
    for lose in (
        lambda text: text.replace("\n", " "),
        lambda text: text.replace("\n", ""),
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: base64.b64encode(text.encode()).decode(),
    ):
        assert read_signer(lose(signer.chain), lose(signer.key), at=NOW) == expected


def test_keys_of_openssl_s_older_kinds_are_read() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = make_signer(key)
    sec1 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    assert "BEGIN EC PRIVATE KEY" in sec1
    assert read_signer(signer.chain, sec1, at=NOW).private_key == signer.settings().private_key
    old = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"open sesame"),
    ).decode()
    assert "Proc-Type" in pem_text(old)
    assert read_signer(signer.chain, old, passphrase="open sesame", at=NOW).private_key == signer.settings().private_key


def test_an_encrypted_key_needs_its_passphrase() -> None:
    signer = make_signer(passphrase="open sesame")
    assert "private_key_passphrase" in _refused(signer.chain, signer.key)
    wrong = _refused(signer.chain, signer.key, passphrase="sesame")
    assert "passphrase is wrong" in wrong and "sesame" not in wrong
    assert "BEGIN PRIVATE KEY" in signer.settings(passphrase="open sesame").private_key
    plain = make_signer()
    assert "leave it away" in _refused(plain.chain, plain.key, passphrase="open sesame")


def test_time_is_checked(signer: TestSigner) -> None:
    gone = make_signer(until=timedelta(hours=-1))
    text = _refused(gone.chain, gone.key)
    assert "CN=Test signer,O=Test has expired on 20" in text and "renew it" in text
    early = make_signer(since=timedelta(days=1))
    assert "is valid from" in _refused(early.chain, early.key)
    assert "Test root" in _refused(signer.chain, signer.key, at=NOW + timedelta(days=5000))


def test_what_does_not_fit_together_is_told_all_at_once(signer: TestSigner) -> None:
    other = make_signer(name="Other", until=timedelta(hours=-1))
    text = _refused(other.chain, signer.key, timestamp_url="ftp://tsa")
    assert "does not belong to the first certificate" in text and "expired" in text and "timestamp_url" in text
    own, root = signer.chain.removesuffix(signer.root), signer.root
    assert "put the signer's own first" in _refused(root + own, signer.key)
    assert "is not issued by the next one" in _refused(own + other.root, signer.key)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (make_signer(purpose=ExtendedKeyUsageOID.SERVER_AUTH), "documentSigning"),
        (make_signer(is_ca=True), "authority's (CA)"),
        (make_signer(signs=False), "digitalSignature"),
        (make_signer(name="Test root"), "self-signed"),
        (make_signer(ec.generate_private_key(ec.SECP256K1())), "allowed: secp256r1, secp384r1, secp521r1"),
        (make_signer(dsa.generate_private_key(1024)), "allowed: EC, RSA, Ed25519"),
    ],
    ids=["server", "ca", "usage", "self-signed", "curve", "dsa"],
)
def test_what_c2pa_does_not_allow_is_refused(made: TestSigner, told: str) -> None:
    assert told in _refused(made.chain, made.key)


def test_text_that_is_neither_is_refused_without_being_shown(signer: TestSigner) -> None:
    assert "the signer's own certificate first" in _refused("nothing", signer.key)
    text = _refused(signer.key, signer.chain)
    assert "holds a private key: its place is the password" in text and "private key cannot be read" in text
    broken = signer.key[:60] + "!" + signer.key[61:]
    assert "the private key cannot be read" in _refused(signer.chain, broken)
    for url in ("tsa.example.com", "http://", "https://me:secret@tsa.example.com"):
        shown = _refused(signer.chain, signer.key, timestamp_url=url)
        assert "timestamp_url" in shown and "secret" not in shown
    assert signer.settings(timestamp_url="http://tsa.example.com/tsa").public()["timestamp"] is True
