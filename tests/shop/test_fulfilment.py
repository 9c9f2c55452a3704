import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from testproject.shop import fulfilment
from testproject.shop.models import BodyStart, GatewayRequest, Order, Payment, Shipment, StockItem
from testproject.shop.workflows import COOLING_OFF, start_fulfilment

PLAIN, SAVER, ENGRAVED, FLAKY, DECLINED = 1002, 1006, 1003, 1020, 1047
STEPS = ["validate", "reserve", "pack", "charge", "ship", "notify"]


def stock_of(order: Order) -> tuple[int, int]:
    item = StockItem.objects.get(pk=order.item_id)
    return item.on_hand, item.reserved


def steps_begun() -> list[str]:
    return [start.step for start in BodyStart.objects.order_by("pk")]


def fulfil() -> None:
    """Execute until nothing is left to be done, however long the run sleeps."""
    for _ in range(4):
        run_until_idle()
        advance("15s")


def test_an_order_is_packed_charged_and_shipped(orders: dict[int, Order]) -> None:
    order = orders[PLAIN]
    before, _ = stock_of(order)
    handle = start_fulfilment([order])[0]
    fulfil()
    shipment = Shipment.objects.get(order=order)
    payment = Payment.objects.get(order=order)
    assert handle.result(timeout=0) == {
        "order": PLAIN,
        "payment": payment.pk,
        "tracking": shipment.tracking_number,
    }
    order.refresh_from_db()
    assert (order.status, order.run_id) == (Order.Status.SHIPPED, handle.id)
    assert order.notified_at is not None
    assert payment.key == f"{handle.id}:charge"
    assert stock_of(order) == (before - order.quantity, 0)
    assert steps_begun() == STEPS


