"""The same key in every try, another one for everything else."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.client.protocol import submit
from airflow_provider_apimart.generation.purchase.identity import Identity, account_mark, fingerprint, idempotency_key

HOME = Identity("marketing", "scheduled__2026-01-01T00:00:00+00:00", "video", 3, clear_epoch=1, row="7")
PARTS = {
    "dag_id": "other",
    "run_id": "manual__1",
    "task_id": "clip",
    "map_index": 4,
    "row": "8",
}
HOSTILE = st.text(max_size=250)


def key(identity: Identity = HOME, epoch: int = 0, number: int = 1, body: Any = "x") -> str:
    return idempotency_key(identity, epoch=epoch, number=number, fingerprint=fingerprint({"prompt": body}))


def test_the_key_is_the_same_in_every_process_and_every_version() -> None:
    """A change of how it is made would make a resend over an upgrade pay again: the value itself is pinned."""
    assert key() == "airflow-veo-8292cc1072a18ffb66f69b66e12fa1f180b29e729ddbbbc59536f83ae44703cb"
    assert HOME.slug == "18b14f616ddd86f90832f69a9164c8e5"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_place_makes_another_key(part: str) -> None:
    other = replace(HOME, **{part: PARTS[part]})
    assert key(other) != key()
    assert other.slug != HOME.slug


def test_epoch_number_and_body_make_another_key() -> None:
    assert len({key(), key(epoch=1), key(number=2), key(body="y")}) == 4


def test_the_clear_counter_reaches_the_key_only_as_the_epoch_that_was_decided() -> None:
    other = replace(HOME, clear_epoch=9)
    assert key(other) == key() and other.slug == HOME.slug


def test_parts_do_not_run_into_each_other() -> None:
    assert key(Identity("a", "b,c", "d")) != key(Identity("a,b", "c", "d"))
    assert key(Identity("a", '","', "d")) != key(Identity("a", "", '","d'))
    assert key(Identity("a", "1", "d", 1)) != key(Identity("a", "11", "d", -1))


@given(HOSTILE, HOSTILE, HOSTILE, st.integers(-1, 10**9), HOSTILE, HOSTILE)
def test_hostile_names_make_keys_that_apimart_takes(
    dag_id: str, run_id: str, task_id: str, map_index: int, row: str, prompt: str
) -> None:
    identity = Identity(dag_id, run_id, task_id, map_index, row=row)
    made = key(identity, body=prompt)
    assert re.fullmatch(r"[!-~]{1,191}", made)
    assert submit({"prompt": "x"}, made).headers["Idempotency-Key"] == made
    assert re.fullmatch(r"[0-9a-f]{32}", identity.slug)


@pytest.mark.parametrize("name", ["🎬" * 250, "a b\tc", "x" * 250, "\ud83d", "../../etc", "日本語"])
def test_names_that_airflow_takes(name: str) -> None:
    assert re.fullmatch(r"[!-~]{1,191}", key(Identity(name, name, name)))


def test_the_fingerprint_does_not_depend_on_the_order_of_fields() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_accounts_are_told_apart_and_the_key_is_not_told() -> None:
    mark = account_mark("https://api.apimart.ai", "sk-secret")
    assert mark == account_mark("https://api.apimart.ai", "sk-secret")
    assert mark not in (account_mark("https://api.apimart.ai", "sk-other"), account_mark("https://x.y", "sk-secret"))
    assert re.fullmatch(r"[0-9a-f]{8}", mark)
