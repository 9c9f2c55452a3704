"""Transaction steps: the ORM writes of the body and its checkpoint, both or neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, transaction
from django.test import TestCase

from django_openworkflow import RetryPolicy, RunHandle, Step, workflow
from django_openworkflow.exceptions import StepFailed
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, step_names, tick

ONCE = RetryPolicy(maximum_attempts=1)

inside_a_test_case = pytest.mark.django_db
with_real_commits = pytest.mark.django_db(transaction=True)
either_way = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("test case", marks=inside_a_test_case),
        pytest.param("commits", marks=with_real_commits),
    ],
)


def add_group(name: str = "written") -> str:
    """Write something of the user's own."""
    return Group.objects.create(name=name).name


def groups() -> list[str]:
    return list(Group.objects.order_by("name").values_list("name", flat=True))


def start(body: Callable[[], Any], **options: Any) -> RunHandle[Any]:
    """Run a workflow whose one step is a transaction, until it is idle."""

    @workflow("transacting")
    def transacting(step: Step) -> Any:
        result = step.transaction("write", body, **options)
        step.sleep("pause", "1h")
        return result

    handle = transacting.start()
    run_until_idle()
    return handle


def failure(handle: RunHandle[Any]) -> tuple[str, str, str]:
    """Return how the one attempt and the run ended, and the name of the error they share."""
    (attempt,) = attempts_of(handle)
    run = handle.run
    assert attempt.error == run.error
    return attempt.status, run.status, attempt.error["name"]


# --- both or neither ----------------------------------------------------------------------------


@either_way
def test_writes_and_checkpoint_are_there_together(kind: str) -> None:
    handle = start(add_group)

    (attempt, _) = attempts_of(handle)
    assert (attempt.step_name, attempt.kind) == ("write", "function")
    assert (attempt.status, attempt.output, attempt.context) == ("completed", "written", None)
    assert attempt.finished_at is not None
    tick("1h")
    assert handle.result(timeout=0) == "written"
    assert groups() == ["written"]


@either_way
def test_a_body_that_raises_takes_its_writes_back(kind: str) -> None:
    def body() -> None:
        add_group()
        raise KeyError

    handle = start(body, retry_policy=ONCE)

    assert failure(handle) == ("failed", "failed", "KeyError")
    assert groups() == []


@either_way
def test_a_body_is_tried_again_from_the_start_and_its_writes_count_once(kind: str) -> None:
    tries: list[int] = []

    def body() -> int:
        add_group()
        tries.append(len(groups()))
        if len(tries) < 3:
            raise KeyError(len(tries))
        return len(tries)

    handle = start(body)
    for _ in range(3):
        tick("10s")

    assert tries == [1, 1, 1]  # each try found the table as it was
    assert [each.status for each in attempts_of(handle)][:3] == ["failed", "failed", "completed"]
    assert groups() == ["written"]


@either_way
def test_what_cannot_be_stored_takes_the_writes_back_and_is_not_tried_again(kind: str) -> None:
    def body() -> object:
        add_group()
        return object()

    handle = start(body)

    assert failure(handle) == ("failed", "failed", "InvalidPayload")
    assert groups() == []


@either_way
def test_an_integrity_error_is_the_bodys_own_and_the_next_step_is_not_poisoned(kind: str) -> None:
    add_group("taken")

    @workflow("colliding")
    def colliding(step: Step) -> str:
        try:
            step.transaction("write", add_group, "taken", retry_policy=ONCE)
        except StepFailed as error:
            return step.transaction("again", add_group, error.error["name"])
        return "never"

    handle = colliding.start()
    run_until_idle()

    assert handle.result(timeout=0) == IntegrityError.__name__
    assert [(each.step_name, each.status) for each in attempts_of(handle)] == [
        ("write", "failed"),
        ("again", "completed"),
    ]
    assert groups() == ["IntegrityError", "taken"]


@with_real_commits
def test_a_constraint_that_is_checked_at_the_commit_is_the_bodys_own_too() -> None:
    """By then the checkpoint has been written: it is rolled back with the rest."""

    def body() -> str:
        add_group()
        Permission.objects.create(name="orphan", codename="orphan", content_type_id=2**30)
        return "never"

    handle = start(body, retry_policy=ONCE)

    assert failure(handle) == ("failed", "failed", "IntegrityError")
    assert attempts_of(handle)[0].output is None
    assert groups() == []


