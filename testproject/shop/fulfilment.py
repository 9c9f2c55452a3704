"""What is done to an order: the bodies of the workflow's steps, and what undoes a reservation.

A body runs at least once: a worker that dies runs it again elsewhere. So each can be repeated, and
decides under the lock of the order's row.
"""

import time
from typing import Final, TypedDict
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from django_openworkflow import Step
from testproject.shop import gateway
from testproject.shop.journal import journaled
from testproject.shop.models import Order, Shipment, StockItem

SECONDS_PER_LETTER: Final = 0.3


class OrderFacts(TypedDict):
    """What later steps need to know of an order; saved as the result of ``validate``."""

    number: int
    sku: str
    quantity: int
    service: str
    engraving: str


class Charge(TypedDict):
    """The gateway's answer as it is saved."""

    accepted: bool
    payment_id: int | None


class OrderRefused(Exception):
    """The order cannot go on: it is not what it should be, or not in time."""


class EngravingStopped(Exception):
    """The run was canceled in the middle of the engraving."""


# --- steps --------------------------------------------------------------------------------------


@journaled
def validate(step: Step, number: int) -> OrderFacts:
    """Check that the order adds up, and return its facts."""
    order = Order.objects.select_related("item").get(pk=number)
    if order.total_cents != order.quantity * order.item.unit_price_cents:
        message = f"The total of order {number} is not its quantity times the price"
        raise OrderRefused(message)
    return OrderFacts(
        number=order.number,
        sku=order.item.sku,
        quantity=order.quantity,
        service=order.service,
        engraving=order.engraving,
    )


@journaled
def reserve(step: Step, facts: OrderFacts) -> int:
    """Set the goods aside; return how many."""
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=facts["number"])
        if order.status == Order.Status.RESERVED:
            return order.quantity
        _require(order, Order.Status.NEW)
        enough = StockItem.objects.filter(
            pk=facts["sku"], on_hand__gte=F("reserved") + order.quantity
        )
        if not enough.update(reserved=F("reserved") + order.quantity):
            message = f"Not enough {facts['sku']} in stock for order {order.number}"
            raise OrderRefused(message)
        Order.objects.filter(pk=order.number).update(status=Order.Status.RESERVED)
    return order.quantity


@journaled
def pack(step: Step, facts: OrderFacts) -> int:
    """Wrap the goods; return the letters engraved.

    Engraving takes its time, so it asks before each letter whether the run was canceled.
    """
    engraving = facts["engraving"]
    for letters in range(len(engraving)):
        if step.cancel_requested:
            message = f"Engraving stopped after {letters} of {len(engraving)} letters"
            raise EngravingStopped(message)
        time.sleep(SECONDS_PER_LETTER)
    return len(engraving)


@journaled
def charge(step: Step, facts: OrderFacts) -> Charge:
    """Take the money. The key is the run's: a second execution asks for the same payment."""
    order = Order.objects.get(pk=facts["number"])
    receipt = gateway.charge(f"{step.info.id}:charge", order)
    return Charge(accepted=receipt.accepted, payment_id=receipt.payment_id)


@journaled
def ship(step: Step, facts: OrderFacts) -> str:
    """Hand the parcel over and take it out of the stock; return its tracking number."""
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=facts["number"])
        if sent := Shipment.objects.filter(order=order).first():
            return sent.tracking_number
        _require(order, Order.Status.RESERVED)
        StockItem.objects.filter(pk=facts["sku"]).update(
            on_hand=F("on_hand") - order.quantity, reserved=F("reserved") - order.quantity
        )
        Order.objects.filter(pk=order.number).update(status=Order.Status.SHIPPED)
        shipment = Shipment.objects.create(order=order, tracking_number=f"PX{order.number:08d}")
    return shipment.tracking_number


@journaled
def notify(step: Step, facts: OrderFacts) -> None:
    """Tell the customer; in a demo nobody is told, but the time is noted."""
    Order.objects.filter(pk=facts["number"], notified_at=None).update(notified_at=Now())


# --- the way back -------------------------------------------------------------------------------


@journaled
def unreserve(step: Step) -> None:
    """Give back the goods of an order that cannot be fulfilled.

    A step, not a receiver of ``run_failed``: that is called once at most, and never if the worker
    dies just then.
    """
    release(step.info.id, Order.Status.FAILED)


def release(run_id: UUID, status: Order.Status) -> None:
    """Give back what the order of a run had reserved; a shipped order stays shipped."""
    with transaction.atomic():
        order = Order.objects.select_for_update().filter(run_id=run_id).first()
        if order is None or order.status not in {Order.Status.NEW, Order.Status.RESERVED}:
            return
        if order.status == Order.Status.RESERVED:
            StockItem.objects.filter(pk=order.item_id).update(
                reserved=F("reserved") - order.quantity
            )
        Order.objects.filter(pk=order.number).update(status=status)


def _require(order: Order, status: Order.Status) -> None:
    if order.status != status:
        message = f"Order {order.number} is {order.status}, not {status.value}"
        raise OrderRefused(message)
