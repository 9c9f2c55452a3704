"""``manage.py demo``: a shop whose orders are workflows, with everything that can go wrong."""

import signal
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from testproject.shop.demo.story import Story
from testproject.shop.demo.tables import Marks
from testproject.shop.demo.workers import DemoFailed
from testproject.shop.importer import ImportRefused

FEWEST_ORDERS = 60
# Through handle.cancel(), through a queryset, through manage.py cancelruns.
FEW_CANCELS = (1, 1, 1)
MORE_CANCELS = (1, 3, 2)


def enough_orders(text: str) -> int:
    """Parse the number of orders."""
    if text.isdecimal() and int(text) >= FEWEST_ORDERS:
        return int(text)
    message = f"must be a whole number of {FEWEST_ORDERS} or more, not {text!r}"
    raise ArgumentTypeError(message)


class Command(BaseCommand):
    """Exits with 0 only if every claim it prints is true."""

    help = (
        "Fulfils a file of orders with workflows while it kills a worker and cancels runs, then "
        "checks what it claims. Replaces the rows of an earlier demo, and touches no others."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        size = parser.add_mutually_exclusive_group()
        size.add_argument("--orders", type=enough_orders, help="take only the first so many orders")
        size.add_argument(
            "--fast",
            action="store_const",
            const=FEWEST_ORDERS,
            dest="orders",
            help=f"a small demo: the same as --orders {FEWEST_ORDERS}",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        orders = options["orders"]
        doors = FEW_CANCELS if orders and orders < 2 * FEWEST_ORDERS else MORE_CANCELS
        marks = Marks.that_fit(getattr(self.stdout, "encoding", None))
        with _exit_on_signals():
            try:
                all_true = Story(self._say, orders, doors).tell(marks)
            except (DemoFailed, ImportRefused) as error:
                raise CommandError(str(error)) from error
        if not all_true:
            raise SystemExit(1)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn the signals that end a process into an exception, so that workers are ended too."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
