"""``airflow-provider-apimart connect youtube``, against an authorization server on this machine and a browser that
agrees to everything."""

from __future__ import annotations

import io
import json
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from airflow_provider_apimart import cli, connect

SECRETS = ("client-secret", "refresh-secret", "access-secret")


class Google:
    """An authorization server and an API with one channel."""

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = {}
        self.exchanged: list[dict[str, list[str]]] = []
        self.refresh_token: str | None = "refresh-secret"
        self.scope = "https://www.googleapis.com/auth/youtube"
        self.consent = True
        self.channels: Any = [{"id": "UC1", "snippet": {"title": "Seen"}, "status": {}}]
        google = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if url.path == "/auth":
                    google.asked = parse_qs(url.query)
                    answer = "code=4/c" if google.consent else "error=access_denied"
                    to = f"{google.asked['redirect_uri'][0]}?state={google.asked['state'][0]}&{answer}"
                    self.send_response(302)
                    self.send_header("Location", to)
                    self.end_headers()
                else:
                    assert self.headers["authorization"] == "Bearer access-secret"
                    self.answer(200, {"items": google.channels})

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                google.exchanged.append(form)
                grant = {"access_token": "access-secret", "expires_in": 3599, "token_type": "Bearer"}
                if form["grant_type"] == ["authorization_code"]:
                    grant["scope"] = google.scope
                    if google.refresh_token:
                        grant["refresh_token"] = google.refresh_token
                self.answer(200, grant)

            def answer(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    # The command sets it for this process when it sees an address on this machine.
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "")
    one = Google()
    yield one
    one.close()


@pytest.fixture
def secrets_file(google: Google, tmp_path: Path) -> Path:
    config = {
        "client_id": "id1",
        "client_secret": "client-secret",
        "auth_uri": f"{google.url}/auth",
        "token_uri": f"{google.url}/token",
    }
    path = tmp_path / "client.json"
    path.write_text(json.dumps({"installed": config}))
    return path


