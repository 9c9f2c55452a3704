"""A small shop, whose gateway and engraver take no time."""

from collections.abc import Iterator

import pytest

from django_openworkflow.testing import reset_clock
from testproject.shop import fulfilment, gateway
from testproject.shop.importer import import_orders, import_stock
from testproject.shop.models import Order, StockItem


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fulfilment, "SECONDS_PER_LETTER", 0)
    monkeypatch.setattr(gateway, "SECONDS_TO_CONFIRM", 0)
    monkeypatch.setattr(gateway, "SECONDS_TO_CONFIRM_SLOWLY", 0)
    yield
    reset_clock()


@pytest.fixture
def stock(db: None) -> dict[str, StockItem]:
    return {item.pk: item for item in import_stock()}


@pytest.fixture
def orders(stock: dict[str, StockItem]) -> dict[int, Order]:
    """The first 60 orders of the file, by number."""
    return {order.number: order for order in import_orders(limit=60)}
