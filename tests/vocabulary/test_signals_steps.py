"""Signals sent by runs, by bodies of steps, and waits side by side with other steps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db.models import F

from django_openworkflow import AsyncStep, RetryPolicy, Step, send_signal, workflow
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, noting, raiser, step_names, tick
from tests.factories import SignalDeliveryFactory, StepAttemptFactory, WorkflowRunFactory
from tests.vocabulary.test_signals import due_at

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)


# --- step.send_signal ---------------------------------------------------------------------------


def test_a_send_is_a_step_with_the_ids_of_the_receivers_as_its_output() -> None:
    @workflow("waiting")
    def waiting(step: Step) -> Any:
        payload = step.wait_for_signal("go")
        return payload and payload.data

    @workflow("sending")
    def sending(step: Step) -> list[str]:
        ids = step.send_signal("go", {"n": 1})
        step.sleep("pause", "1h")
        return ids

    receiver = waiting.start()
    run_until_idle()
    sender = sending.start()
    run_until_idle()
    late = waiting.start()
    tick("1h")

    ids = [str(receiver.id)]
    attempt = attempts_of(sender)[0]
    assert (attempt.step_name, attempt.kind, attempt.status) == ("go", "signal-send", "completed")
    assert (attempt.context, attempt.output) == (None, {"workflowRunIds": ids})
    assert sender.result(timeout=0) == ids
    assert receiver.result(timeout=0) == {"n": 1}
    assert late.status == "running"  # the replay has sent nothing
    (delivery,) = SignalDelivery.objects.all()
    assert delivery.sender_idempotency_key == f"__signal:{sender.id}:go"


def test_sends_of_one_run_have_a_name_and_a_key_each() -> None:
    @workflow("counting")
    def counting(step: Step) -> list[Any]:
        payloads = [step.wait_for_signal("count", timeout="1h") for _ in range(3)]
        return [payload and payload.data for payload in payloads]

    @workflow("sending")
    def sending(step: Step) -> None:
        for number in range(3):
            step.send_signal("count", number, name=None if number < 2 else "last")
            step.sleep("pause", "1m")

    receiver = counting.start()
    run_until_idle()
    sender = sending.start()
    for _ in range(3):
        tick("1m")

    assert receiver.result(timeout=0) == [0, 1, 2]
    assert step_names(sender)[::2] == ["count", "count:1", "last"]
    keys = SignalDelivery.objects.values_list("sender_idempotency_key", flat=True)
    assert set(keys) == {f"__signal:{sender.id}:{name}" for name in ("count", "count:1", "last")}


def test_a_send_that_nobody_receives_is_a_completed_step_all_the_same() -> None:
    @workflow("sending")
    def sending(step: Step) -> list[str]:
        return step.send_signal("nobody")

    handle = sending.start()
    run_until_idle()

    assert handle.result(timeout=0) == []
    assert attempts_of(handle)[0].output == {"workflowRunIds": []}
    assert not SignalDelivery.objects.exists()


def test_a_run_can_send_to_its_own_next_wait_only_after_it_has_begun() -> None:
    @workflow("selfish")
    async def selfish(step: AsyncStep) -> list[Any]:
        early = await step.send_signal("me", 1, name="early")
        wait = asyncio.ensure_future(step.wait_for_signal("me"))
        await step.run("gap", lambda: None)
        late = await step.send_signal("me", 2, name="late")
        payload = await wait
        return [early, late, payload and payload.data]

    handle = selfish.start()
    run_until_idle()

    assert handle.result(timeout=0) == [[], [str(handle.id)], 2]


def interrupted_send(*, delivered: bool) -> tuple[WorkflowRun, WorkflowRun]:
    """Return a sender that another client left in its send, and who received that signal."""
    sender = WorkflowRunFactory.create(workflow_name="sending")
    StepAttemptFactory.create(workflow_run=sender, step_name="go", kind="signal-send")
    receiver = WorkflowRunFactory.create(parked=True)
    wait = StepAttemptFactory.create(
        workflow_run=receiver,
        signal_wait=True,
        context={"kind": "signal-wait", "signal": "go", "timeoutAt": "2999-01-01T00:00:00.000Z"},
    )
    if delivered:
        SignalDeliveryFactory.create(
            step_attempt=wait, signal="go", sender_idempotency_key=f"__signal:{sender.pk}:go"
        )
    return sender, receiver


@pytest.mark.parametrize("delivered", [True, False])
def test_a_send_that_was_interrupted_is_finished_and_not_made_twice(*, delivered: bool) -> None:
    """The original delivers first and completes the step in another transaction."""

    @workflow("sending")
    def sending(step: Step) -> list[str]:
        return step.send_signal("go")

    sender, receiver = interrupted_send(delivered=delivered)
    ids = [str(receiver.pk)]
    if delivered:  # somebody who began to wait since must not get the same signal again
        StepAttemptFactory.create(
            workflow_run=WorkflowRunFactory.create(parked=True),
            signal_wait=True,
            context={
                "kind": "signal-wait",
                "signal": "go",
                "timeoutAt": "2999-01-01T00:00:00.000Z",
            },
        )
    run_until_idle()
    sender.refresh_from_db()

    assert sender.output == ids
    assert SignalDelivery.objects.count() == 1
    (attempt,) = StepAttempt.objects.filter(workflow_run=sender)
    assert (attempt.status, attempt.output) == ("completed", {"workflowRunIds": ids})


# --- send_signal in a body ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "transaction"])
def test_the_plain_function_may_be_called_in_the_body_of_a_step(kind: str) -> None:
    @workflow("waiting")
    def waiting(step: Step) -> Any:
        payload = step.wait_for_signal("go")
        return payload and payload.data

    @workflow("sending")
    def sending(step: Step) -> list[str]:
        def body() -> list[str]:
            return [str(run_id) for run_id in send_signal("go", "hello")]

        return step.run("tell", body) if kind == "run" else step.transaction("tell", body)

    receiver = waiting.start()
    run_until_idle()
    sender = sending.start()
    run_until_idle()

    assert sender.result(timeout=0) == [str(receiver.id)]
    assert receiver.result(timeout=0) == "hello"


def test_a_transaction_step_that_fails_takes_back_the_signal_that_it_sent() -> None:
    @workflow("waiting")
    def waiting(step: Step) -> None:
        step.wait_for_signal("go")

    @workflow("sending")
    def sending(step: Step) -> None:
        def body() -> None:
            assert len(send_signal("go")) == 1
            raise KeyError

        step.transaction("tell", body, retry_policy=ONCE)

    receiver = waiting.start()
    run_until_idle()
    sender = sending.start()
    run_until_idle()

    assert (sender.status, receiver.status) == ("failed", "running")
    assert not SignalDelivery.objects.exists()
    assert run_until_idle() == 0


def test_the_step_of_a_run_cannot_be_called_in_a_body() -> None:
    @workflow("sending")
    def sending(step: Step) -> None:
        step.run("tell", step.send_signal, "go", retry_policy=ONCE)

    handle = sending.start()
    run_until_idle()

    assert handle.run.error["message"] == 'Step "go" was called inside the body of step "tell"'


# --- side by side -------------------------------------------------------------------------------


def test_one_address_cannot_be_waited_for_twice_at_a_time() -> None:
    @workflow("twice")
    async def twice(step: AsyncStep) -> None:
        await asyncio.gather(
            step.wait_for_signal("go", name="first"),
            step.wait_for_signal("go", name="second"),
        )

    handle = twice.start()
    run_until_idle()

    assert handle.run.error["message"] == ('Signal "go" is already being waited on by step "first"')
    assert step_names(handle) == ["first"]
    assert send_signal("go") == []


def test_one_address_cannot_be_waited_for_twice_in_a_later_pass_either() -> None:
    @workflow("twice")
    async def twice(step: AsyncStep) -> None:
        first = asyncio.ensure_future(step.wait_for_signal("go", name="first"))
        await step.sleep("pause", "1h")
        await step.wait_for_signal("go", name="second")
        await first

    handle = twice.start()
    run_until_idle()
    tick("1h")

    assert handle.run.error["message"] == ('Signal "go" is already being waited on by step "first"')


def test_the_address_is_free_again_in_the_very_pass_in_which_the_first_wait_ends() -> None:
    @workflow("twice")
    async def twice(step: AsyncStep) -> Any:
        async def both() -> list[Any]:
            first = await step.wait_for_signal("go", timeout="1h")
            second = await step.wait_for_signal("go", timeout="1h")
            return [first and first.data, second and second.data]

        return (await asyncio.gather(both(), step.sleep("nap", "5m")))[0]

    handle = twice.start()
    run_until_idle()
    send_signal("go", 1)
    run_until_idle()
    assert send_signal("go", 2) == [handle.id]
    run_until_idle()
    tick("5m")

    assert handle.result(timeout=0) == [1, 2]


def test_a_signal_does_not_shorten_the_back_off_of_a_step_beside_it() -> None:
    """A hundred signals must not become a hundred tries."""
    tries: list[int] = []
    policy = RetryPolicy(initial_interval="10m", maximum_attempts=3)

    @workflow("beside")
    async def beside(step: AsyncStep) -> Any:
        def flaky() -> str:
            tries.append(1)
            return "ok" if len(tries) > 1 else raiser(KeyError("not yet"))()

        async def listen() -> list[Any]:
            payloads = [await step.wait_for_signal("go", timeout="1h") for _ in range(2)]
            return [payload and payload.data for payload in payloads]

        return await asyncio.gather(step.run("flaky", flaky, retry_policy=policy), listen())

    handle = beside.start()
    run_until_idle()
    again_at = due_at(handle)
    assert handle.status == "pending"

    assert [send_signal("go", number) for number in range(100)] == [[handle.id], *[[]] * 99]
    assert run_until_idle() == 0
    assert (due_at(handle), len(tries)) == (again_at, 1)
    advance(again_at - database_now())
    run_until_idle()
    assert len(tries) == 2
    assert send_signal("go", "second") == [handle.id]
    run_until_idle()
    assert handle.result(timeout=0) == ["ok", [0, "second"]]


def test_a_wait_that_wakes_the_run_early_leaves_the_rest_of_a_back_off() -> None:
    tries: list[str] = []
    policy = RetryPolicy(initial_interval="10m", maximum_interval="1h", maximum_attempts=2)

    @workflow("beside")
    async def beside(step: AsyncStep) -> None:
        def failing() -> None:
            noting(tries, "try")()
            raise KeyError

        await asyncio.gather(
            step.run("failing", failing, retry_policy=policy),
            step.wait_for_signal("go", timeout="4m"),
        )

    handle = beside.start()
    run_until_idle()
    passes = tick("4m")
    run = handle.run

    assert (passes, len(tries), run.status, run.failures) == (1, 1, "pending", 0)
    failed_at = StepAttempt.objects.filter(status="failed").values_list(F("finished_at"), flat=True)
    assert (run.available_at - failed_at[0]).total_seconds() == pytest.approx(600, abs=30)
    tick("6m")
    assert (len(tries), handle.status) == (2, "failed")
