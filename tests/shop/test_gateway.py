import pytest

from testproject.shop import gateway
from testproject.shop.models import GatewayRequest, Order, Payment


def answers(key: str) -> list[str]:
    requests = GatewayRequest.objects.filter(key=key).order_by("pk")
    return [request.answer for request in requests]


def test_a_key_is_charged_once_however_often_it_is_asked(orders: dict[int, Order]) -> None:
    order = orders[1002]
    first = gateway.charge("key", order)
    second = gateway.charge("key", order)
    assert first == second
    assert first.accepted
    payment = Payment.objects.get()
    assert (payment.pk, payment.order, payment.amount_cents) == (
        first.payment_id,
        order,
        order.total_cents,
    )
    assert answers("key") == ["accepted", "repeated"]


def test_another_key_is_another_payment(orders: dict[int, Order]) -> None:
    first = gateway.charge("one", orders[1002])
    assert gateway.charge("two", orders[1002]).payment_id != first.payment_id


@pytest.mark.parametrize(("number", "outages"), [(1001, 1), (1002, 0), (1020, 2)])
def test_the_first_requests_of_some_orders_fail(
    orders: dict[int, Order], number: int, outages: int
) -> None:
    assert gateway.outages(number) == outages
    for _ in range(outages):
        with pytest.raises(gateway.GatewayUnavailable):
            gateway.charge("key", orders[number])
    assert gateway.charge("key", orders[number]).accepted
    assert answers("key") == ["unavailable"] * outages + ["accepted"]


def test_a_declined_card_pays_nothing(orders: dict[int, Order]) -> None:
    assert orders[1047].card == gateway.DECLINED_CARD
    assert gateway.charge("key", orders[1047]) == gateway.Receipt(accepted=False)
    assert not Payment.objects.exists()
    assert answers("key") == ["declined"]


def test_a_crash_while_the_bank_confirms_leaves_the_payment(
    orders: dict[int, Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("testproject.shop.gateway.time.sleep", crash)
        with pytest.raises(KeyboardInterrupt):
            gateway.charge("key", orders[1002])
    assert gateway.charge("key", orders[1002]).payment_id == Payment.objects.get().pk
    assert answers("key") == ["accepted", "repeated"]
