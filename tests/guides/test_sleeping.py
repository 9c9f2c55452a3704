"""The guide to sleeping."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_openworkflow import Step, workflow
from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.guides.playing import later, outcome, saved

pytestmark = pytest.mark.django_db


def test_a_sleeping_run_holds_no_worker() -> None:
    @workflow("nap")
    def nap(step: Step) -> None:
        step.sleep("nap", "1h")

    handle = nap.start()
    run_until_idle()

    assert WorkflowRun.objects.parked().get() == handle.run
    assert (handle.status, handle.run.worker_id) == ("running", None)


def test_a_run_goes_on_when_its_sleep_is_over_and_not_before() -> None:
    @workflow("nap")
    def nap(step: Step) -> str:
        step.sleep("nap", "1h")
        return "awake"

    handle = nap.start()
    run_until_idle()
    advance("59m")
    assert run_until_idle() == 0

    assert later(handle, "1m") == "awake"
    assert saved(handle) == [("nap", "completed")]


@pytest.mark.parametrize("duration", ["90s", "1.5m", "90000", timedelta(seconds=90)])
def test_durations_are_text_or_timedeltas(duration: str | timedelta) -> None:
    @workflow("nap")
    def nap(step: Step) -> str:
        step.sleep("nap", duration)
        return "awake"

    handle = nap.start()
    run_until_idle()
    advance("60s")
    assert run_until_idle() == 0

    assert later(handle, "30s") == "awake"


def test_a_wrong_duration_fails_the_run_and_saves_nothing() -> None:
    @workflow("nap")
    def nap(step: Step) -> None:
        step.sleep("nap", "soon")

    handle = nap.start()

    with pytest.raises(WorkflowFailed, match='Invalid duration format: "soon"'):
        outcome(handle)
    assert saved(handle) == []


def test_a_finally_in_workflow_code_runs_in_every_pass() -> None:
    passes: list[str] = []

    @workflow("nap")
    def nap(step: Step) -> None:
        try:
            step.sleep("nap", "1h")
        finally:
            passes.append("over")

    handle = nap.start()
    run_until_idle()
    later(handle, "1h")

    assert passes == ["over", "over"]
