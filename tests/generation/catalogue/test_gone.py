"""Whether an account has a model."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.client.models import Model
from airflow_provider_apimart.generation.catalogue.gone import is_listed


@pytest.mark.parametrize(
    ("model", "listed", "found"),
    [
        ("veo3.1-fast", ["veo3.1-fast"], True),
        ("veo3.1-fast", ["veo3.1-fast-ext"], True),
        ("veo3.1-fast-ext", ["veo3.1-fast"], True),
        ("veo3.1-fast", ["veo3.1-fast-official"], False),
        ("veo9", ["veo3.1-fast"], False),
        ("veo9", [], None),
    ],
)
def test_a_model_is_listed_under_any_of_its_names(model: str, listed: list[str], found: bool | None) -> None:
    assert is_listed(model, [Model(id=name) for name in listed]) is found
