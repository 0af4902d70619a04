"""Airflow's REST API (v2), as far as the demo and the system tests need it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

#: States in which a DAG run has ended.
ENDED = frozenset({"success", "failed"})
#: Fields that Airflow adds to every log line and that the caller knows already.
_LOG_FRAME = frozenset(
    "event timestamp level logger filename lineno dag_id run_id task_id map_index try_number ti_id".split()
)

#: Airflow on SQLite answers 500 if another component has locked the database. The request was rolled back, so it is
#: sent again.
LOCKED_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)


class AirflowApiError(RuntimeError):
    """The API answered with an error; the message holds the request and the answer.

    :param status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AirflowApi:
    """Calls to one Airflow.

    :param url: the API server's base URL.
    :param login: user name and password; ``None`` if everybody is an admin.
    """

    def __init__(self, url: str, login: tuple[str, str] | None = None) -> None:
        self.url = url
        self.login = login
        # Requests to loopback must not go through a proxy from the user's environment.
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._token: str | None = None

    def token(self) -> str:
        """Return an access token, fetched once."""
        if self._token is None:
            if self.login is None:
                answer = self.http.get("/auth/token")
            else:
                user, password = self.login
                answer = self.http.post("/auth/token", json={"username": user, "password": password})
            self._token = str(answer.raise_for_status().json()["access_token"])
        return self._token

    def api(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``/api/v2/<path>`` and return the decoded answer (``None`` if it is empty).

        :raises AirflowApiError: on a status of 400 or more.
        """
        headers = {"Authorization": f"Bearer {self.token()}", "Accept": "application/json"}
        for wait in (*LOCKED_WAITS, None):
            answer = self.http.request(method, f"/api/v2/{path.lstrip('/')}", json=json, params=params, headers=headers)
            if answer.status_code != 500 or wait is None:
                break
            time.sleep(wait)
        if answer.is_error:
            message = f"{method} {path} answered {answer.status_code}: {answer.text[:2000]}"
            raise AirflowApiError(message, answer.status_code)
        return answer.json() if answer.content else None

    def wait_dag(self, dag_id: str, timeout: float = 90) -> None:
        """Wait until the DAG processor has read a DAG; its import errors are raised at once."""
        until = time.monotonic() + timeout
        while True:
            try:
                self.api("GET", f"dags/{quote(dag_id)}/details")
            except AirflowApiError as error:
                if error.status != 404:
                    raise
                self.raise_import_errors(dag_id)
                if time.monotonic() > until:
                    raise TimeoutError(f"no DAG {dag_id!r} after {timeout:.0f} s") from None
            else:
                return
            time.sleep(0.5)

    def raise_import_errors(self, about: str = "") -> None:
        """Raise import errors of DAG files, if any file name or error contains ``about``."""
        errors = self.api("GET", "importErrors", params={"limit": 100})["import_errors"]
        texts = [f"{error['filename']}:\n{error['stack_trace']}" for error in errors]
        if relevant := [text for text in texts if about in text]:
            raise RuntimeError("DAG files that cannot be imported:\n" + "\n\n".join(relevant))

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Wait for the DAG to appear, unpause it, start a run and return its id."""
        self.wait_dag(dag_id)
        self.api("PATCH", f"dags/{quote(dag_id)}", {"is_paused": False}, {"update_mask": "is_paused"})
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if run_id is not None:
            body["dag_run_id"] = run_id
        try:
            return str(self.api("POST", f"dags/{quote(dag_id)}/dagRuns", body)["dag_run_id"])
        except AirflowApiError as error:
            # "Conflict": after a 500 the request was repeated, and the first one may have started the run after all.
            if error.status != 409 or run_id is None:
                raise
            return run_id

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one DAG run."""
        found: dict[str, Any] = self.api("GET", _run(dag_id, run_id))
        return found

    def wait_run(
        self,
        dag_id: str,
        run_id: str,
        timeout: float = 240,
        on_poll: Callable[[list[dict[str, Any]]], None] | None = None,
        interval: float = 1.0,
    ) -> str:
        """Wait for a run to end and return its state, ``success`` or ``failed``.

        :param on_poll: called at every poll with the task instances of the run.
        :raises TimeoutError: with the states of the tasks.
        """
        until = time.monotonic() + timeout
        while True:
            state = str(self.dag_run(dag_id, run_id)["state"])
            tasks = self.task_instances(dag_id, run_id) if on_poll is not None else []
            if on_poll is not None:
                on_poll(tasks)
            if state in ENDED:
                return state
            if time.monotonic() > until:
                seen = {_label(task): task["state"] for task in self.task_instances(dag_id, run_id)}
                raise TimeoutError(f"run {run_id} of {dag_id} is still {state} after {timeout:.0f} s: {seen}")
            time.sleep(interval)

    def wait_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: str | Sequence[str],
        map_index: int = -1,
        timeout: float = 120,
    ) -> dict[str, Any]:
        """Wait until a task instance is in one of the states and return it."""
        wanted = {states} if isinstance(states, str) else set(states)
        until = time.monotonic() + timeout
        seen: str | None = None
        while time.monotonic() < until:
            for task in self.task_instances(dag_id, run_id):
                if task["task_id"] == task_id and task["map_index"] == map_index:
                    seen = task["state"]
                    if seen in wanted:
                        return task
            time.sleep(0.5)
        raise TimeoutError(f"{task_id}[{map_index}] of {dag_id} {run_id} is {seen}, not in {wanted}, after {timeout} s")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run, ordered by task and map index."""
        tasks: list[dict[str, Any]] = []
        while True:
            params = {"limit": 100, "offset": len(tasks)}
            page = self.api("GET", f"{_run(dag_id, run_id)}/taskInstances", params=params)
            tasks += page["task_instances"]
            if not page["task_instances"] or len(tasks) >= page["total_entries"]:
                return sorted(tasks, key=lambda task: (task["task_id"], task["map_index"]))

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance."""
        found: dict[str, Any] = self.api("GET", _task(dag_id, run_id, task_id, map_index))
        return found

    def rendered_fields(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the rendered template fields of a task instance."""
        found: dict[str, Any] = self.task_instance(dag_id, run_id, task_id, map_index)["rendered_fields"]
        return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return the value of one XCom, ``None`` if there is none."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        try:
            entry = self.api("GET", path, params={"map_index": map_index, "stringify": "false"})
        except AirflowApiError as error:
            if error.status == 404:
                return None
            raise
        return entry["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try: the worker's and the triggerer's lines together, one event per line."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        answer = self.api("GET", path, params={"map_index": map_index, "full_content": "true"})
        return "\n".join(_log_line(entry) for entry in answer["content"])

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """Clear tasks (``task_id`` or ``[task_id, map_index]``) so that they run again.

        :param options: more fields of the request body, such as ``include_downstream=True``.
        """
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False, **options}
        found: list[dict[str, Any]] = self.api("POST", f"dags/{quote(dag_id)}/clearTaskInstances", body)[
            "task_instances"
        ]
        return found

    def put_pool(self, name: str, slots: int) -> None:
        """Create a pool that counts deferred tasks, unless a pool of that name exists."""
        try:
            self.api("POST", "pools", {"name": name, "slots": slots, "include_deferred": True})
        except AirflowApiError as error:
            if error.status != 409:
                raise

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Set the state of a task instance by hand: ``success``, ``failed`` or ``skipped``."""
        self.api("PATCH", _task(dag_id, run_id, task_id, map_index), {"new_state": state})

    def mark_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Set the state of a DAG run by hand."""
        self.api("PATCH", _run(dag_id, run_id), {"state": state})


def _run(dag_id: str, run_id: str) -> str:
    return f"dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}"
    return path if map_index < 0 else f"{path}/{map_index}"


def _label(task: Mapping[str, Any]) -> str:
    return str(task["task_id"]) if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"


def _log_line(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    extra = {key: value for key, value in entry.items() if key not in _LOG_FRAME}
    errors = extra.pop("error_detail", None) or []
    line = f"{entry.get('level', '')}: {entry.get('event', '')}".lstrip(": ")
    return "\n".join([f"{line} {extra}" if extra else line, *(_traceback(error) for error in errors)])


def _traceback(error: Mapping[str, Any]) -> str:
    frames = [f"  {frame['filename']}:{frame['lineno']} {frame['name']}" for frame in error.get("frames", [])]
    return "\n".join([*frames, f"{error.get('exc_type')}: {error.get('exc_value')}"])
