"""The webhook operator dies at every point at which it leaves a trace, then tries again: one effect, and one message.

A death here is an exception that nothing catches; the crash matrix kills real processes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.hooks.posts import posts_of
from airflow_provider_apimart.hooks.stores.model_stores import ObjectModelStore, TaskStateModelStore
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.storage import rewriting
from tests.operators.conftest import Tries
from tests.operators.publish.conftest import land, make
from tests.receiver import Answer, Receiver


class Death(BaseException):
    """The process ends here."""


class Deaths:
    """Counts the points that a try passes, and dies at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        self.at: int | None = None
        monkeypatch.setattr(TaskStateModelStore, "save", self._around(TaskStateModelStore.save))
        monkeypatch.setattr(ObjectModelStore, "_write", self._around(ObjectModelStore._write))
        monkeypatch.setattr(Sender, "_send", self._around(Sender._send))
        monkeypatch.setattr(rewriting, "commit_bytes", self._around(rewriting.commit_bytes))

    def _point(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            self.at = None
            raise Death

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._point()
            result = original(*args, **kwargs)
            self._point()
            return result

        return wrapper


@pytest.mark.parametrize("kept", [True, False], ids=["task state store", "record beside the video"])
@pytest.mark.parametrize("answer", [Answer(), Answer(drop=True), Answer(503)], ids=["kept", "lost", "503"])
@pytest.mark.parametrize("then", ["again", "clear"])
def test_one_effect_wherever_it_dies(
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: list[float],
    kept: bool,
    answer: Answer,
    then: str,
) -> None:
    deaths = Deaths(monkeypatch)
    point, alive = 0, False
    while not alive:
        point += 1
        folder = tmp_path / str(point)
        folder.mkdir()
        operator, tries = make(land(folder)), Tries()
        receiver.effects.clear()
        receiver.attempts.clear()
        receiver.answers = [answer]
        deaths.passed, deaths.at = 0, point
        try:
            operator.execute(tries.next(operator, store=kept))
            alive = True
        except Death:
            if then == "clear":
                tries.clear()
            operator.execute(tries.next(operator, store=kept))
        assert len(receiver.effects) == 1, point
        assert len({attempt.body for attempt in receiver.attempts}) == 1, point
        assert {post["post"] for post in posts_of(f"{folder}/gen-1.mp4")} == set(receiver.effects), point
    # Two traces of each of four saves, the message and the sidecar.
    assert point > 12


def test_two_tries_at_once_make_one_effect(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, no_waiting: list[float]
) -> None:
    zombie, operator = make(landed), make(landed)

    def overtake(_: Any) -> None:
        receiver.on_request = lambda _: None
        operator.execute(tries.next(operator))

    receiver.on_request = overtake
    first = zombie.execute(tries.next(zombie))
    assert len(receiver.effects) == 1
    assert first["post_id"] == next(iter(receiver.effects))
    assert len({attempt.body for attempt in receiver.attempts}) == 1
