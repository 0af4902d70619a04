"""The connection of a C2PA signer: a certificate chain and its private key."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import airflow_provider_apimart
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.settings import shown
from airflow_provider_apimart.connection_form import FORMS
from airflow_provider_apimart.hooks.connections.connection_hook import ConnectionHook, mask
from airflow_provider_apimart.hooks.connections.connection_parts import HIDDEN, extra_of, is_type, scrubbed

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_apimart.media.provenance.signer import SignerSettings

CONN_TYPE = "c2pa_signer"
#: Of the sample that a connection's test signs.
SAMPLE_SECONDS = 60.0
#: From here on the test says that the certificate ends soon.
SOON_DAYS = 30
_CHAIN = "the certificates are 'certificate_chain' in extra"
_KEY = "the private key is the connection's password"
_MEANT = {
    **dict.fromkeys(
        ("cert", "certs", "certificate", "certificates", "chain", "certchain", "signcert", "x5chain"), _CHAIN
    ),
    **dict.fromkeys(("key", "privatekey", "password", "secret", "pem"), _KEY),
    **dict.fromkeys(("passphrase", "keypassword", "privatekeypassword"), "write 'private_key_passphrase'"),
    **dict.fromkeys(("taurl", "tsa", "tsaurl", "timestampauthority"), "write 'timestamp_url'"),
    **dict.fromkeys(("alg", "algorithm"), "the algorithm follows from the key"),
}


class C2paSignerHook(ConnectionHook):
    """Reads the signer of an Airflow connection. Its key leaves the worker's memory for the signing process alone.

    :param signer_conn_id: the connection, of the type ``c2pa_signer``: ``password`` is the private key (PEM); extra
        holds ``certificate_chain`` (PEM, the signer's own certificate first), and may hold ``private_key_passphrase``
        and ``timestamp_url``. Any other field in it is refused by name.
    """

    conn_name_attr = "signer_conn_id"
    default_conn_name = "c2pa_signer_default"
    conn_type = CONN_TYPE
    hook_name = "C2PA signer"
    example_json = (
        f'{{"conn_type": "{CONN_TYPE}", "password": "-----BEGIN PRIVATE KEY-----...", '
        '"extra": {"certificate_chain": "-----BEGIN CERTIFICATE-----..."}}'
    )
    example_uri = "c2pa-signer://:-----BEGIN%20PRIVATE%20KEY-----...@/?certificate_chain=-----BEGIN%20CERTIFICATE..."
    remedy = (
        f"make one of the type {CONN_TYPE!r} with the private key as password and the certificate_chain in extra, or "
        "leave signer_conn_id away: then only XMP is written"
    )

    def __init__(self, signer_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.signer_conn_id = signer_conn_id

    def signer(self) -> SignerSettings:
        """Return the signer, checked; its secrets are masked in every log of this process.

        :raises ConfigurationError: with everything that is wrong with the connection; never with a secret.
        """
        connection = self._connection()
        for secret in _secrets_of(connection):
            mask(secret)
        try:
            settings = self._settings(connection)
        except ConfigurationError as error:
            raise scrubbed(error, *_secrets_of(connection)) from None
        mask(settings.private_key)
        return settings

    def get_conn(self) -> SignerSettings:
        """Return the signer; the same as :meth:`signer`."""
        return self.signer()

    def _settings(self, connection: Connection) -> SignerSettings:
        from airflow_provider_apimart.media.provenance.signer import read_signer

        if not is_type(connection.conn_type, CONN_TYPE):
            raise ConfigurationError(
                f"{self.conn_name_attr}={self.conn_id!r} has conn_type={shown(connection.conn_type)}; allowed: "
                f"{CONN_TYPE!r}"
            )
        for name in ("host", "login", "port"):
            if getattr(connection, name):
                raise ConfigurationError(f"{name}: a C2PA signer has none; leave it empty ({HIDDEN})")
        extra = extra_of(connection.extra, CONN_TYPE, FORMS[CONN_TYPE].fields, _MEANT)
        lacking = [
            text
            for text, there in (
                ("no private key (the password)", (connection.password or "").strip()),
                ("no certificate_chain (in extra)", extra.get("certificate_chain")),
            )
            if not there
        ]
        if lacking:
            raise ConfigurationError(f"{self.conn_name_attr}={self.conn_id!r} has {' and '.join(lacking)}")
        try:
            return read_signer(
                str(extra["certificate_chain"]),
                str(connection.password),
                passphrase=_text(extra, "private_key_passphrase"),
                timestamp_url=_text(extra, "timestamp_url"),
                at=datetime.now(UTC),
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.conn_name_attr}={self.conn_id!r}: {error.message}") from None

    def test_connection(self) -> tuple[bool, str]:
        """Sign a small image and read it back. Never raises."""
        try:
            return self._tested(self.signer())
        except ConfigurationError as error:
            return False, str(error)
        except Exception as error:
            # Airflow's form shows the returned text, and breaks on an exception. The error's own text may be secret.
            return False, f"The connection could not be tested ({type(error).__name__})"

    def _tested(self, signer: SignerSettings) -> tuple[bool, str]:
        from airflow_provider_apimart.media.child import run_isolated
        from airflow_provider_apimart.media.errors import MediaError

        days = (signer.expires_at - datetime.now(UTC)).days
        until = f"valid until {signer.expires_at:%Y-%m-%d}" + (f", which is in {days} days" if days < SOON_DAYS else "")
        whose = f"Certificate and key of {signer.subject} fit ({signer.algorithm}, {until})"
        missing = [name for name in ("c2pa", "av", "PIL") if importlib.util.find_spec(name) is None]
        if missing:
            return True, (
                f"{whose}. No sample was signed: airflow-provider-apimart[media,provenance] is not installed where "
                "this test runs"
            )
        software = {"name": "airflow-provider-apimart", "version": airflow_provider_apimart.__version__}
        try:
            arguments = {"signer": signer.private(), "software": software}
            found = run_isolated("try_signer", arguments, seconds=SAMPLE_SECONDS)
        except MediaError as error:
            return False, f"{whose}, but a sample could not be signed: {error.message}"
        wrong = [code for code in found["codes"] if code != "signingCredential.untrusted"]
        if wrong or found["state"] not in ("Valid", "Trusted"):
            return False, f"{whose}, but a signed sample is not valid: {', '.join(wrong) or found['state']}"
        return True, (
            f"{whose}. A sample was signed, with {'a' if signer.timestamp_url else 'no'} timestamp, and read back: "
            "valid. Who checks a file shows its signer as trusted only if the certificate's authority is on the list "
            "of that program"
        )


def _text(extra: Any, name: str) -> str | None:
    return str(extra[name]).strip() if extra.get(name) else None


def _secrets_of(connection: Connection) -> Iterable[str]:
    """Yield every secret in a connection, also one that is in the wrong field. Does not raise."""
    from airflow_provider_apimart.media.provenance.signer import pem_text

    password = connection.password or ""
    yield from {password, password.strip(), pem_text(password), pem_text(password).replace("\n", "")} - {""}
    try:
        extra = extra_of(connection.extra, CONN_TYPE, FORMS[CONN_TYPE].fields)
    except ConfigurationError:
        return
    if extra.get("private_key_passphrase"):
        yield str(extra["private_key_passphrase"]).strip()
    chain = str(extra.get("certificate_chain") or "")
    if "PRIVATE KEY" in chain:
        yield from (chain, pem_text(chain))
