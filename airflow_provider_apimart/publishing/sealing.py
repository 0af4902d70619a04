"""Encrypts the secrets that a post record has to remember: an upload session's URL, a message with a signed link.

Records are shown in Airflow's UI and kept beside videos. The key is derived from a secret of the connection, so whoever
can read the record but not the connection learns nothing.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"airflow-provider-apimart post record"


class Seal:
    """Encrypts and decrypts with a key derived from ``secret``.

    :param secret: a secret of the connection that rarely changes, such as the OAuth client's.
    :param former: secrets that are being replaced: what was encrypted with them can still be read.
    """

    def __init__(self, secret: str, *former: str) -> None:
        self._fernet = MultiFernet([Fernet(_key(each)) for each in (secret, *former)])

    def close(self, text: str) -> str:
        """Return ``text`` encrypted, as ASCII."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str | None) -> str | None:
        """Return the text, or ``None`` if there is none or if it was encrypted with another secret."""
        if sealed is None:
            return None
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except (InvalidToken, ValueError):
            return None


def _key(secret: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
