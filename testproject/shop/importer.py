"""Import stock and orders from CSV files: every row, or none and a list of what is wrong."""

import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model

from testproject.shop.models import Order, StockItem

DATA: Final = Path(__file__).resolve().parent / "data"
STOCK_FILE: Final = DATA / "stock.csv"
ORDERS_FILE: Final = DATA / "orders.csv"
STOCK_COLUMNS: Final = ("sku", "name", "unit_price_cents", "on_hand")
ORDER_COLUMNS: Final = (
    "number",
    "placed_on",
    "customer",
    "email",
    "sku",
    "quantity",
    "card",
    "service",
    "engraving",
)
MOST_SHOWN: Final = 10
LARGEST_NUMBER: Final = 2**31 - 1  # of a PositiveIntegerField

Row = dict[str, str]
M = TypeVar("M", bound=Model)


class ImportRefused(Exception):
    """A file cannot be imported; nothing of it was. The message names the lines."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        shown = self.problems[:MOST_SHOWN]
        if more := len(self.problems) - len(shown):
            shown.append(f"and {more} more")
        super().__init__("\n".join(shown))


def import_stock(path: Path = STOCK_FILE) -> list[StockItem]:
    """Insert the products of a file. Raises ``ImportRefused``."""
    items = _parse(path, STOCK_COLUMNS, _stock_item)
    with transaction.atomic():
        _refuse_known(path, items)
        return StockItem.objects.bulk_create(items)


def import_orders(path: Path = ORDERS_FILE, *, limit: int | None = None) -> list[Order]:
    """Insert the orders of a file, or its first ``limit``. Raises ``ImportRefused``."""
    stock = StockItem.objects.in_bulk()
    orders = _parse(path, ORDER_COLUMNS, lambda row: _order(row, stock), limit=limit)
    with transaction.atomic():
        _refuse_known(path, orders)
        return Order.objects.bulk_create(orders, batch_size=500)


# --- files --------------------------------------------------------------------------------------


def _parse(
    path: Path, columns: Sequence[str], build: Callable[[Row], M], *, limit: int | None = None
) -> list[M]:
    """Build an instance from every row, or refuse the file with all that is wrong."""
    built: dict[object, M] = {}
    problems: list[str] = []
    for line, row in islice(_rows(path, columns), limit):
        try:
            instance = build(row)
            instance.clean_fields(exclude={"item"})  # known to exist
            if instance.pk in built:
                message = f"{instance} is there twice"
                raise ValueError(message)
        except ValidationError as error:
            problems.append(f"{path.name}, line {line}: {_sentence(error)}")
        except ValueError as error:
            problems.append(f"{path.name}, line {line}: {error}")
        else:
            built[instance.pk] = instance
    if problems:
        raise ImportRefused(problems)
    return list(built.values())


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yield the line number and the trimmed values of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if header != list(columns):
                problem = f"{path.name}, line 1: the columns must be {','.join(columns)}"
                raise ImportRefused([problem])
            for values in reader:
                if values:  # not a blank line
                    yield reader.line_num, _row(path, reader.line_num, columns, values)
    except OSError as error:
        raise ImportRefused([f"{path.name} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ImportRefused([f"{path.name} is not UTF-8 text"]) from error
    except csv.Error as error:
        raise ImportRefused([f"{path.name}, line {reader.line_num}: {error}"]) from error


def _row(path: Path, line: int, columns: Sequence[str], values: Sequence[str]) -> Row:
    if len(values) != len(columns):
        problem = f"{path.name}, line {line}: {len(values)} values instead of {len(columns)}"
        raise ImportRefused([problem])
    return {name: value.strip() for name, value in zip(columns, values, strict=True)}


def _refuse_known(path: Path, instances: Sequence[Model]) -> None:
    """Refuse rows that are in the table already."""
    if not instances:
        return
    known = type(instances[0])._default_manager.in_bulk([row.pk for row in instances])
    if known:
        raise ImportRefused(
            [f"{path.name}: {row} exists already" for row in instances if row.pk in known]
        )


# --- rows ---------------------------------------------------------------------------------------


def _stock_item(row: Row) -> StockItem:
    return StockItem(
        sku=row["sku"],
        name=row["name"],
        unit_price_cents=_whole(row, "unit_price_cents", lowest=1),
        on_hand=_whole(row, "on_hand", lowest=0),
    )


def _order(row: Row, stock: dict[str, StockItem]) -> Order:
    item = stock.get(row["sku"])
    if item is None:
        message = f"sku: there is no product {row['sku']!r}"
        raise ValueError(message)
    quantity = _whole(row, "quantity", lowest=1)
    return Order(
        number=_whole(row, "number", lowest=1),
        placed_on=_day(row, "placed_on"),
        customer=row["customer"],
        email=row["email"],
        item=item,
        quantity=quantity,
        total_cents=quantity * item.unit_price_cents,
        card=row["card"],
        service=row["service"],
        engraving=row["engraving"],
    )


def _whole(row: Row, column: str, *, lowest: int) -> int:
    text = row[column]
    if text.isascii() and text.isdecimal() and lowest <= int(text) <= LARGEST_NUMBER:
        return int(text)
    message = f"{column}: {text!r} is not a whole number from {lowest} to {LARGEST_NUMBER}"
    raise ValueError(message)


def _day(row: Row, column: str) -> date:
    try:
        return date.fromisoformat(row[column])
    except ValueError:
        message = f"{column}: {row[column]!r} is not a date such as 2025-11-03"
        raise ValueError(message) from None


def _sentence(error: ValidationError) -> str:
    """Put Django's messages into one line: the column and what is wrong with it."""
    return "; ".join(
        f"{column}: {' '.join(messages)}" for column, messages in error.message_dict.items()
    )
