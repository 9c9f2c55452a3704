"""The guide to idempotency."""

from __future__ import annotations

import pytest

from django_openworkflow import Step, Workflow, workflow
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.guides.playing import failing, later

pytestmark = pytest.mark.django_db


@pytest.fixture
def order() -> Workflow[[int], int]:
    @workflow("order")
    def order(step: Step, number: int) -> int:
        return number

    return order


def test_the_same_key_returns_the_same_run(order: Workflow[[int], int]) -> None:
    once = order.using(idempotency_key="order-7")

    assert once.start(7) == once.start(7)
    assert WorkflowRun.objects.count() == 1


def test_the_same_key_returns_the_run_even_when_it_has_ended_and_whatever_its_input(
    order: Workflow[[int], int],
) -> None:
    once = order.using(idempotency_key="order-7")
    first = once.start(7)
    first.cancel()

    assert once.start(8) == first
    assert first.run.input == {"number": 7}


def test_a_key_lasts_for_a_day(order: Workflow[[int], int]) -> None:
    once = order.using(idempotency_key="order-7")
    first = once.start(7)
    advance("23h")
    assert once.start(7) == first
    advance("1h")
    advance("1s")

    assert once.start(7) != first


def test_a_key_belongs_to_a_workflow(order: Workflow[[int], int]) -> None:
    other = workflow("other")(lambda step: None)

    first = order.using(idempotency_key="k").start(7)

    assert other.using(idempotency_key="k").start().id != first.id


def test_another_key_or_none_starts_another_run(order: Workflow[[int], int]) -> None:
    first = order.using(idempotency_key="a").start(7)

    assert order.using(idempotency_key="b").start(7) != first
    assert order.start(7) != order.start(7)


def test_many_runs_cannot_share_a_key(order: Workflow[[int], int]) -> None:
    with pytest.raises(InvalidInput, match="idempotency_key"):
        order.using(idempotency_key="k").start_many([{"number": 1}])


def test_a_body_that_runs_twice_starts_one_run_with_a_key(order: Workflow[[int], int]) -> None:
    attempt = failing(1, "done")

    @workflow("import")
    def importing(step: Step) -> str:
        def start() -> str:
            order.using(idempotency_key=f"{step.info.id}:order").start(7)
            return attempt()

        return step.run("start", start)

    handle = importing.start()
    run_until_idle()

    assert later(handle, "1s") == "done"
    assert WorkflowRun.objects.for_workflow("order").count() == 1


def test_a_transaction_step_that_runs_twice_starts_one_run_without_a_key(
    order: Workflow[[int], int],
) -> None:
    attempt = failing(1, "done")

    @workflow("import")
    def importing(step: Step) -> str:
        def start() -> str:
            order.start(7)
            return attempt()

        return step.transaction("start", start)

    handle = importing.start()
    run_until_idle()

    assert later(handle, "1s") == "done"
    assert WorkflowRun.objects.for_workflow("order").count() == 1
