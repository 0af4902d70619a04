"""The two routes that cost money: submission and remix, and everything that makes a repeated one safe.

A generation and the idempotency key that made it are written in one transaction. Refused requests (401, 400, 402) are
not remembered under their key. While a request is being processed, its key is "in progress" in memory only, so a killed
emulator has either done the work or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.apimart import answers, tasks, validation
from airflow_provider_apimart.emulator.apimart.context import Context, fault_of, note
from airflow_provider_apimart.emulator.apimart.validation import Spec
from airflow_provider_apimart.emulator.state.faults import DEFECTS, OUTCOMES, Fault
from airflow_provider_apimart.emulator.state.store import REFUNDED, Generation
from airflow_provider_apimart.generation.pricing.prices import Estimate, list_price, remix_price

VERSION_HEADER, VERSION = "X-APIMart-Response-Version", "2026-07-27"
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,191}")


def envelope(task_id: str, version: str, base_url: str) -> tuple[int, dict[str, Any]]:
    """Return (status, body) of an accepted submission, in the requested version."""
    if version != VERSION:
        return 200, {"code": 200, "data": [{"status": "submitted", "task_id": task_id}]}
    data = {
        "object": "generation.task",
        "id": task_id,
        "status": "pending",
        "poll_url": f"{base_url}/v1/tasks/{task_id}",
    }
    return 202, {"code": 202, "request_id": f"req_{secrets.token_hex(8)}", "data": data}


def fingerprint(body: Any, version: str) -> str:
    """Return what two requests under one key must share: the body's meaning and the response version."""
    return hashlib.sha256(json.dumps([body, version], sort_keys=True).encode()).hexdigest()


def _reshape(body: dict[str, Any], task_id: str, fault: Fault | None) -> dict[str, Any]:
    if fault is None:
        return body
    if fault.kind == "no_task_id":
        return {"code": body["code"], "data": [{"status": "submitted"}] if isinstance(body["data"], list) else {}}
    if fault.kind == "shape" and fault.value == "data_object":
        return {"code": 200, "data": {"task_id": task_id, "status": "submitted"}}
    if fault.kind == "shape" and fault.value == "top_level":
        return {"task_id": task_id, "status": "submitted"}
    return body


class Submission:
    """One POST that would start a generation."""

    def __init__(self, context: Context, request: Request, key_id: str, body: Any) -> None:
        self.context = context
        self.request = request
        self.key_id = key_id
        self.body = body
        self.endpoint = request.url.path
        self.version = request.headers.get(VERSION_HEADER, "")
        self.key = None if context.settings.ignore_idempotency else request.headers.get("idempotency-key")
        self.fingerprint = fingerprint(body, self.version)
        if self.key is not None and not IDEMPOTENCY_KEY.fullmatch(self.key):
            raise answers.documented(400, "Idempotency-Key must be 1-191 visible ASCII characters")

    def replay(self, now: float) -> Response | None:
        """Answer from the stored result if this key was used before.

        :raises ApiError: 409 if the contract requires one.
        """
        if self.key is None:
            return None
        not_before = now - self.context.settings.idempotency_ttl_seconds
        known = self.context.store.remembered(self.key_id, self.endpoint, self.key, not_before)
        if known is None:
            return None
        if known.fingerprint != self.fingerprint:
            raise answers.idempotency("idempotency_key_reused")
        if known.state == "indeterminate":
            raise answers.idempotency("idempotency_result_indeterminate")
        if known.generation_id is not None:
            self.context.store.count_post(known.generation_id)
            note(self.request, known.generation_id)
        return self._answer(known.status or 200, known.response or {}, {"Idempotency-Replayed": "true"})

    def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
        if self.version == VERSION:
            headers[VERSION_HEADER] = VERSION
        return JSONResponse(body, status, headers)

    async def run(self, read: tuple[str, Spec] | None, fault: Fault | None) -> Response:
        """Process the request from start to end: replay, wait, check, charge, write, answer."""
        now = tasks.wall_clock()
        mark = (self.key_id, self.endpoint, self.key) if self.key is not None else None
        if mark is not None and mark in self.context.in_progress:
            raise answers.idempotency("idempotency_in_progress", retry_after="1")
        replayed = self.replay(now)
        if replayed is not None:
            return replayed
        if mark is not None:
            self.context.in_progress.add(mark)
        try:
            if fault is not None and fault.kind == "stall" and not fault.executed:
                await asyncio.sleep(30.0 if fault.seconds is None else fault.seconds)
            if fault is not None and fault.kind == "idempotency_indeterminate":
                return self._lose(read, fault)
            self._refuse_model(fault)
            model, spec = read if read is not None else validation.read_generation(self.body)
            return self._start(model, spec, fault)
        finally:
            self.context.in_progress.discard(mark or ("", "", ""))

    def _refuse_model(self, fault: Fault | None) -> None:
        """Refuse a model that has ended, or for which there is no channel."""
        model = self.body.get("model") if isinstance(self.body, dict) else None
        if not isinstance(model, str):
            return
        if fault is not None and fault.kind == "no_channel":
            raise answers.no_channel(model, fault.message)
        if fault is not None and fault.kind == "model_retired":
            raise answers.model_retired(model, fault.status or 404, fault.message, code=fault.code, kind=fault.type)
        if self.context.end_of(model) == "refused":
            raise answers.model_retired(model)

    def _lose(self, read: tuple[str, Spec] | None, fault: Fault) -> Response:
        """Make the outcome of this key unknown forever; with ``executed``, after doing the work."""
        if fault.executed:
            model, spec = read if read is not None else validation.read_generation(self.body)
            self._start(model, spec, fault)
        if self.key is not None:
            now = tasks.wall_clock()
            self.context.store.set_indeterminate(self.key_id, self.endpoint, self.key, self.fingerprint, now)
        raise answers.idempotency("idempotency_result_indeterminate", message=fault.message)

    def _finished(self, generation: Generation) -> dict[str, Any]:
        view = self.context.view(generation, self.request)
        told = {name: view.get(name) for name in ("created", "completed", "cost", "credits_cost", "result")}
        return {"code": 200, "data": {"object": "generation.result", "status": "completed", **told}}

    def _price(self, model: str, spec: Spec) -> Estimate | None:
        if self.endpoint.endswith("/remix"):
            return remix_price(model, resolution=spec.resolution)
        return list_price(
            model,
            duration_seconds=spec.seconds,
            resolution=spec.resolution,
            generate_audio=spec.audio,
            sample_count=spec.samples,
        )

    def _start(self, model: str, spec: Spec, fault: Fault | None) -> Response:
        now = tasks.wall_clock()
        price = self._price(model, spec)
        cost = int(price.usd * 1_000_000) if price is not None else 0
        outcome, error = _scripted(fault, self.body["prompt"], model)
        if self.context.end_of(model) == "fails":
            outcome, error = "failed", answers.ended_behind_the_relay(model)
        affordable = self.context.affordable_micros(now, self.key_id)
        if cost > affordable:
            text = f"Insufficient balance: {tasks.usd(cost):g} USD needed, {tasks.usd(affordable):g} USD available"
            raise answers.documented(402, text)
        task_id = tasks.new_id(now)
        settings = self.context.settings
        seconds = tasks.job_seconds(task_id, settings.job_seconds, vary=settings.vary_jobs)
        generation = Generation(
            id=task_id,
            key_id=self.key_id,
            endpoint=self.endpoint,
            model=model,
            prompt=self.body["prompt"],
            body=self.body,
            spec={**spec.as_dict(), **_defect(fault, self.body["prompt"])},
            cost_micros=cost,
            created=now,
            finish_at=now if fault is not None and fault.value == "sync_result" else now + seconds,
            outcome=outcome,
            error=error,
            ttl=settings.url_ttl_seconds,
            idempotency_key=self.key,
        )
        status, body = envelope(task_id, self.version, self.context.base_url(self.request))
        if fault is not None and fault.kind == "shape" and fault.value == "sync_result":
            # Remembered under the key, as any answer is: a replay gives the result again.
            status, body = 200, self._finished(generation)
        self.context.store.add_generation(generation, fingerprint=self.fingerprint, status=status, response=body)
        note(self.request, task_id)
        return self._answer(status, _reshape(body, task_id, fault), {})


