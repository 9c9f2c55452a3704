from datetime import date
from pathlib import Path

import pytest

from testproject.shop.importer import (
    MOST_SHOWN,
    ORDERS_FILE,
    ImportRefused,
    import_orders,
    import_stock,
)
from testproject.shop.models import Order, StockItem

HEADER = "number,placed_on,customer,email,sku,quantity,card,service,engraving"
GOOD = "1,2025-11-03,Ana,ana@example.com,MUG-WHT,2,tok_visa,express,"


@pytest.fixture
def orders_file(tmp_path: Path, stock: dict[str, StockItem]) -> Path:
    return tmp_path / "orders.csv"


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join((header, *rows)), encoding="utf-8")
    return path


def refusal(path: Path) -> list[str]:
    with pytest.raises(ImportRefused) as caught:
        import_orders(path)
    assert not Order.objects.exists()
    return caught.value.problems


# --- the files that come with the project -------------------------------------------------------


def test_the_shipped_file_has_at_least_300_orders(stock: dict[str, StockItem]) -> None:
    orders = import_orders()
    assert len(orders) == Order.objects.count() >= 300
    assert {order.status for order in orders} == {Order.Status.NEW}
    assert {order.item_id for order in orders} == stock.keys()


def test_the_shipped_stock_is_enough_for_all_orders(stock: dict[str, StockItem]) -> None:
    wanted = dict.fromkeys(stock, 0)
    for order in import_orders():
        wanted[order.item_id] += order.quantity
    assert all(wanted[sku] <= item.on_hand for sku, item in stock.items())


def test_a_limit_takes_the_first_orders(stock: dict[str, StockItem]) -> None:
    assert [order.number for order in import_orders(limit=3)] == [1001, 1002, 1003]


# --- what is read -------------------------------------------------------------------------------


def test_a_row_becomes_an_order(orders_file: Path) -> None:
    write(
        orders_file, '7,2025-11-03, Zoë Öz ,zoe@example.com,PEN-FTN,3,tok_amex,saver,"For me, Zoë"'
    )
    import_orders(orders_file)
    order = Order.objects.get()
    assert (order.number, order.placed_on, order.customer) == (7, date(2025, 11, 3), "Zoë Öz")
    assert (order.item_id, order.quantity, order.total_cents) == ("PEN-FTN", 3, 3 * 5900)
    assert (order.service, order.engraving, order.run_id) == ("saver", "For me, Zoë", None)


def test_a_byte_order_mark_and_blank_lines_do_not_matter(orders_file: Path) -> None:
    write(orders_file, "", GOOD, "", header=f"\ufeff{HEADER}")
    assert len(import_orders(orders_file)) == 1


def test_an_empty_list_of_orders_is_no_error(orders_file: Path) -> None:
    assert import_orders(write(orders_file)) == []


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad", "problem"),
    [
        ("1,", "0,", "number: '0' is not a whole number from 1 to 2147483647"),
        ("1,", "x,", "number: 'x' is not a whole number from 1 to 2147483647"),
        ("1,", "٣,", "number: '٣' is not a whole number from 1 to 2147483647"),
        ("2025-11-03", "3.11.25", "placed_on: '3.11.25' is not a date such as 2025-11-03"),
        ("Ana", "", "customer: This field cannot be blank."),
        ("ana@", "ana", "email: Enter a valid email address."),
        ("MUG-WHT", "MUG", "sku: there is no product 'MUG'"),
        (",2,", ",-2,", "quantity: '-2' is not a whole number from 1 to 2147483647"),
        ("express", "slow", "service: Value 'slow' is not a valid choice."),
    ],
)
def test_a_wrong_value_is_named_with_its_line(
    orders_file: Path, good: str, bad: str, problem: str
) -> None:
    row = GOOD.replace(good, bad, 1)
    assert refusal(write(orders_file, row)) == [f"orders.csv, line 2: {problem}"]


def test_all_problems_are_told_and_the_message_stays_short(orders_file: Path) -> None:
    write(orders_file, GOOD, *[GOOD.replace("MUG-WHT", "MUG")] * (MOST_SHOWN + 2))
    problems = refusal(orders_file)
    assert len(problems) == MOST_SHOWN + 2
    assert problems[-1] == "orders.csv, line 14: sku: there is no product 'MUG'"
    assert str(ImportRefused(problems)).splitlines()[-1] == "and 2 more"


def test_an_order_that_is_there_twice_is_refused(orders_file: Path) -> None:
    assert refusal(write(orders_file, GOOD, GOOD)) == ["orders.csv, line 3: Order 1 is there twice"]


def test_a_missing_value_is_refused(orders_file: Path) -> None:
    assert refusal(write(orders_file, "1,2")) == ["orders.csv, line 2: 2 values instead of 9"]


def test_other_columns_are_refused(orders_file: Path) -> None:
    assert refusal(write(orders_file, GOOD, header="a,b")) == [
        f"orders.csv, line 1: the columns must be {HEADER}"
    ]


def test_an_empty_file_is_refused(orders_file: Path) -> None:
    orders_file.write_text("")
    assert refusal(orders_file) == [f"orders.csv, line 1: the columns must be {HEADER}"]


def test_an_open_quote_is_refused(orders_file: Path) -> None:
    assert refusal(write(orders_file, '1,"2')) == ["orders.csv, line 2: unexpected end of data"]


def test_a_file_that_is_no_text_is_refused(orders_file: Path) -> None:
    orders_file.write_bytes(b"\xff\xfe\x00")
    assert refusal(orders_file) == ["orders.csv is not UTF-8 text"]


def test_a_missing_file_is_refused(orders_file: Path) -> None:
    assert refusal(orders_file) == ["orders.csv cannot be read: No such file or directory"]


def test_an_order_of_an_earlier_import_is_refused(orders: dict[int, Order]) -> None:
    with pytest.raises(ImportRefused, match=r"^orders.csv: Order 1001 exists already"):
        import_orders(ORDERS_FILE)
    assert Order.objects.count() == len(orders)


def test_stock_is_not_imported_twice(stock: dict[str, StockItem]) -> None:
    with pytest.raises(ImportRefused, match=r"^stock.csv: MUG-WHT exists already"):
        import_stock()
