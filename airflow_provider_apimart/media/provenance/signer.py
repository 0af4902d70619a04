"""Reads a signer's certificates and private key, and finds all that is wrong with them before anything is signed.

What C2PA asks of a signer's certificate: its specification, section "X.509 Certificates". No error shows the key.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from airflow_provider_apimart.client.errors import ConfigurationError

#: What a certificate may be for, one of them: e-mail, documents, C2PA claims.
PURPOSES = frozenset({"1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36", "1.3.6.1.4.1.62558.2.1"})
#: C2PA's algorithms, by the curve of the key. RSA keys use PS256.
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
SHORTEST_RSA_BITS = 2048
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_SHOWN = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True)
class SignerSettings:
    """A signer that can be used.

    :param algorithm: C2PA's name of it: ``es256``, ``es384``, ``es512``, ``ps256`` or ``ed25519``.
    :param certificates: the chain as PEM, the signer's own first.
    :param private_key: PKCS #8 as PEM. A secret.
    :param timestamp_url: of a timestamp authority (RFC 3161); ``None`` asks none.
    :param subject: whom the certificate names.
    :param expires_at: when the first of the chain ends.
    """

    algorithm: str
    certificates: str
    private_key: str = field(repr=False)
    timestamp_url: str | None
    subject: str
    expires_at: datetime

    def public(self) -> dict[str, Any]:
        """Return what a signed file's fingerprint and note hold: neither the key nor the certificate.

        A certificate that is renewed for the same holder does not make what is signed be signed again.
        """
        return {"subject": self.subject, "algorithm": self.algorithm, "timestamp": self.timestamp_url is not None}

    def private(self) -> dict[str, Any]:
        """Return what the child process needs. It holds the key."""
        names = ("algorithm", "certificates", "private_key", "timestamp_url")
        return {name: getattr(self, name) for name in names}


def read_signer(
    certificates: str,
    private_key: str,
    *,
    passphrase: str | None = None,
    timestamp_url: str | None = None,
    at: datetime,
) -> SignerSettings:
    """Return a signer, checked.

    :param certificates: the chain as PEM, the signer's own first. Line breaks may be lost, as in a form's field.
    :param private_key: as PEM, of any kind that OpenSSL writes.
    :param passphrase: of the key, if it is encrypted.
    :param at: the time, for the validity of the certificates.
    :raises ConfigurationError: with everything that is wrong.
    """
    problems: list[str] = []
    chain = _chain(certificates, problems)
    key = _key(private_key, passphrase, problems)
    if chain:
        problems += _chain_problems(chain, at)
    if key is not None:
        problems += _key_problems(key)
        if chain and _public_bytes(chain[0].public_key()) != _public_bytes(key.public_key()):
            owner = f"the certificate of {_subject(chain[0])}"
            problems.append(f"the private key does not belong to the first certificate ({owner})")
    problems += _url_problems(timestamp_url)
    if problems or key is None:
        raise ConfigurationError("; ".join(problems))
    return SignerSettings(
        algorithm=_algorithm(key),
        certificates="".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in chain),
        private_key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        timestamp_url=timestamp_url,
        subject=_subject(chain[0]),
        expires_at=min(each.not_valid_after_utc for each in chain),
    )


def pem_text(text: str) -> str:
    """Return PEM with the line breaks that a one-line form field or an environment variable has taken from it."""
    text = text.strip().replace("\\n", "\n")
    if text and "-----BEGIN" not in text:
        try:
            decoded = base64.b64decode(re.sub(r"\s", "", text), validate=True)
        except (ValueError, binascii.Error):
            decoded = b""
        if b"-----BEGIN" in decoded:
            text = decoded.decode("ascii", "replace")
    return _BLOCK.sub(_rewrapped, text)


def _rewrapped(block: re.Match[str]) -> str:
    body = re.sub(r"\s", "", block[2])
    if not re.fullmatch(r"[A-Za-z0-9+/=]+", body):
        # Headers of an encrypted key of the old kind: its line breaks count.
        return block[0]
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {block[1]}-----\n{lines}\n-----END {block[1]}-----\n"


# --- certificates -----------------------------------------------------------------------------------------------------


def _chain(text: str, problems: list[str]) -> list[x509.Certificate]:
    pem = pem_text(text)
    if "PRIVATE KEY" in pem:
        problems.append("the certificate chain holds a private key: its place is the password")
        return []
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        problems.append(
            "the certificate chain cannot be read; allowed: PEM, '-----BEGIN CERTIFICATE-----', the signer's own "
            "certificate first, then those that issued it"
        )
        return []


def _chain_problems(chain: list[x509.Certificate], at: datetime) -> Iterator[str]:
    for each in chain:
        if at < each.not_valid_before_utc:
            yield f"the certificate of {_subject(each)} is valid from {each.not_valid_before_utc:{_SHOWN}} on only"
        if at > each.not_valid_after_utc:
            yield f"the certificate of {_subject(each)} has expired on {each.not_valid_after_utc:{_SHOWN}}: renew it"
    for lower, upper in itertools.pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            yield (
                f"the certificate of {_subject(lower)} is not issued by the next one in the chain ({_subject(upper)}): "
                "put the signer's own first, then each one's issuer"
            )
    yield from _signer_problems(chain[0])


def _signer_problems(own: x509.Certificate) -> Iterator[str]:
    """Yield what C2PA does not accept in a signer's own certificate."""
    subject = _subject(own)
    if own.subject == own.issuer:
        yield (
            f"the certificate of {subject} is self-signed, which C2PA does not allow: a signer's certificate is issued "
            "by an authority, which for tests can be one of your own"
        )
    extensions = _extensions(own)
    basic = extensions.get(x509.BasicConstraints.oid)
    if isinstance(basic, x509.BasicConstraints) and basic.ca:
        yield f"the certificate of {subject} is an authority's (CA), not a signer's: put the signer's own first"
    usage = extensions.get(x509.KeyUsage.oid)
    if not (isinstance(usage, x509.KeyUsage) and usage.digital_signature):
        yield f"the certificate of {subject} is not for digital signatures (key usage digitalSignature)"
    purposes = extensions.get(x509.ExtendedKeyUsage.oid)
    found = {each.dotted_string for each in purposes} if isinstance(purposes, x509.ExtendedKeyUsage) else set()
    if not found & PURPOSES:
        yield (
            f"the certificate of {subject} is not for signing content; allowed extended key usages: emailProtection, "
            "documentSigning (1.3.6.1.5.5.7.3.36), C2PA claim signing (1.3.6.1.4.1.62558.2.1)"
        )