def _scripted(fault: Fault | None, prompt: str, model: str) -> tuple[str, dict[str, Any] | None]:
    """Return the (outcome, error) that a fault or a mark in the prompt sets for a generation."""
    if fault is None or fault.kind not in OUTCOMES:
        return tasks.prompt_outcome(prompt), None
    return OUTCOMES[fault.kind], task_error(fault, model)


def _defect(fault: Fault | None, prompt: str) -> dict[str, Any]:
    """Return what a fault or a mark in the prompt makes wrong with a video, as it is stored."""
    if fault is not None and fault.kind in DEFECTS:
        return {"defect": DEFECTS[fault.kind], "defect_seconds": fault.seconds}
    marked = tasks.prompt_defect(prompt)
    return {"defect": marked, "defect_seconds": None} if marked else {}


def task_error(fault: Fault, model: str) -> dict[str, Any] | None:
    """Return the parts of a task's error that a fault sets."""
    known = answers.ended_behind_the_relay(model) if fault.kind == "fail_to_fetch_task" else {}
    error = {"message": fault.message, "code": fault.code, "type": fault.type}
    return {**known, **{name: value for name, value in error.items() if value is not None}} or None


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    async def posted(request: Request) -> Any:
        try:
            return json.loads(await request.body(), parse_constant=validation.reject_nan)
        except ValueError as error:
            raise answers.documented(400, f"invalid request body: {error}") from None

    @router.post("/v1/videos/generations")
    async def submit(request: Request) -> Response:
        key_id = context.key_id(request)
        submission = Submission(context, request, key_id, await posted(request))
        return await submission.run(None, fault_of(request))

    @router.post("/v1/videos/{task_id}/remix")
    async def remix(task_id: str, request: Request) -> Response:
        key_id = context.key_id(request)
        body = await posted(request)
        source = context.store.generation(task_id)
        if source is None or source.key_id != key_id:
            raise answers.documented(400, "invalid task id")
        done = tasks.wall_clock() >= source.finish_at and source.outcome not in (*REFUNDED, "empty")
        if not done:
            raise answers.documented(400, "the source task has not completed successfully")
        read = validation.read_remix(body, source.model)
        return await Submission(context, request, key_id, body).run(read, fault_of(request))

    return router
