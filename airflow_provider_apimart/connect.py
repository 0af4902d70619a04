"""``airflow-provider-apimart connect``: asks an account's owner for consent once, and makes the Airflow connection.

The consent is given in a browser, to the user's own OAuth client; Google's own library runs that flow. The refresh
token that comes of it goes into the connection and nowhere else. Only ``--print`` shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from airflow_provider_apimart.client.settings import is_loopback

if TYPE_CHECKING:
    from google_auth_oauthlib.flow import InstalledAppFlow

CONN_TYPE = "youtube"
DEFAULT_CONN_ID = "youtube_default"
#: Without --no-browser it is chosen by the system. With it nothing listens there.
PASTED_PORT = 8085
#: What older JSON files name; it still works, and is the same as the one of today.
OLD_TOKEN_URL = "https://accounts.google.com/o/oauth2/token"  # noqa: S105  # an address
DESCRIPTION = """\
Opens Google's consent page in your browser, and makes the Airflow connection of a YouTube channel from the answer.

Before that, once: in the Google Cloud console make a project, enable the YouTube Data API v3, set up the OAuth
consent screen and publish it ("In production": while it is in Testing, every consent ends after 7 days), make an OAuth
client of the type "Desktop app", and download its JSON file. docs/publishing.md shows each step.