@either_way
def test_a_swallowed_database_error_does_not_pass_for_a_success(kind: str) -> None:
    add_group("taken")

    def body() -> str:
        add_group("lost")
        try:
            add_group("taken")
        except IntegrityError:
            return "all is well"
        return "never"

    handle = start(body, retry_policy=ONCE)

    assert failure(handle) == ("failed", "failed", "TransactionManagementError")
    assert groups() == ["taken"]


@either_way
def test_a_body_that_marks_its_transaction_for_rollback_does_not_complete(kind: str) -> None:
    def body() -> None:
        add_group()
        transaction.set_rollback(True)

    handle = start(body, retry_policy=ONCE)

    assert failure(handle) == ("failed", "failed", "TransactionManagementError")
    assert groups() == []


@either_way
def test_transactions_inside_are_savepoints(kind: str) -> None:
    def body() -> str:
        add_group("outer")
        with transaction.atomic():
            add_group("kept")
        try:
            with transaction.atomic():
                add_group("undone")
                raise KeyError
        except KeyError:
            return add_group("last")

    handle = start(body)

    assert attempts_of(handle)[0].output == "last"
    assert groups() == ["kept", "last", "outer"]


@either_way
def test_a_run_started_in_a_body_that_fails_never_was(kind: str) -> None:
    @workflow("other")
    def other(step: Step) -> None:
        """Do nothing."""

    def body() -> None:
        other.start()
        raise KeyError

    start(body, retry_policy=ONCE)

    assert [run.workflow_name for run in WorkflowRun.objects.all()] == ["transacting"]


# --- replays ------------------------------------------------------------------------------------


@either_way
def test_a_replay_returns_what_was_stored(kind: str) -> None:
    calls: list[int] = []
    seen: list[Any] = []

    def body() -> dict[str, Any]:
        calls.append(1)
        return {"pair": (1, 2)}

    @workflow("replaying")
    def replaying(step: Step) -> None:
        seen.append(step.transaction("write", body))
        step.sleep("pause", "1h")

    replaying.start()
    run_until_idle()
    tick("1h")

    assert seen == [{"pair": [1, 2]}] * 2
    assert calls == [1]


# --- refused ------------------------------------------------------------------------------------


@either_way
@pytest.mark.parametrize("place", ["in a body", "in a transaction step", "in a transaction"])
def test_a_transaction_step_where_it_could_not_be_durable_is_refused(kind: str, place: str) -> None:
    @workflow("nesting")
    def nesting(step: Step) -> None:
        def inner() -> None:
            step.transaction("inner", add_group)

        if place == "in a body":
            step.run("outer", inner, retry_policy=ONCE)
        elif place == "in a transaction step":
            step.transaction("outer", inner, retry_policy=ONCE)
        with transaction.atomic():
            inner()

    handle = nesting.start()
    run_until_idle()

    assert handle.run.error["name"] == "StepCallRefused"
    assert "inner" not in step_names(handle)
    assert groups() == []


@either_way
def test_a_cancel_of_its_own_run_in_the_body_is_not_lost(kind: str) -> None:
    """The body was told that the run is canceled."""

    @workflow("giving-up")
    def giving_up(step: Step) -> None:
        def body() -> None:
            WorkflowRun.objects.cancel(step.info.id, reason="gave up")

        step.transaction("write", body)
        step.run("later", add_group, "later")

    handle = giving_up.start()
    run_until_idle()

    assert (handle.status, handle.run.cancel_reason) == ("canceled", "gave up")
    assert groups() == []


# --- Django's own test case ---------------------------------------------------------------------


class InATestCase(TestCase):
    """What a project's own tests look like."""

    @classmethod
    def setUpTestData(cls) -> None:
        add_group("of the class")

    def test_a_transaction_step_is_part_of_the_tests_transaction(self) -> None:
        @workflow("reserving")
        def reserving(step: Step, name: str) -> str:
            return step.transaction("reserve", add_group, name)

        handle = reserving.start("of the run")
        run_until_idle()

        self.assertEqual(handle.result(timeout=0), "of the run")  # noqa: PT009 - as projects do
        self.assertEqual(groups(), ["of the class", "of the run"])  # noqa: PT009

    def test_nothing_is_left_of_the_other_test(self) -> None:
        self.assertEqual(groups(), ["of the class"])  # noqa: PT009
        self.assertFalse(WorkflowRun.objects.exists())  # noqa: PT009
