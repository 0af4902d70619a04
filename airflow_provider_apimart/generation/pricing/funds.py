"""Whether an account holds enough for what is coming. Shared by the sensor (worker) and its trigger.

Two things limit what can be spent: the account's balance and the key's quota. Both have to cover the amount. Below a
floor (0.05 USD has been seen), APIMart answers every request with a 402, this question included, and names the balance
in the text. That is a balance that covers nothing, not an error.
Temporary errors do not end the wait. A wrong key or host does, because no top-up fixes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Balance
from airflow_provider_apimart.generation.pricing.balance import held_by, left

_HOPELESS = (
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.ConfigurationError,
    errors.NotFoundError,
    errors.RedirectError,
)


@dataclass(frozen=True)
class Funds:
    """What the account and the key hold."""

    account: Balance
    key: Balance
    #: APIMart has answered with a 402: nothing can be paid for, whatever the balance is.
    refused: bool = False

    def cover(self, usd: Decimal) -> bool:
        """Say whether both cover an amount. A value that APIMart does not report covers nothing."""
        return not self.refused and all(
            balance.unlimited or (balance.remaining_usd is not None and Decimal(str(balance.remaining_usd)) >= usd)
            for balance in (self.account, self.key)
        )

    def told(self, usd: Decimal) -> str:
        """Return one line for the log."""
        told = f"{usd} USD are needed; the account holds {left(self.account)}, the key may spend {left(self.key)}."
        return f"{told} APIMart refuses every request (402) until the account is topped up." if self.refused else told

    def result(self) -> dict[str, Any]:
        """Return both as plain JSON; ``None`` means no limit."""
        return {"account_usd": self.account.remaining_usd, "key_usd": self.key.remaining_usd}


def is_hopeless(error: Exception) -> bool:
    """Say whether waiting longer cannot help."""
    return isinstance(error, _HOPELESS)


def funds_refused(error: errors.InsufficientBalanceError) -> Funds:
    """Return what a 402 says about the balance: what its text names, else nothing."""
    held = held_by(error) or Balance(remaining_usd=0.0, used_usd=None)
    return Funds(held, held, refused=True)


def hopeless_text(error: ApimartError) -> str:
    """Return the error text for when waiting cannot help."""
    return f"The balance cannot be asked for: {error}. Correct the connection, then clear the task. Nothing was charged"
