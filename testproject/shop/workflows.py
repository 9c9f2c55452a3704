"""How an order is fulfilled. Found at start-up, as ``admin.py`` is."""

from collections.abc import Sequence
from typing import Final, TypedDict

from django.db import transaction

from django_openworkflow import RetryPolicy, RunHandle, Step, workflow
from django_openworkflow.exceptions import StepFailed
from testproject.shop.fulfilment import charge, notify, pack, reserve, ship, unreserve, validate
from testproject.shop.models import Order

# How long a packed order waits for a change of mind before its card is charged.
COOLING_OFF: Final = {
    Order.Service.EXPRESS: "500ms",
    Order.Service.STANDARD: "2s",
    Order.Service.SAVER: "15s",
}
EXPRESS_PRIORITY: Final = 10
PATIENCE_WITH_GATEWAY: Final = RetryPolicy(initial_interval="500ms", maximum_attempts=5)


class PaymentDeclined(Exception):
    """The customer's bank has refused the charge; asking again would not help."""


class Fulfilled(TypedDict):
    """The output of a run."""

    order: int
    payment: int | None
    tracking: str


@workflow("fulfil-order")
def fulfil_order(step: Step, order_number: int) -> Fulfilled:
    """Check, reserve, pack, wait, charge, ship, tell. Until the charge, a cancel costs nobody."""
    try:
        return _fulfil(step, order_number)
    except (StepFailed, PaymentDeclined):
        step.run("unreserve", unreserve, step)
        raise


def _fulfil(step: Step, order_number: int) -> Fulfilled:
    facts = step.run("validate", validate, step, order_number)
    step.run("reserve", reserve, step, facts)
    step.run("pack", pack, step, facts)
    step.sleep("cooling-off", COOLING_OFF[Order.Service(facts["service"])])
    payment = step.run("charge", charge, step, facts, retry_policy=PATIENCE_WITH_GATEWAY)
    if not payment["accepted"]:
        message = f"The card of order {order_number} was declined"
        raise PaymentDeclined(message)
    tracking = step.run("ship", ship, step, facts)
    step.run("notify", notify, step, facts)
    return Fulfilled(order=order_number, payment=payment["payment_id"], tracking=tracking)


def start_fulfilment(orders: Sequence[Order]) -> list[RunHandle[Fulfilled]]:
    """Start one run per order and note it there: all of them or, on an error, none.

    The handles come in the order of ``orders``; workers take express orders first.
    """
    handles: dict[int, RunHandle[Fulfilled]] = {}
    with transaction.atomic():
        for priority in (EXPRESS_PRIORITY, 0):
            some = [order for order in orders if _priority(order) == priority]
            started = fulfil_order.using(priority=priority).start_many(
                {"order_number": order.number} for order in some
            )
            for order, handle in zip(some, started, strict=True):
                order.run_id = handle.id
                handles[order.number] = handle
        Order.objects.bulk_update(orders, ["run_id"], batch_size=500)
    return [handles[order.number] for order in orders]


def _priority(order: Order) -> int:
    return EXPRESS_PRIORITY if order.service == Order.Service.EXPRESS else 0
