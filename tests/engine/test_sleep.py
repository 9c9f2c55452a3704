"""Sleeps: exact to the millisecond, never early, and nothing is written for a wrong one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_openworkflow import Step, workflow
from django_openworkflow.exceptions import InvalidDuration
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, tick
from tests.factories import StepAttemptFactory, WorkflowRunFactory

pytestmark = pytest.mark.django_db

MILLISECOND = timedelta(milliseconds=1)


def sleeper(duration: Any, name: str = "process-order") -> Any:
    """Define a workflow that sleeps once."""

    @workflow(name)
    def sleeping(step: Step) -> str:
        step.sleep("pause", duration)
        return "awake"

    return sleeping


@pytest.mark.parametrize(
    ("duration", "span"),
    [
        ("90m", timedelta(minutes=90)),
        ("1 month", timedelta(days=30, hours=10, minutes=30)),
        (timedelta(microseconds=1), timedelta(microseconds=1)),
        ("1000y", timedelta(days=365_250)),
        ("0s", timedelta()),
    ],
)
def test_a_sleep_ends_exactly_when_it_should_and_is_stored_as_the_original_does(
    duration: Any, span: timedelta
) -> None:
    handle = sleeper(duration, "exact").start()
    before = database_now()
    run_until_idle()
    after = database_now()

    attempt = attempts_of(handle)[0]
    assert attempt.context is not None
    assert set(attempt.context) == {"kind", "resumeAt"}
    assert attempt.context["kind"] == attempt.kind == "sleep"
    text = attempt.context["resumeAt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert before + span <= datetime.fromisoformat(text) < after + span + MILLISECOND


def test_a_sleeping_run_holds_no_worker_and_becomes_due_at_the_end_of_its_sleep() -> None:
    handle = sleeper("1h").start()
    run_until_idle()

    run, (attempt,) = handle.run, attempts_of(handle)
    assert (run.status, run.worker_id, run.finished_at) == ("running", None, None)
    assert attempt.context is not None
    assert run.available_at == datetime.fromisoformat(attempt.context["resumeAt"])
    assert (attempt.status, attempt.finished_at) == ("running", None)


def test_a_sleep_is_never_over_early() -> None:
    handle = sleeper("1h").start()
    run_until_idle()
    advance(timedelta(hours=1) - timedelta(seconds=30))
    assert run_until_idle() == 0
    assert handle.status == "running"

    assert tick("30s") == 1
    assert handle.result(timeout=0) == "awake"
    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.output) == ("completed", None)


def test_a_run_that_is_woken_early_sleeps_on_to_the_same_end() -> None:
    handle = sleeper("1h").start()
    run_until_idle()
    end = handle.run.available_at
    for _ in range(3):
        WorkflowRun.objects.filter(pk=handle.id).update(available_at=database_now())
        assert run_until_idle() == 1
        assert (handle.run.available_at, handle.run.worker_id) == (end, None)

    assert len(attempts_of(handle)) == 1
    tick("1h")
    assert handle.result(timeout=0) == "awake"


def test_a_sleep_of_nothing_ends_at_once() -> None:
    handle = sleeper("0s").start()
    run_until_idle()
    tick(MILLISECOND)

    assert handle.result(timeout=0) == "awake"


def test_sleeps_follow_each_other() -> None:
    @workflow("twice")
    def twice(step: Step) -> str:
        step.sleep("first", "1h")
        step.sleep("second", "2h")
        return "awake"

    handle = twice.start()
    passes = [run_until_idle(), tick("1h"), tick("1h"), tick("1h")]

    assert passes == [1, 1, 0, 1]
    assert handle.result(timeout=0) == "awake"


@pytest.mark.parametrize(
    "duration",
    ["-1s", "soon", "", "1 fortnight", "NaN", "inf", 5, 1.5, None, timedelta(seconds=-1), "1001y"],
    ids=repr,
)
def test_a_wrong_duration_is_refused_before_anything_is_written(duration: Any) -> None:
    handle = sleeper(duration).start()
    run_until_idle()

    assert StepAttempt.objects.count() == 0
    assert (handle.status, handle.run.error["name"]) == ("failed", "InvalidDuration")


def test_a_wrong_duration_can_be_caught_and_takes_no_name() -> None:
    @workflow("careful")
    def careful(step: Step) -> None:
        with pytest.raises(InvalidDuration, match="cannot be negative"):
            step.sleep("pause", "-1s")
        step.sleep("pause", "1h")

    handle = careful.start()
    run_until_idle()

    assert [attempt.step_name for attempt in attempts_of(handle)] == ["pause"]


@pytest.mark.parametrize("resume_at", ["2020-01-01T00:00:00", "", None, 7, "not a time"], ids=repr)
def test_a_saved_sleep_that_cannot_be_read_or_has_ended_is_over(resume_at: Any) -> None:
    # As in the original: better awake than asleep for ever.
    sleeper("1h")
    run = WorkflowRunFactory.create(parked=True, available_at=database_now() - timedelta(seconds=1))
    StepAttemptFactory.create(
        workflow_run=run,
        step_name="pause",
        sleep=True,
        context={"kind": "sleep", "resumeAt": resume_at},
    )
    run_until_idle()
    run.refresh_from_db()

    assert (run.status, run.output) == ("completed", "awake")


def test_a_saved_sleep_of_a_time_zone_ends_when_it_ends_there() -> None:
    sleeper("1h")
    run = WorkflowRunFactory.create(parked=True, available_at=database_now() - timedelta(seconds=1))
    StepAttemptFactory.create(
        workflow_run=run,
        step_name="pause",
        sleep=True,
        context={"kind": "sleep", "resumeAt": "2999-01-01T00:00:00.000+14:00"},
    )
    run_until_idle()
    run.refresh_from_db()

    assert run.available_at == datetime(2998, 12, 31, 10, tzinfo=UTC)


def test_a_wait_until_the_last_moment_of_the_calendar_waits() -> None:
    @workflow("patient")
    def patient(step: Step) -> None:
        step.wait_for_signal("never", timeout=datetime.max.replace(tzinfo=UTC))

    handle = patient.start()
    run_until_idle()

    assert (handle.status, handle.run.worker_id, handle.run.error) == ("running", None, None)