The connection is written into the database of the Airflow that is installed here, or printed for a secrets backend.
"""


class ConnectError(Exception):
    """What kept the connection from being made. Its text holds no secret."""


@dataclass(frozen=True)
class Client:
    """An OAuth client, as the Google Cloud console's JSON file describes it."""

    kind: str
    config: dict[str, Any] = field(repr=False)

    @classmethod
    def from_file(cls, path: str) -> Client:
        """Read the JSON file.

        :raises ConnectError: if it is none, or not that of an OAuth client.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConnectError(f"--client-secrets {path}: {error.strerror or type(error).__name__}") from None
        except ValueError:
            raise ConnectError(f"--client-secrets {path}: not a JSON file") from None
        kinds = [kind for kind in ("installed", "web") if isinstance(data, dict) and isinstance(data.get(kind), dict)]
        if not kinds:
            what = (
                "the key of a service account, which has no channel" if _is_service_account(data) else "something else"
            )
            raise ConnectError(
                f"--client-secrets {path}: holds {what}; allowed: the JSON file of an OAuth client of the type "
                "'Desktop app' (Google Cloud console, APIs & Services, Credentials)"
            )
        config = data[kinds[0]]
        for name in ("client_id", "client_secret", "auth_uri", "token_uri"):
            if not isinstance(config.get(name), str) or not config[name]:
                raise ConnectError(f"--client-secrets {path}: has no {name}; download the file again")
        return cls(kinds[0], config)


def add_to(commands: Any) -> None:
    """Add the command to the command line's subcommands."""
    command = commands.add_parser(
        "connect",
        help="make the Airflow connection of a YouTube channel, by consent in the browser",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("service", choices=[CONN_TYPE])
    add("--client-secrets", metavar="FILE", required=True, help="the OAuth client's JSON file")
    add("--conn-id", default=DEFAULT_CONN_ID, help=f"the connection's id (default: {DEFAULT_CONN_ID})")
    add("--print", choices=["json", "uri"], help="print the connection, secrets included, and write it nowhere")
    add("--replace", action="store_true", help="replace a connection of this id")
    add(
        "--no-browser", action="store_true", help="for a machine without one: print the address, and ask for the answer"
    )
    add("--port", type=int, default=0, help="the port on this machine that the browser comes back to (default: any)")
    add("--api-base-url", metavar="URL", help="another address of the API, kept in the connection: for the emulator")


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Run the command, and return its exit status: 0 if the connection was made, 1 if not, 2 for wrong arguments.

    :param out: gets the connection with ``--print``, and nothing else.
    """
    try:
        client = Client.from_file(options.client_secrets)
        if not options.print:
            _check_free(options.conn_id, options.replace)
        refresh_token = ask_for_consent(client, browser=not options.no_browser, port=options.port)
        connection = _parts(client, refresh_token, options.api_base_url)
        _say(check(connection))
        if options.print:
            print(_shown(connection, options.conn_id, options.print), file=out)
        else:
            _write(options.conn_id, connection)
            _say(f"The connection {options.conn_id!r} is in Airflow's database.")
    except ConnectError as error:
        _say(str(error))
        return 1
    return 0


# --- the consent -----------------------------------------------------------------------------------------------------


def ask_for_consent(
    client: Client, *, browser: bool, port: int, read_line: Callable[[], str] = lambda: sys.stdin.readline()
) -> str:
    """Return the refresh token that an account's owner grants.

    :param browser: whether to open it here; else the owner opens the address anywhere, and pastes what comes of it.
    """
    flow = _flow(client)
    #: Both are needed for a refresh token: Google gives one only with a consent, and only to be used offline.
    more = {"access_type": "offline", "prompt": "consent"}
    try:
        if browser:
            text = "If no browser opens, open this address:\n{url}"
            flow.run_local_server(port=port, authorization_prompt_message=text, success_message=SUCCESS, **more)
        else:
            _paste(flow, port or PASTED_PORT, more, read_line)
    except webbrowser.Error:
        raise ConnectError("there is no browser on this machine: add --no-browser") from None
    except OSError as error:
        raise ConnectError(f"--port {port}: {error.strerror or type(error).__name__}") from None
    except ConnectError:
        raise
    except Warning as error:
        raise ConnectError(f"not all permissions were granted, and all are needed: tick every box ({error})") from None
    except Exception as error:
        # Errors of oauthlib name what Google said. Others may hold the request, and so the client's secret.
        told = getattr(error, "error", "") or type(error).__name__
        hint = ": nothing was granted" if told == "access_denied" else ""
        raise ConnectError(f"Google gave no consent ({told}){hint}. Run the command again") from None
    token = flow.credentials.refresh_token
    if not token:
        raise ConnectError(
            "Google sent no refresh token. Take the access of this app away at myaccount.google.com/permissions, and "
            "run the command again"
        )
    return str(token)


SUCCESS = "The connection is being made. You can close this window."


def _flow(client: Client) -> InstalledAppFlow:
    try:
        from google_auth_oauthlib.flow import InstalledAppFlow
    except ImportError:
        raise ConnectError(
            "this command needs google-auth-oauthlib: pip install 'airflow-provider-apimart[youtube]'. Only this "
            "command needs it; publishing does not"
        ) from None
    from airflow_provider_apimart.publishing.targets.youtube.oauth import SCOPE

    if is_loopback(urlsplit(client.config["token_uri"]).hostname or ""):
        # The emulator. The library refuses http everywhere else.
        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    return InstalledAppFlow.from_client_config({client.kind: client.config}, scopes=[SCOPE])


def _paste(flow: InstalledAppFlow, port: int, more: dict[str, str], read_line: Callable[[], str]) -> None:
    flow.redirect_uri = f"http://localhost:{port}/"
    url, state = flow.authorization_url(**more)
    _say(
        f"Open this address in any browser, and agree:\n\n{url}\n\nThe browser then ends at an address that begins "
        f"with http://localhost:{port}/ and cannot be opened. Paste that address here:"
    )
    pasted = read_line().strip()
    if not pasted.startswith(f"http://localhost:{port}/"):
        raise ConnectError(f"what was pasted does not begin with http://localhost:{port}/: run the command again")
    if f"state={state}" not in urlsplit(pasted).query.split("&"):
        raise ConnectError("what was pasted belongs to another run of this command: run it again")
    # The library expects https everywhere. This address never leaves the machine.
    flow.fetch_token(authorization_response=pasted.replace("http:", "https:", 1))


def check(connection: Mapping[str, Any]) -> str:
    """Return which channel a connection leads to.

    :raises ConnectError: if it leads to none.
    """
    from airflow_provider_apimart.publishing.errors import PublishError, TargetLimitError, TargetUnavailableError
    from airflow_provider_apimart.publishing.exchange import Sender
    from airflow_provider_apimart.publishing.targets.youtube.oauth import OAuthClient, OAuthCredentials
    from airflow_provider_apimart.publishing.targets.youtube.target import DEFAULT_API_URL, YouTubeTarget

    extra = connection["extra"]
    token_url = {"token_url": extra["token_url"]} if "token_url" in extra else {}
    granted = OAuthClient(connection["login"], connection["password"], extra["refresh_token"], **token_url)
    credentials = OAuthCredentials(granted)
    target = YouTubeTarget(extra.get("api_base_url", DEFAULT_API_URL), scrub=credentials.scrub)
    try:
        with Sender(credentials) as sender:
            return f"The connection leads to the channel {sender.run(target.channel())}."
    except (TargetLimitError, TargetUnavailableError) as error:
        return f"Which channel it leads to could not be checked now: {error}"
    except PublishError as error:
        raise ConnectError(f"The consent was given, but the connection cannot post: {error}") from None


# --- the connection --------------------------------------------------------------------------------------------------


def _parts(client: Client, refresh_token: str, api_base_url: str | None) -> dict[str, Any]:
    from airflow_provider_apimart.publishing.targets.youtube.oauth import DEFAULT_TOKEN_URL

    extra = {"refresh_token": refresh_token}
    if api_base_url:
        extra["api_base_url"] = api_base_url.rstrip("/")
    if client.config["token_uri"] not in (DEFAULT_TOKEN_URL, OLD_TOKEN_URL):
        extra["token_url"] = client.config["token_uri"]
    return {
        "conn_type": CONN_TYPE,
        "login": client.config["client_id"],
        "password": client.config["client_secret"],
        "extra": extra,
    }


def _shown(connection: Mapping[str, Any], conn_id: str, form: str) -> str:
    if form == "json":
        return json.dumps(connection)
    from airflow.models.connection import Connection

    parts = {**connection, "extra": json.dumps(connection["extra"])}
    return Connection(conn_id=conn_id, **parts).get_uri()


def _check_free(conn_id: str, replace: bool) -> None:
    """Find out before the owner is asked whether the connection can be written."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    try:
        with create_session() as session:
            taken = session.scalar(select(Connection.conn_type).where(Connection.conn_id == conn_id))
    except Exception as error:
        raise ConnectError(
            f"Airflow's database cannot be used here ({type(error).__name__}): run this where airflow itself runs, or "
            "add --print"
        ) from None
    if taken is not None and not replace:
        raise ConnectError(f"--conn-id {conn_id}: there is a connection of this id (type {taken!r}): add --replace")


def _write(conn_id: str, connection: Mapping[str, Any]) -> None:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    try:
        with create_session() as session:
            found = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
            kept = _kept_extra(found) if found is not None and found.conn_type == CONN_TYPE else {}
            parts = {**connection, "extra": json.dumps({**kept, **connection["extra"]})}
            if found is not None:
                session.delete(found)
                session.flush()
            session.add(Connection(conn_id=conn_id, **parts))
    except Exception as error:
        # The text of a database's error may hold the row.
        raise ConnectError(
            f"The consent was given, but Airflow's database did not take the connection ({type(error).__name__}): run "
            "the command again, or add --print"
        ) from None


def _kept_extra(connection: Any) -> dict[str, Any]:
    """Return the other settings of a connection that is replaced."""
    with suppress(ValueError):
        extra = json.loads(connection.extra or "{}")
        if isinstance(extra, dict):
            return extra
    return {}


def _is_service_account(data: Any) -> bool:
    return isinstance(data, dict) and data.get("type") == "service_account"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
