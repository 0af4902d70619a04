"""Reads the parts of an Airflow connection. What the connections of all services have in common.

No part of a connection is silently ignored: each is used, joined to the URL, or refused by name before anything is
sent. No error of this file shows a password, a login, or what looks like a secret in another field.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.readers import read_number
from airflow_provider_apimart.client.settings import shown

#: A shorter password is not a key. Removing it from a text would only garble the text.
SHORTEST_SECRET = 6
#: How much of a wrong value in extra is shown, in characters. No value that is meant for one of its fields is longer.
LONGEST_EXTRA = 14

_TRUST = "certificates are named by SSL_CERT_FILE or REQUESTS_CA_BUNDLE in the environment"
_PROXY = "proxies are named by HTTPS_PROXY and NO_PROXY in the environment"
#: Names that people put into extra for settings that belong elsewhere; without case, hyphens and underscores.
MEANT = {
    **dict.fromkeys(("verify", "verifyssl", "cabundle", "cafile", "sslcertfile"), _TRUST),
    **dict.fromkeys(("proxy", "proxies", "httpproxy", "httpsproxy", "noproxy"), _PROXY),
}
_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
HIDDEN = "where the form hides the field, use 'airflow connections' or make the connection anew"
_NOTES = "a note for people has its place in the connection's description"


def is_type(kind: str | None, wanted: str) -> bool:
    """Return whether a connection may be used as one of the type ``wanted``: Airflow accepts one without a type."""
    return (kind or "").strip().lower().replace("-", "_") in ("", wanted)


def scrubbed(error: ConfigurationError, *secrets: str | None) -> ConfigurationError:
    """Remove secrets from an error, and return it: a key may have been pasted into a second field as well."""
    for secret in secrets:
        if isinstance(secret, str) and len(secret.strip()) >= SHORTEST_SECRET:
            error.scrub(secret.strip())
    return error


# --- the URL ----------------------------------------------------------------------------------------------------


def joined_url(host: str, schema: str, port: int | None) -> str:
    """Join host, port and schema: http or https, or (from a URI) the path. Without a host the result is empty."""
    scheme = schema.lower() if schema.lower() in ("http", "https") else ""
    path = "" if scheme else schema.strip("/")
    check_path(path)
    if not host:
        return ""
    lead, separator, rest = host.rpartition("://")
    if scheme and separator and lead.lower() != scheme:
        raise ConfigurationError(f"schema={scheme!r}: the host already says {shown(lead)}; leave the schema empty")
    netloc, _, own_path = rest.partition("/")
    if _is_ipv6(netloc):
        netloc = f"[{netloc}]"
    netloc = _with_port(netloc, port)
    own_path = "/".join(part for part in (own_path.rstrip("/"), path) if part)
    start = f"{lead}://" if separator else f"{scheme}://" if scheme else ""
    return f"{start}{netloc}/{own_path}" if own_path else f"{start}{netloc}"


def check_path(path: str) -> None:
    """Check the schema of a connection, where a URI puts the path."""
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ConfigurationError(
            f"schema={shown(path)}: allowed: http, https, the path of the base URL (in a URI, what stands behind the "
            f"host), or empty ({HIDDEN})"
        )


def _with_port(netloc: str, port: int | None) -> str:
    if not port:
        return netloc
    try:
        own = urlsplit(f"//{netloc}").port
    except ValueError:
        return netloc  # This is not a valid host. The check of the whole URL reports that.
    if own not in (None, port):
        raise ConfigurationError(f"port={port}: the host already says {own}; leave one of the two away")
    return netloc if own else f"{netloc.removesuffix(':')}:{port}"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


# --- extra ------------------------------------------------------------------------------------------------------


def extra_of(
    text: str | None, kind: str, fields: Collection[str], meant: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """Return the fields of extra that are set, by name.

    :param kind: the connection's type. The forms of older Airflow versions put ``extra__<type>__`` before the names.
    :param fields: the names that are allowed.
    :param meant: what to say about other names that people put there.

    This does not use ``Connection.extra_dejson``, which masks with a synchronous call. A trigger must not make one.
    """
    try:
        extra = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise ConfigurationError("extra: must be a JSON object") from None
    if not isinstance(extra, Mapping):
        raise ConfigurationError("extra: must be a JSON object")
    prefix = f"extra__{kind}__"
    found: dict[str, Any] = {}
    problems = []
    for name, value in extra.items():
        field = name.removeprefix(prefix)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if field not in fields:
            problems.append(
                f"extra holds {shown(field)}, which nothing reads: {_remedy(field, fields, {**MEANT, **(meant or {})})}"
            )
        elif field in found and found[field] != value:
            problems.append(f"extra holds both {field!r} and '{prefix}{field}', which differ: leave one away")
        found[field] = value
    if problems:
        allowed = ", ".join(fields) or "nothing"
        raise ConfigurationError(f"{'; '.join(problems)} (allowed in extra: {allowed}; {_NOTES}; {HIDDEN})")
    return found


def _remedy(name: str, fields: Collection[str], meant: Mapping[str, str]) -> str:
    plain = re.sub(r"[\s_-]", "", name.lower())
    known = {field.replace("_", ""): field for field in fields}
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.75)
    return meant.get(plain) or (f"write {known[near[0]]!r}" if near else "take it out")


def truth(extra: Mapping[str, Any], name: str) -> bool:
    """Return a field of extra that is true or false; false if it is not set."""
    value = extra.get(name)
    text = str(value).strip().lower()
    if value is None or text in ("false", "0", "no"):
        return False
    if text in ("true", "1", "yes"):
        return True
    raise ConfigurationError(f"{name}={shown(value, LONGEST_EXTRA)}: allowed: true or false")


def number(extra: Mapping[str, Any], name: str, default: float, allowed: str) -> float:
    """Return a field of extra that is a number, 1 or more."""
    value = extra.get(name)
    if value is None:
        return default
    found = read_number(value)
    if found is None or found < 1:
        raise ConfigurationError(f"{name}={shown(value, LONGEST_EXTRA)}: allowed: a number, {allowed}")
    return found
