"""What happens in the demo, in order."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from django_openworkflow import RunHandle
from django_openworkflow.exceptions import OpenWorkflowError
from django_openworkflow.models import WorkerProcess, WorkflowRun
from testproject.shop.demo.books import Books, Deeds
from testproject.shop.demo.cancels import (
    Cancel,
    Door,
    When,
    cancel_again,
    cancel_completed,
    cancel_in_a_step,
    cancel_pending,
    cancel_sleeping,
    runs_in_words,
)
from testproject.shop.demo.claims import Claim, all_claims
from testproject.shop.demo.crash import kill_a_worker
from testproject.shop.demo.tables import Marks, report, verdict
from testproject.shop.demo.workers import RECENT_SECONDS, DemoFailed, Workers
from testproject.shop.importer import import_orders, import_stock
from testproject.shop.models import (
    BodyStart,
    GatewayRequest,
    Order,
    Payment,
    Shipment,
    StockItem,
)
from testproject.shop.workflows import fulfil_order, start_fulfilment

WORKERS: Final = 3
CONCURRENCY: Final = 8
LEASE_SECONDS: Final = 6
LONGEST_SECONDS: Final = 110.0
NEWS_SECONDS: Final = 5.0


@dataclass(slots=True)
class Story:
    """One demo. ``say`` prints a line."""

    say: Callable[[str], None]
    orders: int | None  # how many of the file; None for all
    doors: Sequence[int]  # how many runs are canceled through each door, asleep and in a step
    began_at: float = field(default_factory=time.monotonic)

    def tell(self, marks: Marks) -> bool:
        """Play the demo, print the report, and return whether every claim holds.

        Raises ``DemoFailed`` when it cannot be played to the end.
        """
        stock, orders = self._open_shop()
        with Workers(
            concurrency=CONCURRENCY,
            lease_seconds=LEASE_SECONDS,
            ends_at=self.began_at + LONGEST_SECONDS,
        ) as workers:
            deeds = self._play(workers, stock, orders)
        books = Books.read()
        claims = all_claims(books, deeds)
        for line in report(books, deeds, claims, marks):
            self.say(line)
        self.say(verdict(_flat(claims), time.monotonic() - self.began_at))
        return all(claim.holds for claim in _flat(claims))

    def _play(self, workers: Workers, stock: list[StockItem], orders: list[Order]) -> Deeds:
        cancels = self._noted(cancel_pending(orders))
        workers.start(WORKERS)
        self._note(
            f"Started {WORKERS} workers: {CONCURRENCY} runs at a time each, "
            f"leases of {LEASE_SECONDS} seconds"
        )
        crash = kill_a_worker(workers)
        self._note(
            f"Killed worker {crash.pid} with SIGKILL: it held {runs_in_words(len(crash.runs))}, "
            f"{len(crash.in_flight)} of them in the middle of a step"
        )
        for cancel_some in (cancel_in_a_step, cancel_sleeping):
            cancels += self._noted(cancel_some(workers, self.doors))
        refusal = cancel_completed(workers)
        self._note(f"Tried to cancel a completed run: {refusal.message}")
        asleep = _first(cancels, When.SLEEPING, Door.HANDLE)
        second = cancel_again(asleep.id)
        self._note("Canceled a canceled run once more")
        self._wait_for_the_rest(workers)
        exit_codes = workers.drain()
        self._note("Stopped the workers")
        return Deeds(
            stocked={item.pk: item.on_hand for item in stock},
            crash=crash,
            cancels=cancels,
            refusal=refusal,
            second_cancel=second,
            result_of_canceled=_result(asleep),
            pids=[record.pid for record in workers.records],
            exit_codes=exit_codes,
        )

    # --- acts -----------------------------------------------------------------------------------

    def _open_shop(self) -> tuple[list[StockItem], list[Order]]:
        """Migrate, forget the last demo, import the files, and start a run for each order."""
        require_database()
        call_command("migrate", verbosity=0)
        self._note(f"Migrated the database ({connection.display_name})")
        require_no_other_worker()
        forgotten = forget_last_demo()
        if forgotten:
            self._note(f"Removed {forgotten} orders of an earlier demo, and their runs")
        with transaction.atomic():
            stock = import_stock()
            orders = import_orders(limit=self.orders)
            start_fulfilment(orders)
        self._note(f"Imported {len(orders)} orders and started a workflow run for each")
        return stock, orders

    def _wait_for_the_rest(self, workers: Workers) -> None:
        runs = WorkflowRun.objects.for_workflow(fulfil_order.name)
        told_at = time.monotonic()

        def is_over() -> bool:
            nonlocal told_at
            if time.monotonic() - told_at > NEWS_SECONDS:
                told_at = time.monotonic()
                counts = Counter(runs.values_list("status", flat=True))
                shares = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
                self._note(f"Waiting for the rest: {shares}")
            return not runs.active().exists()

        workers.wait_for("all runs to end", is_over)
        self._note("All runs have ended")

    # --- news -----------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        self.say(f"{time.monotonic() - self.began_at:6.1f} s  {text}")

    def _noted(self, cancels: Iterable[Cancel]) -> list[Cancel]:
        """Tell each cancel as it happens."""
        done = []
        for cancel in cancels:
            runs = runs_in_words(len(cancel.runs))
            self._note(f"Canceled {runs} while {cancel.when.value}, with {cancel.door.value}")
            done.append(cancel)
        return done


def require_database() -> None:
    """Say in one sentence that there is no database, if so."""
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        message = f"The database cannot be reached: {' '.join(str(error).split())}"
        raise DemoFailed(message) from error


def require_no_other_worker() -> None:
    """Refuse to begin while somebody else's worker would take the demo's runs."""
    other = WorkerProcess.objects.alive(RECENT_SECONDS).first()
    if other is not None:
        message = (
            f"A worker is using this database: {other.name}. Stop it first, or wait "
            f"{RECENT_SECONDS:.0f} seconds if it has died: the demo counts what its own workers do."
        )
        raise DemoFailed(message)


def forget_last_demo() -> int:
    """Delete the shop's rows and the runs of its workflow, and nothing else; return the orders."""
    with transaction.atomic():
        WorkflowRun.objects.for_workflow(fulfil_order.name).delete()
        for model in (BodyStart, GatewayRequest, Shipment, Payment):
            model.objects.all().delete()
        count, _ = Order.objects.all().delete()
        StockItem.objects.all().delete()
    return count


def _first(cancels: Sequence[Cancel], when: When, door: Door) -> RunHandle[object]:
    chosen = next(one for one in cancels if (one.when, one.door) == (when, door))
    return RunHandle.get(chosen.runs[0])


def _result(handle: RunHandle[object]) -> str:
    try:
        return f"{handle.result(timeout=0)}"
    except OpenWorkflowError as error:
        return str(error)


def _flat(claims: Sequence[tuple[str, Sequence[Claim]]]) -> list[Claim]:
    return [claim for _, some in claims for claim in some]
