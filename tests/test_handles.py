"""Handles: outputs, clear errors for every other end, and waits that end when they should."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

from django_openworkflow import RunHandle, Step, Workflow, workflow
from django_openworkflow.exceptions import (
    InvalidDuration,
    ResultTimeout,
    RunNotCancelable,
    RunNotFound,
    WorkflowCanceled,
    WorkflowFailed,
)
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.factories import WorkflowRunFactory

NOBODY = UUID(int=7)


@pytest.fixture
def echo() -> Workflow[..., Any]:
    """Return a workflow that returns its argument."""

    @workflow("echo")
    def echo(step: Step, value: Any = None) -> Any:
        return value

    defined: Workflow[..., Any] = echo
    return defined


def handle_of(**columns: Any) -> RunHandle[Any]:
    """Return the handle of a run made by hand."""
    return RunHandle.get(WorkflowRunFactory.create(**columns).pk)


# --- the run ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_handle_shows_the_run_as_it_is_now(echo: Workflow[..., Any]) -> None:
    handle = echo.start(1)
    before = handle.run
    assert (handle.status, before.status) == ("pending", "pending")
    run_until_idle()

    assert (handle.status, handle.run.status) == ("completed", "completed")
    assert before.status == "pending"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "form", [lambda pk: pk, str, lambda pk: str(pk).upper(), lambda pk: pk.hex]
)
def test_a_handle_is_found_by_its_id_in_any_form(echo: Workflow[..., Any], form: Any) -> None:
    handle = echo.start(1)

    assert RunHandle.get(form(handle.id)) == handle


def test_a_handle_may_name_the_type_of_its_result() -> None:
    assert RunHandle[int](NOBODY) == RunHandle(NOBODY)


@pytest.mark.django_db
@pytest.mark.parametrize("run_id", [NOBODY, str(NOBODY), "no id", "", "\x00", 7, None], ids=repr)
def test_a_run_that_does_not_exist_is_not_found(run_id: Any) -> None:
    with pytest.raises(RunNotFound) as caught:
        RunHandle.get(run_id)

    assert str(caught.value) == f"Workflow run {run_id} does not exist"


@pytest.mark.django_db
def test_a_run_of_another_namespace_is_not_found() -> None:
    handle = handle_of()
    WorkflowRun._base_manager.update(namespace_id="elsewhere")

    for ask in (lambda: RunHandle.get(handle.id), lambda: handle.status, handle.cancel):
        with pytest.raises(RunNotFound):
            ask()


@pytest.mark.django_db
def test_a_handle_of_a_deleted_run_says_so() -> None:
    handle: RunHandle[None] = RunHandle(NOBODY)

    for ask in (lambda: handle.status, lambda: handle.run, lambda: handle.result(timeout=None)):
        with pytest.raises(RunNotFound):
            ask()


# --- result -------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("value", [None, 0, "", False, [], {"a": [1, None]}, 1.5], ids=repr)
def test_the_result_is_the_output(echo: Workflow[..., Any], value: Any) -> None:
    handle = echo.start(value)
    run_until_idle()

    assert handle.result() == value
    assert handle.result(timeout=0) == value


@pytest.mark.django_db
def test_a_run_that_the_original_called_succeeded_has_a_result() -> None:
    assert handle_of(succeeded_legacy=True).result(timeout=0) == {"ok": True}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"name": "ValueError", "message": "No stock", "stack": "…"}, "ValueError: No stock"),
        ({"message": "Workflow run deadline exceeded"}, "Workflow run deadline exceeded"),
        ({"name": "ValueError"}, "ValueError: "),
        ("text alone", "text alone"),
        (None, "None"),
        ([1], "[1]"),
    ],
)
def test_a_failed_run_raises_what_it_stored(error: Any, words: str) -> None:
    handle = handle_of(failed=True, error=error)
    with pytest.raises(WorkflowFailed) as caught:
        handle.result(timeout=0)

    assert str(caught.value) == f"Workflow process-order failed: {words}"
    assert (caught.value.workflow_name, caught.value.run_id) == ("process-order", handle.id)
    assert caught.value.error == (error if isinstance(error, dict) else {"message": words})


@pytest.mark.django_db
def test_a_canceled_run_raises_the_exact_words_of_the_contract() -> None:
    handle = handle_of(canceled=True)
    with pytest.raises(WorkflowCanceled) as caught:
        handle.result(timeout=0)

    assert str(caught.value) == "Workflow process-order was canceled"
    assert (caught.value.workflow_name, caught.value.run_id) == ("process-order", handle.id)
    assert caught.value.reason == "first reason"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(0, "0"), (0.03, "0.03"), ("20ms", "0.02"), (timedelta(milliseconds=20), "0.02"), ("0s", "0")],
    ids=repr,
)
@pytest.mark.parametrize("trait", ["parked", "running", "scheduled"])
def test_a_run_that_does_not_end_in_time_goes_on(trait: str, timeout: Any, seconds: str) -> None:
    handle = handle_of(**{trait: True})
    with pytest.raises(ResultTimeout) as caught:
        handle.result(timeout=timeout)

    assert str(caught.value) == (f"Workflow run {handle.id} did not end within {seconds} seconds")
    assert (caught.value.run_id, caught.value.timeout_seconds) == (handle.id, float(seconds))
    assert handle.status in {"running", "pending"}


NAIVE: Final = datetime(2999, 1, 1)  # noqa: DTZ001 - that is what is refused


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [-5.0, 0.05])
def test_a_result_may_be_waited_for_until_a_time_of_day(seconds: float) -> None:
    handle = handle_of(parked=True)
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    with pytest.raises(ResultTimeout) as caught:
        handle.result(timeout=until)
    assert 0 <= caught.value.timeout_seconds <= max(0.0, seconds)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "timeout",
    [NAIVE, -1, -0.1, float("nan"), float("inf"), True, "soon", "-1s", [], Decimal(1), 10**400],
    ids=lambda value: str(value)[:10],
)
@pytest.mark.parametrize("trait", ["parked", "completed"])
def test_a_timeout_that_means_nothing_is_refused_whatever_the_run_does(
    trait: str, timeout: Any
) -> None:
    handle = handle_of(**{trait: True})

    with pytest.raises(InvalidDuration):
        handle.result(timeout=timeout)
    with pytest.raises(InvalidDuration):
        async_to_sync(handle.aresult)(timeout=timeout)


@pytest.mark.django_db(transaction=True)
def test_a_result_is_waited_for_until_another_thread_has_it(echo: Workflow[..., Any]) -> None:
    handle = echo.start("done")

    def work() -> None:
        run_until_idle()
        connection.close()

    thread = threading.Timer(0.05, work)
    thread.start()

    assert handle.result(timeout=30) == "done"
    thread.join(timeout=30)


# --- cancel -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_handle_cancels_its_run_with_reason_and_actor(echo: Workflow[..., Any]) -> None:
    handle = echo.start()
    run = handle.cancel(reason="duplicate", actor="ada")

    assert (run.status, run.cancel_reason, run.cancel_actor) == ("canceled", "duplicate", "ada")
    assert handle.cancel(reason="again").cancel_reason == "duplicate"


@pytest.mark.django_db
def test_a_handle_cancels_the_children_only_when_told_to() -> None:
    parent = WorkflowRunFactory.create(parked=True)
    child = WorkflowRunFactory.create(child=True, parent=parent)
    grandchild = WorkflowRunFactory.create(child=True, parent=child)
    RunHandle.get(child.pk).cancel()
    assert RunHandle.get(grandchild.pk).status == "pending"

    RunHandle.get(parent.pk).cancel(cascade=True)
    assert RunHandle.get(grandchild.pk).status == "canceled"


@pytest.mark.django_db
def test_a_handle_cannot_cancel_a_run_that_has_ended() -> None:
    handle = handle_of(completed=True)
    with pytest.raises(RunNotCancelable) as caught:
        handle.cancel()

    assert str(caught.value) == f"Cannot cancel workflow run {handle.id} with status completed"


# --- the async twins ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_async_code_starts_as_sync_code_does(echo: Workflow[..., Any]) -> None:
    handle = async_to_sync(echo.using(priority=2).astart)(value=7)

    assert (handle.run.input, handle.run.priority) == ({"value": 7}, 2)


@pytest.mark.django_db
def test_async_code_waits_for_every_end_as_sync_code_does() -> None:
    assert async_to_sync(handle_of(completed=True).aresult)() == {"ok": True}
    with pytest.raises(WorkflowFailed, match=r"^Workflow process-order failed: ValueError: No st"):
        async_to_sync(handle_of(failed=True).aresult)(timeout=0)
    with pytest.raises(WorkflowCanceled, match=r"^Workflow process-order was canceled$"):
        async_to_sync(handle_of(canceled=True).aresult)(timeout="1s")
    with pytest.raises(ResultTimeout):
        async_to_sync(handle_of(parked=True).aresult)(timeout=0.02)
    with pytest.raises(RunNotFound):
        async_to_sync(RunHandle(NOBODY).aresult)()


@pytest.mark.django_db
def test_async_code_cancels_as_sync_code_does() -> None:
    handle = handle_of(parked=True)
    run = async_to_sync(handle.acancel)(reason="duplicate", actor="ada", cascade=True)

    assert (run.status, run.cancel_reason, run.cancel_actor) == ("canceled", "duplicate", "ada")
