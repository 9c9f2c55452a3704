"""Signals whose data must fit a schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from django_openworkflow import RunHandle, Step, send_signal, workflow
from django_openworkflow.exceptions import StepFailed
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, tick

pytestmark = pytest.mark.django_db

FAILED = "Signal schema validation failed: "


@dataclass
class Approval:
    """Who approved it."""

    by: str
    level: int = 1

    def __post_init__(self) -> None:
        if self.level < 1:
            message = "the level is too low"
            raise ValueError(message)


def even(value: Any) -> int:
    """Accept what can be read as an even number."""
    number = int(value)
    if number % 2:
        message = f"{number} is odd"
        raise ValueError(message)
    return number


def receive(schema: Any, data: object, shown: list[Any]) -> RunHandle[Any]:
    """Let a run wait with a schema, send data, and note what it is given, twice."""

    @workflow("checking")
    def checking(step: Step) -> None:
        payload = step.wait_for_signal("approval", schema=schema)
        shown.append(payload and payload.data)
        step.sleep("pause", "1h")

    handle = checking.start()
    run_until_idle()
    assert send_signal("approval", data) == [handle.id]
    run_until_idle()
    tick("1h")
    return handle


@pytest.mark.parametrize(
    ("schema", "data", "expected"),
    [
        (Approval, {"by": "ann"}, Approval(by="ann")),
        (Approval, {"by": "ann", "level": 2}, Approval(by="ann", level=2)),
        (even, "4", 4),
        (even, 4, 4),
        (None, {"any": "thing"}, {"any": "thing"}),
    ],
)
def test_data_that_fits_is_given_as_the_schema_made_it_also_in_a_replay(
    schema: Any, data: object, expected: object
) -> None:
    shown: list[Any] = []
    handle = receive(schema, data, shown)

    assert shown == [expected, expected]
    assert handle.status == "completed"
    assert attempts_of(handle)[0].output == {"data": data}  # as it was sent


@pytest.mark.parametrize(
    ("schema", "data", "problem"),
    [
        (Approval, {"by": "ann", "level": 0}, "the level is too low"),
        (even, 3, "3 is odd"),
        (even, "four", "invalid literal for int() with base 10: 'four'"),
    ],
)
def test_data_that_does_not_fit_fails_the_step(schema: Any, data: object, problem: str) -> None:
    shown: list[Any] = []
    handle = receive(schema, data, shown)

    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.output) == ("failed", None)
    assert attempt.error["message"] == FAILED + problem
    assert handle.status == "failed"
    assert handle.run.error["message"] == FAILED + problem
    assert shown == []


@pytest.mark.parametrize("data", [{}, {"by": "ann", "who": "bob"}, {"level": 2}])
def test_a_dataclass_that_cannot_be_made_fails_the_step(data: object) -> None:
    handle = receive(Approval, data, [])

    assert handle.run.error["message"].startswith(FAILED)
    assert handle.run.error["message"] != FAILED


def test_a_pydantic_model_checks_the_data_and_all_its_issues_are_told() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Order", number=(int, ...), lines=(list[str], ...))
    shown: list[Any] = []
    receive(model, {"number": "7", "lines": ["a"]}, shown)
    assert shown == [model(number=7, lines=["a"])] * 2


def test_all_issues_of_a_pydantic_model_are_in_the_message() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Order", number=(int, ...), lines=(list[str], ...))
    handle = receive(model, {"lines": "a"}, [])

    issues = handle.run.error["message"].removeprefix(FAILED).split("; ")
    assert [issue.partition(":")[0] for issue in issues] == ["number", "lines"]


def test_a_failed_validation_can_be_caught_and_is_the_same_in_every_replay() -> None:
    caught: list[tuple[str, int, str]] = []

    @workflow("catching")
    def catching(step: Step) -> str:
        try:
            step.wait_for_signal("approval", schema=even)
        except StepFailed as error:
            caught.append((error.step_name, error.attempts, error.error["message"]))
        step.sleep("pause", "1h")
        return "caught"

    handle = catching.start()
    run_until_idle()
    send_signal("approval", 1)
    run_until_idle()
    assert send_signal("approval", 2) == []  # the wait is over
    tick("1h")

    assert handle.result(timeout=0) == "caught"
    assert caught == [("approval", 1, FAILED + "1 is odd")] * 2


def test_a_timeout_needs_no_schema() -> None:
    @workflow("waiting")
    def waiting(step: Step) -> bool:
        return step.wait_for_signal("approval", timeout="1h", schema=even) is None

    handle = waiting.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) is True
