"""Starts: what is written, and what is refused before anything is."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from django_openworkflow import Step, Workflow, clock, workflow
from django_openworkflow.exceptions import InvalidInput, InvalidPayload
from django_openworkflow.models import WorkflowRun
from tests.workflows.orders import Orders, order


@pytest.mark.django_db
def test_a_started_run_is_pending_and_due_with_its_arguments_by_name(process_order: Orders) -> None:
    run = process_order.start(7, express=True).run

    assert (run.workflow_name, run.version, run.status) == ("process-order", None, "pending")
    assert run.input == {"express": True, "order_id": 7}
    assert (run.attempts, run.priority, run.queue) == (0, 0, "default")
    assert (run.worker_id, run.started_at, run.finished_at, run.error) == (None,) * 4
    assert run.available_at is not None
    assert run.available_at <= clock.read("default")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "stored"),
    [
        (order, (), {"order_id": None}, {"order_id": None}),
        (order, ((1, 2),), {}, {"order_id": [1, 2]}),
        (lambda step: None, (), {}, None),
        (lambda step, a=1: None, (), {}, None),
        (lambda step, a, /, b=2: None, (5,), {}, {"a": 5}),
        (lambda step, a=1, **rest: None, (), {"x": 1, "rest": 2}, {"x": 1, "rest": 2}),
    ],
)
def test_arguments_become_one_json_object(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], stored: Any
) -> None:
    started: Workflow[..., Any] = workflow("stored")(fn)

    assert started.start(*args, **kwargs).run.input == stored


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'order_id'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"order_id": 2}, "multiple values for argument 'order_id'"),
        ((1,), {"typo": 2}, "got an unexpected keyword argument 'typo'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    process_order: Orders, args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        process_order.start(*args, **kwargs)

    assert str(caught.value).startswith('Workflow "process-order" was started with wrong arguments')
    assert words in str(caught.value)
    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_argument_may_be_named_self() -> None:
    @workflow("myself")
    def myself(step: Step, self: int) -> None: ...

    handles = [
        myself.start(self=5),
        async_to_sync(partial(myself.astart, self=5))(),
        *myself.start_many([{"self": 5}]),
        myself.start_input({"self": 5}),
    ]
    assert [handle.run.input for handle in handles] == [{"self": 5}] * 4


@pytest.mark.django_db
def test_two_arguments_of_one_name_are_refused_instead_of_losing_one() -> None:
    def collecting(step: Step, a: int, /, **rest: int) -> None: ...

    started: Orders = workflow("collecting")(collecting)
    with pytest.raises(InvalidInput):
        started.start(1, a=2)

    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("value", [1j, float("nan"), {1: 2}, "\x00", 2**60], ids=repr)
def test_arguments_that_json_cannot_keep_are_refused_before_anything_is_written(
    process_order: Orders, value: Any
) -> None:
    with pytest.raises(InvalidPayload, match=r'^The input of workflow "process-order" cannot be s'):
        process_order.start(value)

    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "stored"),
    [({"order_id": 7}, {"order_id": 7}), (7, {"order_id": 7}), ([1], {"order_id": [1]})],
)
def test_one_json_value_starts_a_run_as_an_operator_types_it(
    process_order: Orders, value: Any, stored: Any
) -> None:
    assert process_order.start_input(value).run.input == stored


@pytest.mark.django_db
@pytest.mark.parametrize("value", [None, {}, {"typo": 1}], ids=repr)
def test_one_json_value_that_does_not_fit_is_refused(process_order: Orders, value: Any) -> None:
    with pytest.raises(InvalidInput):
        process_order.start_input(value)

    assert not WorkflowRun.objects.exists()
