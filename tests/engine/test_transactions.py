"""Steps and the transactions of user code: refused where they would lie, cleaned up where left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction

from django_openworkflow import RetryPolicy, RunHandle, Step, workflow
from django_openworkflow.exceptions import StepCallRefused, StepFailed
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, step_names, tick

ONCE = RetryPolicy(maximum_attempts=1)


def add_group(name: str = "written") -> None:
    """Write something of the user's own."""
    Group.objects.create(name=name)


# --- a step where it cannot be durable ----------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["run", "sleep"])
def test_a_step_inside_the_body_of_a_step_is_refused(kind: str) -> None:
    calls: list[int] = []

    @workflow("nesting")
    def nesting(step: Step) -> None:
        def outer() -> None:
            if kind == "run":
                step.run("inner", calls.append, 1)
            step.sleep("inner", "1h")

        step.run("outer", outer, retry_policy=ONCE)

    handle = nesting.start()
    run_until_idle()

    assert (handle.status, calls) == ("failed", [])
    assert handle.run.error["name"] == "StepCallRefused"
    assert handle.run.error["message"] == (
        'Step "inner" was called inside the body of step "outer"'
    )
    assert step_names(handle) == ["outer"]


@pytest.mark.django_db
def test_a_refused_nested_step_leaves_the_steps_after_it_intact() -> None:
    @workflow("nesting")
    def nesting(step: Step) -> str:
        def outer() -> str:
            with pytest.raises(StepCallRefused):
                step.run("inner", lambda: None)
            return "outer"

        return step.run("outer", outer) + step.run("inner", lambda: "inner")

    handle = nesting.start()
    run_until_idle()

    assert handle.result(timeout=0) == "outerinner"
    assert step_names(handle) == ["outer", "inner"]


@pytest.mark.django_db
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", ["run", "sleep"])
def test_a_step_inside_a_transaction_is_refused(kind: str, depth: int) -> None:
    @workflow("wrapping")
    def wrapping(step: Step) -> None:
        with transaction.atomic(), transaction.atomic(savepoint=depth > 1):
            add_group()
            if kind == "run":
                step.run("inside", lambda: None)
            step.sleep("inside", "1h")

    handle = wrapping.start()
    run_until_idle()

    assert handle.run.error["name"] == "StepCallRefused"
    assert handle.run.error["message"] == (
        'Step "inside" was called inside a transaction on database "default": '
        "what it saves would not be undone with it"
    )
    assert attempts_of(handle) == []
    assert not Group.objects.exists()


@pytest.mark.django_db
def test_after_a_refused_step_the_next_one_outside_of_the_transaction_works() -> None:
    @workflow("wrapping")
    def wrapping(step: Step) -> str:
        with pytest.raises(StepCallRefused), transaction.atomic():
            step.run("inside", lambda: None)
        return step.run("inside", lambda: "done")

    handle = wrapping.start()
    run_until_idle()

    assert handle.result(timeout=0) == "done"
    assert step_names(handle) == ["inside"]


@pytest.mark.django_db
def test_a_body_may_have_transactions_of_its_own() -> None:
    @workflow("proper")
    def proper(step: Step) -> None:
        step.run("write", transaction.atomic(add_group))

    handle = proper.start()
    run_until_idle()

    assert handle.status == "completed"
    assert Group.objects.count() == 1


# --- what a body leaves behind ------------------------------------------------------------------


def leave_atomic_open() -> None:
    """Write inside a block that never ends."""
    transaction.atomic().__enter__()
    add_group("lost")


def leave_nested_atomic_open() -> None:
    """Write inside two blocks that never end."""
    transaction.atomic().__enter__()
    leave_atomic_open()


def leave_autocommit_off() -> None:
    """Write in a transaction of the driver's, never committed."""
    transaction.set_autocommit(False)
    add_group("lost")


LEAVERS = [leave_atomic_open, leave_nested_atomic_open, leave_autocommit_off]


def careful_start(body: Callable[[], None]) -> RunHandle[Any]:
    """Start a workflow that goes on after its first step has failed."""

    @workflow("careful")
    def careful(step: Step) -> str:
        try:
            step.run("leave", body, retry_policy=ONCE)
        except StepFailed:
            step.run("write", add_group, "kept")
        step.sleep("pause", "1h")
        return "done"

    return careful.start()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", LEAVERS, ids=lambda body: body.__name__)
def test_what_a_body_left_open_is_rolled_back_and_the_next_step_has_a_healthy_connection(
    body: Callable[[], None],
) -> None:
    handle = careful_start(body)
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "done"
    assert attempts_of(handle)[0].error["message"] == (
        'Step "leave" left a transaction open on database "default"; it was rolled back'
    )
    assert list(Group.objects.values_list("name", flat=True)) == ["kept"]
    assert transaction.get_autocommit()
    assert not connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
def test_a_body_that_raises_with_a_transaction_open_keeps_its_own_error() -> None:
    def leave_and_raise() -> None:
        leave_atomic_open()
        raise KeyError

    handle = careful_start(leave_and_raise)
    run_until_idle()

    assert attempts_of(handle)[0].error["name"] == "KeyError"
    assert list(Group.objects.values_list("name", flat=True)) == ["kept"]


@pytest.mark.django_db(transaction=True)
def test_a_body_that_swallows_an_integrity_error_does_not_poison_the_next_step() -> None:
    add_group("taken")

    def swallow() -> str:
        with transaction.atomic():
            try:
                add_group("taken")
            except IntegrityError:
                return "swallowed"
        return "never"

    @workflow("swallowing")
    def swallowing(step: Step) -> str:
        text = step.run("swallow", swallow)
        step.run("write", add_group, "kept")
        return text

    handle = swallowing.start()
    run_until_idle()

    assert handle.result(timeout=0) == "swallowed"
    assert set(Group.objects.values_list("name", flat=True)) == {"taken", "kept"}


@pytest.mark.django_db(transaction=True)
def test_a_database_error_of_a_body_is_the_bodys_own_error() -> None:
    add_group("taken")

    @workflow("colliding")
    def colliding(step: Step) -> None:
        step.run("write", add_group, "taken", retry_policy=ONCE)

    handle = colliding.start()
    run_until_idle()

    assert handle.run.error["name"] == "IntegrityError"


@pytest.mark.django_db
def test_inside_a_test_case_only_the_bodys_own_transaction_is_rolled_back() -> None:
    add_group("of the test")
    handle = careful_start(leave_atomic_open)
    run_until_idle()

    assert set(Group.objects.values_list("name", flat=True)) == {"of the test", "kept"}
    assert attempts_of(handle)[0].error["name"] == "StepCallRefused"
