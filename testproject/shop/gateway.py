"""A make-believe payment gateway: now and then out of order, sometimes slow, never forgetful.

How it behaves depends on the order's number alone, so that every demo meets the same trouble. Like
the real ones it takes an idempotency key: the same key is charged once, however often it is asked.
"""

import time
from dataclasses import dataclass
from typing import Final

from django.db import transaction

from testproject.shop.models import GatewayRequest, Order, Payment

DECLINED_CARD: Final = "tok_declined"
# Between taking the money and saying so: here a crash would charge twice, were it not for the key.
SECONDS_TO_CONFIRM: Final = 0.02
SECONDS_TO_CONFIRM_SLOWLY: Final = 3.0


class GatewayUnavailable(Exception):
    """The gateway did not take the request; ask again later."""

    def __init__(self) -> None:
        super().__init__("The payment gateway answered 503 Service Unavailable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The gateway's answer: accepted with a payment, or declined without one."""

    accepted: bool
    payment_id: int | None = None


def outages(order_number: int) -> int:
    """Return how many requests for an order fail before one gets through."""
    if order_number % 20 == 0:
        return 2
    return 1 if order_number % 7 == 0 else 0


def is_slow(order_number: int) -> bool:
    """Tell whether the bank behind the gateway takes its time with this order."""
    return order_number % 6 == 0


def charge(key: str, order: Order) -> Receipt:
    """Take the order's total from its card, once per key; raises ``GatewayUnavailable``."""
    if payment := Payment.objects.filter(key=key).first():
        _answer(key, GatewayRequest.Answer.REPEATED)
        return Receipt(accepted=True, payment_id=payment.pk)
    earlier = GatewayRequest.objects.filter(key=key, answer=GatewayRequest.Answer.UNAVAILABLE)
    if earlier.count() < outages(order.number):
        _answer(key, GatewayRequest.Answer.UNAVAILABLE)
        raise GatewayUnavailable
    if order.card == DECLINED_CARD:
        _answer(key, GatewayRequest.Answer.DECLINED)
        return Receipt(accepted=False)
    return Receipt(accepted=True, payment_id=_take_money(key, order).pk)


def _take_money(key: str, order: Order) -> Payment:
    answers = GatewayRequest.Answer
    with transaction.atomic():
        payment, is_new = Payment.objects.get_or_create(
            key=key, defaults={"order": order, "amount_cents": order.total_cents}
        )
        _answer(key, answers.ACCEPTED if is_new else answers.REPEATED)
    time.sleep(SECONDS_TO_CONFIRM_SLOWLY if is_slow(order.number) else SECONDS_TO_CONFIRM)
    return payment


def _answer(key: str, answer: GatewayRequest.Answer) -> None:
    GatewayRequest.objects.create(key=key, answer=answer)