class Browser:
    """Opens an address as a person would who agrees to it."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def open(self, url: str, **_: Any) -> None:
        self.threads.append(threading.Thread(target=httpx.get, args=(url,), kwargs={"follow_redirects": True}))
        self.threads[-1].start()


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    one = Browser()
    monkeypatch.setattr(webbrowser, "get", lambda name: one)
    yield one
    for thread in one.threads:
        thread.join()


def run(google: Google, secrets_file: Path, *more: str) -> tuple[int, str]:
    """Return the exit status and what was printed for a secrets backend."""
    options = cli.parser().parse_args(
        ["connect", "youtube", "--client-secrets", str(secrets_file), "--api-base-url", google.url, *more]
    )
    out = io.StringIO()
    return connect.run(options, out), out.getvalue()


def test_consent_in_the_browser_becomes_a_connection(
    google: Google, secrets_file: Path, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed = run(google, secrets_file, "--print", "json")
    assert status == 0
    assert json.loads(printed) == {
        "conn_type": "youtube",
        "login": "id1",
        "password": "client-secret",
        "extra": {"refresh_token": "refresh-secret", "api_base_url": google.url, "token_url": f"{google.url}/token"},
    }
    assert google.asked["access_type"] == ["offline"]
    assert google.asked["prompt"] == ["consent"]
    assert google.asked["scope"] == ["https://www.googleapis.com/auth/youtube"]
    assert google.exchanged[0]["code"] == ["4/c"]
    shown = "".join(capsys.readouterr())
    assert "channel 'Seen' (UC1)" in shown
    assert not any(secret in shown for secret in SECRETS)


def test_a_uri_is_what_airflow_reads(google: Google, secrets_file: Path, browser: Browser) -> None:
    from airflow.sdk import Connection

    status, printed = run(google, secrets_file, "--print", "uri")
    assert status == 0
    read = Connection.from_uri(printed.strip(), conn_id="x")
    assert (read.conn_type, read.login, read.password) == ("youtube", "id1", "client-secret")
    assert json.loads(read.extra or "")["refresh_token"] == "refresh-secret"


def test_without_a_browser_the_answer_is_pasted(
    google: Google, secrets_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def paste() -> str:
        url = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("http"))
        return httpx.get(url).headers["location"] + "\n"

    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"readline": staticmethod(paste)}))
    status, printed = run(google, secrets_file, "--no-browser", "--print", "json")
    assert status == 0
    assert json.loads(printed)["extra"]["refresh_token"] == "refresh-secret"


@pytest.mark.parametrize(
    ("pasted", "text"),
    [("", "does not begin with http://localhost:8085/"), ("http://localhost:8085/?state=x&code=1", "another run")],
)
def test_what_is_pasted_is_checked(
    google: Google,
    secrets_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pasted: str,
    text: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(pasted))
    assert run(google, secrets_file, "--no-browser", "--print", "json") == (1, "")
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"refresh_token": None}, "no refresh token"),
        ({"consent": False}, "access_denied"),
        ({"scope": "https://www.googleapis.com/auth/youtube.readonly"}, "tick every box"),
        ({"channels": []}, "has no YouTube channel"),
    ],
)
def test_what_goes_wrong_is_named(
    google: Google,
    secrets_file: Path,
    browser: Browser,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    text: str,
) -> None:
    for name, value in changes.items():
        setattr(google, name, value)
    assert run(google, secrets_file, "--print", "json") == (1, "")
    shown = "".join(capsys.readouterr())
    assert text in shown
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file"),
        ("{", "not a JSON file"),
        ("[]", "'Desktop app'"),
        ('{"type": "service_account"}', "service account, which has no channel"),
        ('{"installed": {"client_id": "x"}}', "has no client_secret"),
    ],
)
def test_a_wrong_file_is_refused_before_anybody_is_asked(
    tmp_path: Path, google: Google, capsys: pytest.CaptureFixture[str], content: str | None, text: str
) -> None:
    path = tmp_path / "wrong.json"
    if content is not None:
        path.write_text(content)
    assert run(google, path, "--print", "json")[0] == 1
    assert text in capsys.readouterr().err
    assert google.asked == {}


def test_no_browser_on_the_machine(
    google: Google, secrets_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(name: str | None) -> None:
        raise webbrowser.Error("no")

    monkeypatch.setattr(webbrowser, "get", none)
    assert run(google, secrets_file, "--print", "json")[0] == 1
    assert "add --no-browser" in capsys.readouterr().err


def test_the_library_is_named_if_it_is_missing(
    google: Google, secrets_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "google_auth_oauthlib.flow", None)
    assert run(google, secrets_file, "--print", "json")[0] == 1
    assert "pip install 'airflow-provider-apimart[youtube]'" in capsys.readouterr().err


# --- Airflow's database ----------------------------------------------------------------------------------------------


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A database that has Airflow's table of connections alone."""
    from airflow.models.connection import Connection
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    engine = create_engine(f"sqlite:///{tmp_path}/airflow.db")
    Connection.__table__.create(engine)

    @contextmanager
    def session() -> Iterator[Session]:
        with Session(engine) as one:
            yield one
            one.commit()

    monkeypatch.setattr("airflow.utils.session.create_session", session)
    yield session
    engine.dispose()


def kept(database: Any, conn_id: str = "youtube_default") -> Any:
    from airflow.models.connection import Connection
    from sqlalchemy import select

    with database() as session:
        one = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
        return one and (one.conn_type, one.login, one.password, json.loads(one.extra))


def test_the_connection_goes_into_airflows_database(
    google: Google, secrets_file: Path, browser: Browser, database: Any
) -> None:
    assert run(google, secrets_file) == (0, "")
    kind, login, password, extra = kept(database)
    assert (kind, login, password) == ("youtube", "id1", "client-secret")
    assert extra["refresh_token"] == "refresh-secret"


def test_a_connection_of_that_name_is_replaced_only_if_told(
    google: Google, secrets_file: Path, browser: Browser, database: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(google, secrets_file)[0] == 0
    google.asked.clear()
    assert run(google, secrets_file)[0] == 1
    assert "add --replace" in capsys.readouterr().err
    # Nobody was asked for a consent that could not have been kept.
    assert google.asked == {}
    google.refresh_token = "second"
    assert run(google, secrets_file, "--replace")[0] == 0
    assert kept(database)[3]["refresh_token"] == "second"


def test_a_database_that_cannot_be_used_is_told_before_anybody_is_asked(
    google: Google, secrets_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("mysql://user:password@host")

    monkeypatch.setattr("airflow.utils.session.create_session", broken)
    assert run(google, secrets_file)[0] == 1
    shown = capsys.readouterr().err
    assert "add --print" in shown
    assert "password@" not in shown
    assert google.asked == {}


def test_the_command_line_leads_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    assert cli.main(["connect", "youtube", "--client-secrets", str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        cli.main(["connect", "youtube"])
