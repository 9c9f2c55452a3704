"""The state of the database after the demo, read once: what claims and tables are made from."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus
from testproject.shop.demo.cancels import Cancel, Refusal, SecondCancel
from testproject.shop.demo.crash import Crash
from testproject.shop.models import (
    BodyStart,
    GatewayRequest,
    Order,
    Payment,
    Shipment,
    StockItem,
)
from testproject.shop.workflows import fulfil_order

StepKey = tuple[UUID, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deeds:
    """What the demo did, beside starting the runs."""

    stocked: dict[str, int]  # how many of each product there were
    crash: Crash
    cancels: Sequence[Cancel]
    refusal: Refusal
    second_cancel: SecondCancel
    result_of_canceled: str
    pids: Sequence[int]
    exit_codes: Sequence[int]  # of the workers that were asked to stop


@dataclass(slots=True)
class Books:
    """Everything in the database that concerns the demo."""

    runs: dict[UUID, WorkflowRun]
    orders: dict[UUID, Order]  # by run
    orders_without_run: int
    stock: list[StockItem]
    requests: list[GatewayRequest]
    attempts: dict[StepKey, list[StepAttempt]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[StepKey, list[BodyStart]] = field(default_factory=lambda: defaultdict(list))
    payments: dict[int, list[Payment]] = field(default_factory=lambda: defaultdict(list))
    shipments: dict[int, list[Shipment]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls) -> Self:
        """Read the tables."""
        runs = WorkflowRun.objects.for_workflow(fulfil_order.name)
        books = cls(
            runs={run.pk: run for run in runs},
            orders={order.run_id: order for order in Order.objects.all() if order.run_id},
            orders_without_run=Order.objects.filter(run_id=None).count(),
            stock=list(StockItem.objects.all()),
            requests=list(GatewayRequest.objects.order_by("pk")),
        )
        for attempt in StepAttempt.objects.filter(workflow_run__in=runs).in_order():
            books.attempts[attempt.workflow_run_id, attempt.step_name].append(attempt)
        for start in BodyStart.objects.order_by("pk"):
            books.starts[start.run_id, start.step].append(start)
        for payment in Payment.objects.all():
            books.payments[payment.order_id].append(payment)
        for shipment in Shipment.objects.all():
            books.shipments[shipment.order_id].append(shipment)
        return books

    def with_status(self, status: RunStatus) -> set[UUID]:
        """Return the runs of orders that have a status."""
        return {pk for pk, run in self.runs.items() if run.status == status and pk in self.orders}

    def tries(self, run: UUID, step: str) -> list[StepAttempt]:
        """Return the attempts of one step of a run."""
        return self.attempts.get((run, step), [])

    def executions(self, run: UUID, step: str) -> int:
        """Return how often the body of one step of a run was started."""
        return len(self.starts.get((run, step), []))

    def attempts_of(self, run: UUID) -> list[StepAttempt]:
        """Return all step attempts of a run."""
        return [one for key, several in self.attempts.items() if key[0] == run for one in several]

    def starts_of(self, run: UUID) -> list[BodyStart]:
        """Return all starts of bodies of a run."""
        return [one for key, several in self.starts.items() if key[0] == run for one in several]

    def paid(self, run: UUID) -> list[int]:
        """Return the amounts charged for the order of a run."""
        return [payment.amount_cents for payment in self.payments.get(self.orders[run].number, [])]

    def shipped(self, run: UUID) -> int:
        """Return how many parcels were sent for the order of a run."""
        return len(self.shipments.get(self.orders[run].number, []))

    def answers(self, run: UUID) -> list[str]:
        """Return what the gateway answered to the charges of a run."""
        return [request.answer for request in self.requests if request.key == f"{run}:charge"]
