"""What a table will cost, for people to read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.prices import PriceList


@dataclass
class Bill:
    """The estimates of many requests.

    :param prices: the price list to use.
    :param unknown: requests without a published price, by model.
    :param sources: which lists the estimates come from.
    """

    prices: PriceList
    groups: Counter[tuple[str, str, Decimal]] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, request: VeoRequest) -> Decimal | None:
        """Add a request and return its estimated cost; ``None`` if unknown."""
        price = self.prices.estimate(request)
        if price is None:
            self.unknown[request.model] += 1
            return None
        self.groups[request.model, price.basis, price.usd] += 1
        self.sources[price.source] += 1
        return price.usd

    @property
    def usd(self) -> Decimal:
        """The sum of all known estimates."""
        return sum((usd * count for (_, _, usd), count in self.groups.items()), Decimal(0))

    @property
    def count(self) -> int:
        """The number of requests, with or without a price."""
        return self.groups.total() + self.unknown.total()

    def lines(self) -> Iterable[str]:
        """Yield the bill, one line for each kind of request."""
        for (model, basis, usd), count in sorted(self.groups.items()):
            yield f"{count:,} x {model} at {money(usd)} USD ({basis}) = {usd * count:,.2f} USD"
        for model, count in sorted(self.unknown.items()):
            yield f"{count:,} x {model}: no price is known"
        sources = "; ".join(sorted(self.sources)) or self.prices.source
        yield f"{self.count:,} rows: about {self.usd:,.2f} USD (prices from {sources})"

    @property
    def short(self) -> str:
        """The bill in one sentence."""
        return "; ".join(self.lines())


def money(usd: Decimal) -> str:
    """Return an amount without trailing zeros."""
    text = f"{usd:.6f}".rstrip("0")
    return text + "0" * max(0, 2 - len(text.partition(".")[2]))