def test_nothing_is_charged_before_the_cooling_off_is_over(
    orders: dict[int, Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COOLING_OFF, Order.Service.SAVER, "1h")
    start_fulfilment([orders[SAVER]])
    run_until_idle()
    advance("59m")
    run_until_idle()
    assert not Payment.objects.exists()
    assert stock_of(orders[SAVER])[1] == orders[SAVER].quantity
    advance("1m")
    run_until_idle()
    assert Payment.objects.count() == 1


def test_every_service_has_its_cooling_off() -> None:
    assert COOLING_OFF.keys() == set(Order.Service)


def test_an_outage_of_the_gateway_is_tried_again(orders: dict[int, Order]) -> None:
    handle = start_fulfilment([orders[FLAKY]])[0]
    fulfil()
    charges = StepAttempt.objects.filter(workflow_run=handle.id, step_name="charge").in_order()
    assert [attempt.status for attempt in charges] == ["failed", "failed", "completed"]
    assert Payment.objects.count() == 1


def test_a_charge_whose_answer_is_lost_is_asked_for_again_and_paid_once(
    orders: dict[int, Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_line(_seconds: float) -> None:
        monkeypatch.undo()
        raise ConnectionResetError

    handle = start_fulfilment([orders[PLAIN]])[0]
    run_until_idle()
    advance("15s")
    monkeypatch.setattr("testproject.shop.gateway.time.sleep", lose_the_line)
    fulfil()
    assert handle.status == "completed"
    assert Payment.objects.count() == 1
    answers = GatewayRequest.objects.order_by("pk").values_list("answer", flat=True)
    assert list(answers) == ["accepted", "repeated"]


def test_a_declined_card_fails_the_run_and_gives_the_goods_back_without_any_receiver(
    orders: dict[int, Order],
) -> None:
    """Callbacks of commits are not called here, as if the worker died before each of them."""
    order = orders[DECLINED]
    before = stock_of(order)
    handle = start_fulfilment([order])[0]
    fulfil()
    with pytest.raises(
        WorkflowFailed, match="PaymentDeclined: The card of order 1047 was declined"
    ):
        handle.result(timeout=0)
    order.refresh_from_db()
    assert (order.status, stock_of(order)) == (Order.Status.FAILED, before)


def test_a_cancel_gives_the_goods_back(
    orders: dict[int, Order],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    order = orders[SAVER]
    before = stock_of(order)
    handle = start_fulfilment([order])[0]
    run_until_idle()
    assert stock_of(order) == (before[0], order.quantity)
    with django_capture_on_commit_callbacks(execute=True):
        handle.cancel(reason="changed her mind")
    fulfil()
    order.refresh_from_db()
    assert (order.status, stock_of(order)) == (Order.Status.CANCELED, before)
    assert not Payment.objects.exists()


def test_releasing_twice_gives_back_once(orders: dict[int, Order]) -> None:
    order, other = orders[SAVER], orders[FLAKY]
    StockItem.objects.filter(pk=order.item_id).update(reserved=10)
    start_fulfilment([order, other])
    Order.objects.filter(pk=order.pk).update(status=Order.Status.RESERVED)
    assert order.run_id
    for _ in range(2):
        fulfilment.release(order.run_id, Order.Status.CANCELED)
    assert stock_of(order)[1] == 10 - order.quantity


def test_a_shipped_order_stays_shipped(orders: dict[int, Order]) -> None:
    start_fulfilment([orders[PLAIN]])
    fulfil()
    run_id = orders[PLAIN].run_id
    assert run_id
    fulfilment.release(run_id, Order.Status.CANCELED)
    assert Order.objects.get(pk=PLAIN).status == Order.Status.SHIPPED


def test_engraving_stops_when_the_run_is_canceled(
    orders: dict[int, Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Canceled:
        cancel_requested = True

    facts = fulfilment.OrderFacts(
        number=ENGRAVED, sku="PEN-FTN", quantity=1, service="saver", engraving="For Mia"
    )
    body = fulfilment.pack.__wrapped__  # type: ignore[attr-defined]
    with pytest.raises(fulfilment.EngravingStopped, match="after 0 of 7 letters"):
        body(Canceled, facts)


def test_an_order_beyond_the_stock_is_refused(orders: dict[int, Order]) -> None:
    order = orders[PLAIN]
    StockItem.objects.filter(pk=order.item_id).update(on_hand=0)
    handle = start_fulfilment([order])[0]
    run_until_idle()
    attempt = StepAttempt.objects.get(workflow_run=handle.id, step_name="reserve")
    assert attempt.error["message"] == f"Not enough {order.item_id} in stock for order {PLAIN}"
    for _ in range(15):
        advance("100s")
        run_until_idle()
    assert (handle.status, steps_begun()[-1]) == ("failed", "unreserve")
    assert Order.objects.get(pk=PLAIN).status == Order.Status.FAILED


def test_an_order_that_does_not_add_up_is_refused(orders: dict[int, Order]) -> None:
    order = orders[PLAIN]
    Order.objects.filter(pk=PLAIN).update(total_cents=1)
    handle = start_fulfilment([order])[0]
    run_until_idle()
    attempt = StepAttempt.objects.get(workflow_run=handle.id)
    assert attempt.error["message"] == "The total of order 1002 is not its quantity times the price"


def test_bodies_can_be_executed_again(
    orders: dict[int, Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the body and the saving of its result."""
    order = orders[PLAIN]
    for name in ("reserve", "charge", "ship", "notify"):
        body = getattr(fulfilment, name)

        def twice(step: object, facts: object, body: object = body) -> object:
            assert callable(body)
            body(step, facts)
            return body(step, facts)

        monkeypatch.setattr(f"testproject.shop.workflows.{name}", twice)
    before, _ = stock_of(order)
    start_fulfilment([order])
    fulfil()
    assert stock_of(order) == (before - order.quantity, 0)
    assert (Payment.objects.count(), Shipment.objects.count()) == (1, 1)


def test_express_orders_come_first_and_handles_in_order(orders: dict[int, Order]) -> None:
    handles = start_fulfilment(list(orders.values()))
    assert [handle.id for handle in handles] == [order.run_id for order in orders.values()]
    first = WorkflowRun.objects.order_by("-priority", "available_at").first()
    assert first
    assert Order.objects.get(run_id=first.pk).service == Order.Service.EXPRESS
