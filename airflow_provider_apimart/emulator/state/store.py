"""The emulator's memory: the only place with SQL.

Every change is one transaction, and a generation is written together with the idempotency key that made it, so a
SIGKILL leaves both or neither. No timer runs: a generation's current state follows from its stored times
(``tasks.py``), and the remaining balance follows from the generations. Times are unix seconds, money is whole
micro-dollars.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

#: Outcomes that release the reserved money.
REFUNDED = ("failed", "rejected", "cancelled")
KEPT_REQUESTS = 10_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
  id TEXT PRIMARY KEY, key_id TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL,
  body TEXT NOT NULL, spec TEXT NOT NULL, cost_micros INTEGER NOT NULL, created REAL NOT NULL, finish_at REAL NOT NULL,
  outcome TEXT NOT NULL, error TEXT, ttl REAL NOT NULL, url_serial INTEGER NOT NULL DEFAULT 1, url_expires_at REAL,
  idempotency_key TEXT, posts INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS idempotency (
  key_id TEXT NOT NULL, endpoint TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, state TEXT NOT NULL,
  status INTEGER, response TEXT, generation_id TEXT, created REAL NOT NULL, PRIMARY KEY (key_id, endpoint, key));
CREATE TABLE IF NOT EXISTS faults (id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL, skip INTEGER NOT NULL,
  remaining INTEGER NOT NULL, hits INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, method TEXT NOT NULL,
  path TEXT NOT NULL, query TEXT NOT NULL, route TEXT NOT NULL, headers TEXT NOT NULL, authorization TEXT NOT NULL,
  body TEXT, fault TEXT, status INTEGER, seconds REAL, generation_id TEXT);
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, content_type TEXT NOT NULL, created REAL NOT NULL,
  data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cms (id INTEGER PRIMARY KEY AUTOINCREMENT, dedupe TEXT UNIQUE, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_TABLES = ("generations", "idempotency", "faults", "requests", "uploads", "cms")


@dataclass(frozen=True)
class Generation:
    """One row of ``generations``. ``body`` is the request's body; ``spec`` describes the video."""

    id: str
    key_id: str
    endpoint: str
    model: str
    prompt: str
    body: dict[str, Any]
    spec: dict[str, Any]
    cost_micros: int
    created: float
    finish_at: float
    outcome: str
    error: dict[str, Any] | None
    ttl: float
    url_serial: int = 1
    url_expires_at: float | None = None
    idempotency_key: str | None = None
    posts: int = 1

    def expires_at(self) -> float:
        """Return when the current URL stops working."""
        return self.url_expires_at if self.url_expires_at is not None else self.finish_at + self.ttl


@dataclass(frozen=True)
class Remembered:
    """The state of one idempotency key: ``state`` is ``done`` or ``indeterminate``."""

    fingerprint: str
    state: str
    status: int | None
    response: dict[str, Any] | None
    generation_id: str | None
    created: float


_JSON_COLUMNS = {"body", "spec", "error"}
_COLUMNS = tuple(field.name for field in fields(Generation))


def _generation(row: sqlite3.Row) -> Generation:
    values = {name: row[name] for name in _COLUMNS}
    for name in _JSON_COLUMNS:
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Generation(**values)


