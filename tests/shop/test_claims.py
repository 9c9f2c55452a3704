"""A claim that cannot fail proves nothing: each one here is made false."""

import signal
from collections.abc import Callable
from uuid import UUID

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from testproject.shop.demo.books import Books, Deeds
from testproject.shop.demo.cancels import Cancel, Door, Refusal, SecondCancel, When, cancel_pending
from testproject.shop.demo.claims import all_claims
from testproject.shop.demo.crash import Crash
from testproject.shop.demo.tables import Marks, report, verdict
from testproject.shop.models import BodyStart, GatewayRequest, Order, Payment, Shipment, StockItem
from testproject.shop.workflows import start_fulfilment

INTERRUPTED = 1002
# Plain, interrupted, flaky, engraved, of the reseller, declined, and three to cancel.
SOME = (1001, INTERRUPTED, 1020, 1023, 1041, 1047, 1051, 1052, 1053)


@pytest.fixture
def deeds(
    orders: dict[int, Order],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Deeds:
    """Fulfil orders in this process, as if a worker had died in the middle of one charge."""
    Order.objects.exclude(pk__in=SOME).delete()
    some = [orders[number] for number in SOME]
    stocked = dict(StockItem.objects.values_list("pk", "on_hand"))
    # Canceled in its sleep, which must outlast a slow machine's work on the others.
    Order.objects.filter(pk=some[0].pk).update(service=Order.Service.SAVER)
    with django_capture_on_commit_callbacks(execute=True):
        start_fulfilment(some)
        cancels = cancel_in_process(some)
        for _ in range(4):
            run_until_idle()
            advance("15s")
    run = orders[INTERRUPTED].run_id
    assert run
    crash = pretend_crash(run)
    late = WorkflowRun.objects.completed().order_by("pk")[0].pk
    return Deeds(
        stocked=stocked,
        crash=crash,
        cancels=cancels,
        refusal=Refusal(
            run=late, message=f"Cannot cancel workflow run {late} with status completed"
        ),
        second_cancel=SecondCancel(
            run=run, before=("first", None), after=("first", None), complaint=""
        ),
        result_of_canceled="Workflow fulfil-order was canceled",
        pids=[1],
        exit_codes=[0],
    )


def cancel_in_process(orders: list[Order]) -> list[Cancel]:
    pending = cancel_pending(orders)
    cancels = [next(pending), next(pending)]
    run = orders[0].run_id
    assert run
    run_until_idle()
    WorkflowRun.objects.cancel(run, reason="asleep")
    return [*cancels, Cancel(when=When.SLEEPING, door=Door.HANDLE, reason="asleep", runs=[run])]


def pretend_crash(run: UUID) -> Crash:
    attempt = StepAttempt.objects.get(workflow_run=run, step_name="charge")
    StepAttempt.objects.filter(pk=attempt.pk).update(interruptions=1)
    WorkflowRun.objects.filter(pk=run).update(takeovers=1)
    BodyStart.objects.create(run_id=run, step="charge", process=2)
    GatewayRequest.objects.create(key=f"{run}:charge", answer=GatewayRequest.Answer.REPEATED)
    return Crash(
        pid=2,
        exit_code=-signal.SIGKILL,
        runs={run},
        in_flight={attempt.pk: "charge"},
        charged={run},
    )


def false_claims(deeds: Deeds) -> list[str]:
    claims = all_claims(Books.read(), deeds)
    return [claim.text for _, some in claims for claim in some if not claim.holds]


# Nobody was canceled in a step: that takes a second process, as in the demo itself.
MID_STEP = (
    "0 of 0 runs canceled in the middle of a step: its outcome was kept, nothing began after it"
)


def test_what_is_true_is_claimed(deeds: Deeds) -> None:
    assert false_claims(deeds) == [MID_STEP]


def charge_again() -> None:
    order = Order.objects.filter(status=Order.Status.SHIPPED)[0]
    Payment.objects.create(key="again", order=order, amount_cents=order.total_cents)


def charge_canceled() -> None:
    order = Order.objects.filter(status=Order.Status.CANCELED)[0]
    Payment.objects.create(key="again", order=order, amount_cents=order.total_cents)


def ship_again() -> None:
    order = Order.objects.filter(status=Order.Status.SHIPPED)[0]
    Shipment.objects.create(order=order, tracking_number="PX")


def execute_again() -> None:
    run = WorkflowRun.objects.completed().exclude(takeovers=1)[0]
    BodyStart.objects.create(run_id=run.pk, step="ship", process=1)


def execute_canceled() -> None:
    run = WorkflowRun.objects.canceled()[0]
    BodyStart.objects.create(run_id=run.pk, step="ship", process=1)


def forget_reservation() -> None:
    StockItem.objects.filter(pk="MUG-WHT").update(reserved=1)


def forget_reason() -> None:
    WorkflowRun.objects.canceled().update(cancel_reason="")


def forget_takeover() -> None:
    WorkflowRun.objects.update(takeovers=0)


def forget_interruption() -> None:
    StepAttempt.objects.update(interruptions=0)


def forget_repetition() -> None:
    GatewayRequest.objects.filter(answer=GatewayRequest.Answer.REPEATED).delete()


def forget_outage() -> None:
    GatewayRequest.objects.filter(answer=GatewayRequest.Answer.UNAVAILABLE)[0].delete()


def delete_run() -> None:
    WorkflowRun.objects.completed().order_by("-pk")[0].delete()


def forget_run() -> None:
    Order.objects.filter(status=Order.Status.CANCELED).update(run_id=None)


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (charge_again, "Every shipped order was charged exactly once"),
        (charge_canceled, "other orders was charged"),
        (ship_again, "each has one parcel"),
        (execute_again, "executed exactly once"),
        (execute_again, "No replay executed a saved step again"),
        (execute_canceled, "canceled while"),
        (forget_reservation, "nothing is reserved any more"),
        (forget_reason, "each names its reason"),
        (forget_takeover, "Other workers took over 0 of its 1 runs"),
        (forget_interruption, "resumed in their own rows: 0 of 1"),
        (forget_repetition, "asked for again: 0"),
        (forget_outage, "The gateway was out of order"),
        (delete_run, "have one run"),
        (forget_run, "have one run"),
    ],
)
def test_what_is_false_is_said(deeds: Deeds, spoil: Callable[[], None], claim: str) -> None:
    spoil()
    assert any(claim in text for text in false_claims(deeds))


def test_the_report_marks_what_is_false(deeds: Deeds) -> None:
    books = Books.read()
    claims = all_claims(books, deeds)
    lines = list(report(books, deeds, claims, Marks.that_fit("utf-8")))
    assert f"    ✘ {MID_STEP}" in lines
    every = [claim for _, some in claims for claim in some]
    assert sum(line.startswith("    ✔") for line in lines) == len(every) - 1
    assert verdict(every, 3.2) == f"1 of {len(every)} claims do NOT hold, after 3 seconds."


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "no such encoding", None])
def test_a_poor_encoding_gets_words_for_signs(encoding: str | None, deeds: Deeds) -> None:
    books = Books.read()
    marks = Marks.that_fit(encoding)
    assert marks == Marks("ok  ", "FALSE")
    assert "\n".join(report(books, deeds, all_claims(books, deeds), marks)).isascii()
