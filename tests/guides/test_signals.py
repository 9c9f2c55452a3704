"""The guide to signals."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from django_openworkflow import Step, Workflow, send_signal, workflow
from django_openworkflow.testing import run_until_idle
from tests.guides.playing import later, outcome, saved

pytestmark = pytest.mark.django_db


@pytest.fixture
def publish() -> Workflow[[int], Any]:
    @workflow("publish")
    def publish(step: Step, article: int) -> Any:
        payload = step.wait_for_signal(f"approval:{article}", timeout="3d")
        return "timeout" if payload is None else payload.data

    return publish


def test_a_waiting_run_goes_on_with_the_data_of_the_signal(publish: Workflow[[int], Any]) -> None:
    handle = publish.start(7)
    run_until_idle()

    assert send_signal("approval:7", {"by": "ann"}) == [handle.id]
    assert outcome(handle) == {"by": "ann"}
    assert saved(handle) == [("approval:7", "completed")]


def test_a_signal_without_data_is_no_timeout(publish: Workflow[[int], Any]) -> None:
    handle = publish.start(7)
    run_until_idle()
    send_signal("approval:7")

    assert outcome(handle) is None


def test_a_wait_that_is_over_returns_none(publish: Workflow[[int], Any]) -> None:
    handle = publish.start(7)
    run_until_idle()

    assert later(handle, "3d") == "timeout"


def test_a_signal_reaches_all_who_wait_for_its_address_and_nobody_else(
    publish: Workflow[[int], Any],
) -> None:
    first, second, other = publish.start(7), publish.start(7), publish.start(8)
    run_until_idle()

    assert set(send_signal("approval:7", "yes")) == {first.id, second.id}
    assert [outcome(first), outcome(second)] == ["yes", "yes"]
    assert other.status == "running"


def test_a_signal_that_nobody_waits_for_is_gone(publish: Workflow[[int], Any]) -> None:
    assert send_signal("approval:7", "early") == []
    handle = publish.start(7)
    run_until_idle()

    assert handle.status == "running"


def test_a_buffered_signal_is_kept_for_the_next_who_waits(publish: Workflow[[int], Any]) -> None:
    assert send_signal("approval:7", "early", buffered=True) == []
    first, second = publish.start(7), publish.start(7)
    run_until_idle()

    assert sorted([first.status, second.status]) == ["completed", "running"]


def test_a_key_sends_a_signal_once(publish: Workflow[[int], Any]) -> None:
    first = publish.start(7)
    run_until_idle()
    send_signal("approval:7", "yes", idempotency_key="form-1")
    second = publish.start(7)
    run_until_idle()

    assert send_signal("approval:7", "yes", idempotency_key="form-1") == [first.id]
    assert (first.status, second.status) == ("completed", "running")


def test_a_signal_of_a_rolled_back_transaction_was_never_sent(
    publish: Workflow[[int], Any],
) -> None:
    handle = publish.start(7)
    run_until_idle()
    with transaction.atomic():
        send_signal("approval:7")
        transaction.set_rollback(True)
    run_until_idle()

    assert handle.status == "running"


def test_a_workflow_sends_a_signal_as_a_step(publish: Workflow[[int], Any]) -> None:
    @workflow("approve")
    def approve(step: Step, article: int) -> list[str]:
        return step.send_signal(f"approval:{article}", "yes", name="tell")

    waiting = publish.start(7)
    run_until_idle()
    sending = approve.start(7)

    assert outcome(sending) == [str(waiting.id)]
    assert outcome(waiting) == "yes"
    assert saved(sending) == [("tell", "completed")]


def test_waits_follow_each_other_one_signal_each() -> None:
    @workflow("listen")
    def listen(step: Step) -> list[Any]:
        payloads = [step.wait_for_signal("word") for _ in range(2)]
        return [payload.data for payload in payloads if payload]

    handle = listen.start()
    for word in ("one", "two"):
        run_until_idle()
        send_signal("word", word)

    assert outcome(handle) == ["one", "two"]
    assert [name for name, _ in saved(handle)] == ["word", "word:1"]


def test_a_canceled_run_receives_nothing(publish: Workflow[[int], Any]) -> None:
    handle = publish.start(7)
    run_until_idle()
    handle.cancel()

    assert send_signal("approval:7") == []
