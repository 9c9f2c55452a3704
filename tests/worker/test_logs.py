"""Log records about a run say which one, in fields of their own, and never what it was given."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, transaction

from django_openworkflow import RunHandle, Step, workflow
from django_openworkflow.engine.executor import Executor
from django_openworkflow.worker.writing import _first_line
from tests.engine.passes import raiser
from tests.worker.workers import Gate, wait_until, work_until_idle, working

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "sesame-7381"  # noqa: S105 - what no log may show


def record_of(caplog: pytest.LogCaptureFixture, words: str) -> logging.LogRecord:
    """Return the one record whose message has these words."""
    [found] = [record for record in caplog.records if words in record.getMessage()]
    return found


def facts(record: logging.LogRecord) -> tuple[Any, ...]:
    """Return the fields that every record about a run has."""
    return tuple(vars(record)[name] for name in ("run_id", "workflow", "step"))


def start(body: Callable[[], Any]) -> RunHandle[Any]:
    """Start a run that is given a secret and calls one step."""

    @workflow("logged")
    def logged(step: Step, secret: str) -> Any:
        return step.transaction("tell", body)

    return logged.start(secret=SECRET)


def test_a_run_released_in_the_middle_of_a_step(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    @workflow("logged")
    def logged(step: Step, secret: str) -> None:
        step.run("wait", gate.body, secret)

    handle = logged.start(secret=SECRET)
    with gate, working(grace_seconds=0.05):
        gate.wait_until_entered()
    record = record_of(caplog, "was released in the middle")
    assert facts(record) == (str(handle.id), "logged", None)
    assert SECRET not in caplog.text


def test_a_transaction_that_a_workflow_left_open(caplog: pytest.LogCaptureFixture) -> None:
    @workflow("logged")
    def logged(step: Step, secret: str) -> str:
        transaction.atomic().__enter__()
        return secret

    handle = logged.start(secret=SECRET)
    work_until_idle()
    assert handle.status == "failed"
    record = record_of(caplog, "left open")
    assert facts(record) == (str(handle.id), "logged", None)
    assert SECRET not in caplog.text


def test_what_the_commit_of_a_step_called_raised(caplog: pytest.LogCaptureFixture) -> None:
    def body() -> str:
        transaction.on_commit(raiser(KeyError("missing")))
        return SECRET

    handle = start(body)
    work_until_idle()
    assert handle.status == "completed"
    record = record_of(caplog, "has committed")
    assert facts(record) == (str(handle.id), "logged", "tell")
    assert SECRET not in caplog.text


def test_a_bug_of_ours_that_leaves_a_run_to_its_lease(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Executor, "execute", lambda _self: raiser(RuntimeError("a bug"))())
    handle = start(lambda: None)
    with working():
        wait_until(lambda: "left to its lease" in caplog.text, "the record")
    assert facts(record_of(caplog, "left to its lease")) == (str(handle.id), "logged", None)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            DatabaseError(f"a check failed\nDETAIL:  Failing row contains ({SECRET})."),
            "a check failed",
        ),
        (DatabaseError(), "DatabaseError"),
    ],
)
def test_the_details_of_a_database_error_are_left_out(error: Exception, line: str) -> None:
    assert _first_line(error) == line
