"""Makes certificates and keys of signers that nobody trusts, for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from airflow_provider_apimart.media.provenance.signer import SignerSettings, read_signer


@dataclass(frozen=True)
class TestSigner:
    """What a connection of the type ``c2pa_signer`` holds, and the root that verifies it."""

    __test__ = False

    chain: str
    key: str
    root: str

    def settings(self, **more: Any) -> SignerSettings:
        return read_signer(self.chain, self.key, at=datetime.now(UTC), **more)


def make_signer(
    key: Any = None,
    *,
    name: str = "Test signer",
    since: timedelta = timedelta(days=-1),
    until: timedelta = timedelta(days=60),
    purpose: Any = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    is_ca: bool = False,
    signs: bool = True,
    passphrase: str | None = None,
) -> TestSigner:
    """Return a signer whose certificate an authority of its own has issued."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP256R1())
    root = _certificate("Test root", "Test root", authority.public_key(), timedelta(days=-400), timedelta(days=4000))
    root = root.add_extension(x509.BasicConstraints(True, None), True).add_extension(_usage(certs=True), True)
    own = _certificate(name, "Test root", key.public_key(), since, until)
    own = (
        own.add_extension(x509.BasicConstraints(is_ca, None), True)
        .add_extension(_usage(signs=signs, certs=not signs), True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
    )
    roots, chain = (_pem(each.sign(authority, hashes.SHA256())) for each in (root, own))
    encryption: Any = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return TestSigner(chain + roots, pem.decode(), roots)


def _certificate(name: str, issuer: str, key: Any, since: timedelta, until: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _usage(*, signs: bool = False, certs: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(signs, False, False, False, False, certs, certs, False, False)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
