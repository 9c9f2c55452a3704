"""What must be true of the rows after every step of every history."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import STEP_SUCCESSFUL, StepKind, StepStatus

if TYPE_CHECKING:
    from uuid import UUID

    from tests.model.reference import Run

# The test takes real time as well; it is far less than the shortest span of the reference.
_SLACK_SECONDS: Final = 2_000.0


def agree(runs: list[Run], began_at: datetime) -> None:
    """Compare all rows with the reference, and look at what must hold for any rows."""
    rows: dict[UUID, Any] = {row["id"]: row for row in WorkflowRun._base_manager.values()}
    assert rows.keys() == {run.id for run in runs}
    for run in runs:
        _same_run(run, rows[run.id], began_at)
    _same_steps(runs)
    _completed_once()
    _deliveries_fit(runs)


def _same_run(run: Run, row: dict[str, Any], began_at: datetime) -> None:
    owner = run.lease.worker_id if run.lease else None
    if run.status != "completed":  # which keeps its last owner
        assert row["worker_id"] == owner
    counted = {name: row[name] for name in ("status", "output", "failures", "crashes", "takeovers")}
    assert counted == {name: getattr(run, name) for name in counted}
    assert row["attempts"] == run.claims
    _near(row["available_at"], run.available_at, began_at)
    _near(row["finished_at"], run.ended_at, began_at)


def _near(moment: datetime | None, seconds: float | None, began_at: datetime) -> None:
    assert (moment is None) == (seconds is None)
    if moment is not None and seconds is not None:
        assert abs((moment - began_at).total_seconds() - seconds) < _SLACK_SECONDS


def _same_steps(runs: list[Run]) -> None:
    """The steps in flight, the open waits and the completed steps are those of the reference."""
    rows = list(
        StepAttempt._base_manager.filter(superseded_at__isnull=True).values_list(
            "workflow_run", "id", "kind", "status", "step_name"
        )
    )
    running = {(run_id, pk) for run_id, pk, _, status, _ in rows if status == StepStatus.RUNNING}
    expected = {(run.id, attempt) for run in runs for attempt in run.started.values()}
    expected |= {(run.id, wait.attempt_id) for run in runs for wait in run.waits}
    assert running == expected
    done = {
        (run_id, name)
        for run_id, _, kind, status, name in rows
        if status in STEP_SUCCESSFUL and kind == StepKind.FUNCTION
    }
    assert done == {(run.id, name) for run in runs for name in run.done}


def _completed_once() -> None:
    """At most one completed attempt of each step."""
    done = StepAttempt._base_manager.filter(status__in=STEP_SUCCESSFUL, superseded_at__isnull=True)
    groups = done.values("workflow_run", "step_name").annotate(times=Count("pk"))
    assert not groups.filter(times__gt=1).exists()


def _deliveries_fit(runs: list[Run]) -> None:
    """Every open wait that has received its signal has its delivery, and no other one has."""
    attempts = set(SignalDelivery._base_manager.values_list("step_attempt", flat=True))
    for run in runs:
        for wait in run.waits:
            assert (wait.attempt_id in attempts) == wait.received
