"""What is encrypted in a record, and who can read it."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.publishing.sealing import Seal

SECRET = "https://upload.example/session?upload_id=geheim-ü-" + "x" * 3000


def test_only_the_same_secret_opens_it() -> None:
    sealed = Seal("client secret").close(SECRET)
    assert sealed.isascii() and "geheim" not in sealed
    assert Seal("client secret").open(sealed) == SECRET
    assert Seal("another").open(sealed) is None


def test_a_secret_that_is_being_replaced_still_opens_it() -> None:
    sealed = Seal("old").close(SECRET)
    assert Seal("new", "old").open(sealed) == SECRET
    assert Seal("old").open(Seal("new", "old").close(SECRET)) is None


@pytest.mark.parametrize("sealed", [None, "", "plain text", "gAAAA", "ü", "\ud800", "A" * 100_000])
def test_whatever_is_not_sealed_is_nothing(sealed: str | None) -> None:
    assert Seal("client secret").open(sealed) is None


def test_the_same_text_is_never_sealed_alike() -> None:
    assert Seal("s").close("a") != Seal("s").close("a")