class Store:
    """The state of one emulator, in a SQLite file or in memory.

    :param path: the file; ``None`` for memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.RLock()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=10)
        self._db.row_factory = sqlite3.Row
        # WAL with NORMAL survives a killed process, which is all that is promised, and needs no fsync per write.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        # Every request asks for it, so it is counted only when a generation was added.
        self._most_spent: int | None = None

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, *args: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    def reset(self) -> None:
        """Forget everything except the secret that signs the URLs."""
        with self._transaction() as db:
            for table in _TABLES:
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - a fixed list of names
            db.execute("DELETE FROM meta WHERE name='topped_up'")
            self._most_spent = None

    def secret(self, fresh: str) -> str:
        """Return the stored secret, storing ``fresh`` if there is none yet."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", (fresh,))
            return str(db.execute("SELECT value FROM meta WHERE name='secret'").fetchone()["value"])

    # --- generations -------------------------------------------------------------------------------------------------

    def add_generation(
        self,
        generation: Generation,
        *,
        fingerprint: str | None = None,
        status: int = 200,
        response: Mapping[str, Any] | None = None,
        state: str = "done",
    ) -> None:
        """Write a generation, and its idempotency key if it has one, in one transaction."""
        values = [getattr(generation, name) for name in _COLUMNS]
        values = [
            json.dumps(v) if n in _JSON_COLUMNS and v is not None else v for n, v in zip(_COLUMNS, values, strict=True)
        ]
        marks = ", ".join("?" * len(_COLUMNS))
        with self._transaction() as db:
            db.execute(f"INSERT INTO generations ({', '.join(_COLUMNS)}) VALUES ({marks})", values)  # noqa: S608
            if generation.idempotency_key is not None and fingerprint is not None:
                self._remember(db, generation, fingerprint, state, status, response)
            self._most_spent = None

    @staticmethod
    def _remember(
        db: sqlite3.Connection,
        generation: Generation,
        fingerprint: str,
        state: str,
        status: int,
        response: Mapping[str, Any] | None,
    ) -> None:
        who = (generation.key_id, generation.endpoint, generation.idempotency_key)
        what = (fingerprint, state, status, json.dumps(response), generation.id, generation.created)
        db.execute("INSERT OR REPLACE INTO idempotency VALUES (?,?,?,?,?,?,?,?,?)", (*who, *what))

    def generation(self, generation_id: str) -> Generation | None:
        """Return one generation."""
        rows = self._rows("SELECT * FROM generations WHERE id=?", generation_id)
        return _generation(rows[0]) if rows else None

    def generations(self) -> list[Generation]:
        """Return all generations, oldest first."""
        return [_generation(row) for row in self._rows("SELECT * FROM generations ORDER BY created, id")]

    def count_post(self, generation_id: str) -> None:
        """Note that another POST was answered with this generation."""
        with self._transaction() as db:
            db.execute("UPDATE generations SET posts=posts+1 WHERE id=?", (generation_id,))

    def finish(
        self, generation_id: str, now: float, outcome: str | None = None, error: dict[str, Any] | None = None
    ) -> bool:
        """End an unfinished generation now, with another outcome if one is given. Say whether it was unfinished."""
        text = json.dumps(error) if error is not None else None
        with self._transaction() as db:
            done = db.execute(
                "UPDATE generations SET finish_at=?, outcome=COALESCE(?, outcome), error=COALESCE(?, error)"
                " WHERE id=? AND finish_at>?",
                (now, outcome, text, generation_id, now),
            )
            return done.rowcount > 0

    def set_url(self, generation_id: str, *, expires_at: float, new_serial: bool) -> None:
        """Change when a video's URL expires; with ``new_serial``, issue a new URL."""
        with self._transaction() as db:
            db.execute(
                "UPDATE generations SET url_expires_at=?, url_serial=url_serial+? WHERE id=?",
                (expires_at, int(new_serial), generation_id),
            )

    def spent(self, now: float, key_id: str | None = None) -> tuple[int, int]:
        """Return (settled, reserved) micro-dollars of one key, or of the account."""
        marks = ", ".join("?" * len(REFUNDED))
        row = self._rows(
            "SELECT COALESCE(SUM(CASE WHEN finish_at<=? THEN cost_micros END), 0) AS settled,"  # noqa: S608
            " COALESCE(SUM(CASE WHEN finish_at>? THEN cost_micros END), 0) AS reserved FROM generations"
            f" WHERE (? IS NULL OR key_id=?) AND NOT (finish_at<=? AND outcome IN ({marks}))",
            *(now, now, key_id, key_id, now, *REFUNDED),
        )[0]
        return int(row["settled"]), int(row["reserved"])

    def most_spent(self) -> int:
        """Return the micro-dollars of all generations, refunded ones included: never less than what is spent."""
        with self._lock:
            if self._most_spent is None:
                rows = self._rows("SELECT COALESCE(SUM(cost_micros), 0) AS most FROM generations")
                self._most_spent = int(rows[0]["most"])
            return self._most_spent

    def topped_up(self) -> int:
        """Return the micro-dollars that were paid in since the start."""
        rows = self._rows("SELECT value FROM meta WHERE name='topped_up'")
        return int(rows[0]["value"]) if rows else 0

    def top_up(self, micros: int) -> None:
        """Pay money in."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO meta VALUES ('topped_up', '0')")
            db.execute("UPDATE meta SET value=CAST(value AS INTEGER)+? WHERE name='topped_up'", (micros,))

    # --- idempotency -------------------------------------------------------------------------------------------------

    def remembered(self, key_id: str, endpoint: str, key: str, not_before: float) -> Remembered | None:
        """Return what is known about an idempotency key that was first used after ``not_before``."""
        sql = "SELECT * FROM idempotency WHERE key_id=? AND endpoint=? AND key=? AND created>?"
        rows = self._rows(sql, key_id, endpoint, key, not_before)
        if not rows:
            return None
        row = rows[0]
        response = json.loads(row["response"]) if row["response"] else None
        return Remembered(
            row["fingerprint"], row["state"], row["status"], response, row["generation_id"], row["created"]
        )

    def set_indeterminate(self, key_id: str, endpoint: str, key: str, fingerprint: str, now: float) -> None:
        """Remember that the outcome of the request under this key is unknown."""
        with self._transaction() as db:
            row = (key_id, endpoint, key, fingerprint, now)
            sql = "INSERT INTO idempotency (key_id, endpoint, key, fingerprint, state, created) VALUES (?,?,?,?,"
            db.execute(sql + "'indeterminate',?) ON CONFLICT DO UPDATE SET state='indeterminate'", row)

    # --- faults ------------------------------------------------------------------------------------------------------

    def add_fault(self, spec: Mapping[str, Any], *, skip: int, times: int) -> int:
        """Store a fault and return its id."""
        with self._transaction() as db:
            sql = "INSERT INTO faults (spec, skip, remaining) VALUES (?,?,?)"
            return int(db.execute(sql, (json.dumps(spec), skip, times)).lastrowid or 0)

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults in the order in which they were scripted, spent ones included."""
        rows = self._rows("SELECT * FROM faults ORDER BY id")
        return [{**dict(row), "spec": json.loads(row["spec"])} for row in rows]

    def skip_fault(self, fault_id: int) -> None:
        """Count one request that a fault let pass."""
        with self._transaction() as db:
            db.execute("UPDATE faults SET skip=skip-1 WHERE id=?", (fault_id,))

    def hit_fault(self, fault_id: int) -> None:
        """Count one request that a fault met; -1 remaining never runs out."""
        with self._transaction() as db:
            left = "CASE WHEN remaining>0 THEN remaining-1 ELSE remaining END"
            db.execute(f"UPDATE faults SET hits=hits+1, remaining={left} WHERE id=?", (fault_id,))  # noqa: S608

    def clear_faults(self) -> None:
        """Remove every fault."""
        with self._transaction() as db:
            db.execute("DELETE FROM faults")

    # --- the log of requests -----------------------------------------------------------------------------------------

    def log_request(self, **values: Any) -> int:
        """Store a request on arrival, and return its number."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self._transaction() as db:
            sql = f"INSERT INTO requests ({names}) VALUES ({marks})"  # noqa: S608 - the names are our own keywords
            number = int(db.execute(sql, tuple(values.values())).lastrowid or 0)
            db.execute("DELETE FROM requests WHERE id<=?", (number - KEPT_REQUESTS,))
            return number

    def log_answer(self, number: int, *, status: int | None, seconds: float, generation_id: str | None) -> None:
        """Add the answer to a logged request; a status of ``None`` means that no answer was sent."""
        with self._transaction() as db:
            sql = "UPDATE requests SET status=?, seconds=?, generation_id=? WHERE id=?"
            db.execute(sql, (status, seconds, generation_id, number))

    def requests(self) -> list[dict[str, Any]]:
        """Return the log, oldest first."""
        found = [dict(row) for row in self._rows("SELECT * FROM requests ORDER BY id")]
        for entry in found:
            entry["headers"] = json.loads(entry["headers"])
            entry["body"] = json.loads(entry["body"]) if entry["body"] else None
        return found

    # --- uploads and the example's CMS -------------------------------------------------------------------------------

    def add_upload(self, upload_id: str, content_type: str, data: bytes, now: float) -> None:
        """Keep an uploaded image."""
        with self._transaction() as db:
            db.execute("INSERT INTO uploads VALUES (?,?,?,?)", (upload_id, content_type, now, data))

    def upload(self, upload_id: str) -> tuple[str, float, bytes] | None:
        """Return (content type, created, bytes) of an uploaded image."""
        rows = self._rows("SELECT * FROM uploads WHERE id=?", upload_id)
        return (rows[0]["content_type"], rows[0]["created"], rows[0]["data"]) if rows else None

    def add_document(self, dedupe: str | None, document: Mapping[str, Any]) -> tuple[int, bool]:
        """Store a document once per ``dedupe`` and return (its number, whether it is new)."""
        with self._transaction() as db:
            if dedupe is not None:
                found = db.execute("SELECT id FROM cms WHERE dedupe=?", (dedupe,)).fetchone()
                if found:
                    return int(found["id"]), False
            done = db.execute("INSERT INTO cms (dedupe, document) VALUES (?,?)", (dedupe, json.dumps(document)))
            return int(done.lastrowid or 0), True

    def documents(self) -> list[dict[str, Any]]:
        """Return the stored documents with their numbers."""
        return [{"id": row["id"], **json.loads(row["document"])} for row in self._rows("SELECT * FROM cms ORDER BY id")]
