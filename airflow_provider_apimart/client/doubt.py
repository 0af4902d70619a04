"""What a call's error may say about the money, over all of its attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.protocol import Call


class Doubt:
    """Remembers across the attempts of one call that one of them may have been carried out.

    A later answer such as a 402 says nothing about an earlier attempt, so the whole call's error must not say "not
    charged". The error of each attempt stays as it is, because it decides what may be repeated.
    """

    def __init__(self, call: Call[Any]) -> None:
        self.may_cost = call.may_cost
        self.seen = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch one attempt."""
        try:
            yield
        except errors.ApimartError as error:
            # "In progress" refuses this attempt only: another request under the same key is being carried out.
            doubtful = error.charge is errors.Charge.UNKNOWN or isinstance(error, errors.IdempotencyInProgressError)
            self.seen = self.seen or doubtful
            raise

    @contextmanager
    def settle(self) -> Iterator[None]:
        """Make the error of the whole call say what is known about the money."""
        try:
            yield
        except errors.ApimartError as error:
            if not self.may_cost:
                error.charge = errors.Charge.NO
            elif self.seen and error.charge is errors.Charge.NO:
                error.charge = errors.Charge.UNKNOWN
            raise