def _extensions(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, x509.ExtensionType]:
    try:
        return {each.oid: each.value for each in certificate.extensions}
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return {}


def _subject(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()
    except ValueError:
        return f"number {certificate.serial_number:x}"


# --- the key ----------------------------------------------------------------------------------------------------------

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _key(text: str, passphrase: str | None, problems: list[str]) -> _Key | None:
    try:
        key = serialization.load_pem_private_key(
            pem_text(text).encode(), passphrase.encode() if passphrase else None, unsafe_skip_rsa_key_validation=False
        )
    except TypeError:
        problems.append(
            "the private key is encrypted, and there is no private_key_passphrase in extra"
            if not passphrase
            else "extra holds a private_key_passphrase, but the private key is not encrypted: leave it away"
        )
        return None
    except (ValueError, UnsupportedAlgorithm):
        # The library's text may hold a part of the key.
        reason = "or the private_key_passphrase is wrong; " if passphrase else ""
        problems.append(
            f"the private key cannot be read, {reason}allowed: PEM in the password, '-----BEGIN PRIVATE KEY-----'"
        )
        return None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        problems.append("the private key is of a kind that C2PA does not sign with; allowed: EC, RSA, Ed25519")
        return None
    return key


def _key_problems(key: _Key) -> Iterator[str]:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in CURVES:
        yield f"the private key is on the curve {key.curve.name}; allowed: {', '.join(CURVES)}"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < SHORTEST_RSA_BITS:
        yield f"the private key has {key.key_size} bits; allowed for RSA: {SHORTEST_RSA_BITS} and more"


def _algorithm(key: _Key) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return CURVES[key.curve.name]
    return "ps256" if isinstance(key, rsa.RSAPrivateKey) else "ed25519"


def _public_bytes(key: Any) -> bytes:
    found: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _url_problems(url: str | None) -> Iterator[str]:
    if url is None:
        return
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and not parts.password
    except ValueError:
        fine = False
    if not fine:
        yield (
            "timestamp_url is not the URL of a timestamp authority; allowed: http:// or https:// with a host and "
            "without a user, or nothing"
        )
