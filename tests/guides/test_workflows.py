"""The guide to workflows."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_openworkflow import AsyncStep, RunHandle, Step, workflow
from django_openworkflow.exceptions import (
    DuplicateWorkflow,
    InvalidPayload,
    ResultTimeout,
    WorkflowFailed,
)
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.guides.playing import later, outcome

pytestmark = pytest.mark.django_db


def test_a_workflow_is_a_function_with_a_name_that_returns_its_output() -> None:
    @workflow("greet")
    def greet(step: Step, name: str) -> str:
        return f"Hello, {name}"

    handle = greet.start(name="Eva")

    assert outcome(handle) == "Hello, Eva"
    assert (handle.run.workflow_name, handle.run.input) == ("greet", {"name": "Eva"})


def test_a_bare_workflow_is_named_after_its_function() -> None:
    @workflow
    def send_the_mail(step: Step) -> None: ...

    assert send_the_mail.name == "send-the-mail"


def test_a_workflow_may_be_async() -> None:
    @workflow("greet")
    async def greet(step: AsyncStep, name: str) -> str:
        return await step.run("compose", "Hello, {}".format, name)

    assert outcome(greet.start("Eva")) == "Hello, Eva"


def test_a_name_is_taken_once() -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    with pytest.raises(DuplicateWorkflow, match='Workflow "greet" is already registered'):
        workflow("greet")(greet.fn)


def test_a_run_is_pending_until_a_worker_takes_it() -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    handle = greet.start()

    assert handle.status == "pending"
    with pytest.raises(ResultTimeout):
        handle.result(timeout=0)
    run_until_idle()
    assert handle.status == "completed"


def test_a_run_that_was_started_in_a_rolled_back_transaction_never_existed() -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    with transaction.atomic():
        greet.start()
        transaction.set_rollback(True)

    assert not WorkflowRun.objects.exists()


def test_many_runs_are_started_at_once() -> None:
    @workflow("square")
    def square(step: Step, number: int) -> int:
        return number**2

    handles = square.start_many({"number": number} for number in range(4))

    assert [outcome(handle) for handle in handles] == [0, 1, 4, 9]


def test_a_run_can_be_scheduled_for_later() -> None:
    @workflow("greet")
    def greet(step: Step) -> str:
        return "Good morning"

    handle = greet.using(available_at="8h").start()

    assert run_until_idle() == 0
    assert later(handle, "8h") == "Good morning"


def test_a_workflow_that_raises_fails_its_run_with_the_error() -> None:
    @workflow("break")
    def broken(step: Step) -> None:
        message = "out of paper"
        raise ValueError(message)

    handle = broken.start()

    with pytest.raises(WorkflowFailed, match="Workflow break failed: ValueError: out of paper"):
        outcome(handle)
    assert handle.run.error["name"] == "ValueError"


def test_input_and_output_are_json() -> None:
    @workflow("echo")
    def echo(step: Step, value: object) -> object:
        return value

    assert outcome(echo.start((1, {"a": None}))) == [1, {"a": None}]
    with pytest.raises(InvalidPayload):
        echo.start({1, 2})


def test_a_handle_can_be_had_from_an_id() -> None:
    @workflow("greet")
    def greet(step: Step) -> str:
        return "Hello"

    started = greet.start()

    assert outcome(RunHandle.get(str(started.id))) == "Hello"


def test_the_function_knows_facts_of_its_run() -> None:
    @workflow("know", version="3")
    def know(step: Step) -> list[str | None]:
        return [str(step.info.id), step.info.workflow_name, step.info.version]

    handle = know.start()

    assert outcome(handle) == [str(handle.id), "know", "3"]
