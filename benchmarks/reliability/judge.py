"""What must be true after the storm, from the tables and from the effects together."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.models import Group
from django.db.models import Count, F, Q

from benchmarks.reliability.expected import OUTPUTS, STEPS
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import STEP_SUCCESSFUL, RunStatus, StepKind, StepStatus

if TYPE_CHECKING:
    from uuid import UUID

    from benchmarks.reliability.effects import Effects


_GLANCE_SECONDS: Final = 3.0


@dataclass
class Hits:
    """Whom the kills have hit: runs that a killed worker owned, by how often."""

    runs: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    kills_in_a_body: int = 0
    bodies: int = 0


class Terminal:
    """Rows of runs that have ended: each time they are looked at, they must be what they were."""

    def __init__(self) -> None:
        self._rows: dict[UUID, dict[str, Any]] = {}
        self._looked_at = 0.0
        self.changed: set[UUID] = set()

    def glance(self) -> None:
        """Look, unless that was done a moment ago: there may be many rows."""
        if time.monotonic() - self._looked_at > _GLANCE_SECONDS:
            self.look()

    def look(self) -> None:
        """Compare what is known with what is there, and learn what is new."""
        self._looked_at = time.monotonic()
        now = {row["id"]: row for row in WorkflowRun.objects.terminal().values()}
        for pk, row in self._rows.items():
            if now.get(pk) != row:
                self.changed.add(pk)
        self._rows |= {pk: row for pk, row in now.items() if pk not in self._rows}


def judge(effects: Effects, hits: Hits, terminal: Terminal) -> dict[str, int]:
    """Count what is wrong; every number must be zero."""
    effects.read()
    terminal.look()
    return {
        "lost_runs": lost(),
        "wrong_outputs": _wrong_outputs(),
        "steps_completed_twice": completed_twice(),
        "changed_terminal_rows": len(terminal.changed),
        "steps_started_after_the_cancel": _started_after_cancel(),
        "transactions_not_exactly_once": _bookings_gone_wrong(),
        "unhit_runs_with_more_or_less_than_one_entry": _uneven(effects, hits),
        "entries_that_no_kill_explains": _unexplained(effects, hits),
    }


def lost() -> int:
    """Runs that have not ended, or failed: nothing in their code ever raises.

    But for the parent of a child that was canceled alone: its step fails, as it should.
    """
    of_canceled = StepAttempt.objects.filter(
        kind=StepKind.WORKFLOW,
        status=StepStatus.FAILED,
        child_workflow_run__status=RunStatus.CANCELED,
    )
    lost = WorkflowRun.objects.exclude(status__in=(RunStatus.COMPLETED, RunStatus.CANCELED))
    rightly_failed = Q(status=RunStatus.FAILED, pk__in=of_canceled.values("workflow_run"))
    found = lost.exclude(rightly_failed)
    for run in found[:5]:
        sys.stderr.write(f"lost: {run} {run.status} worker {run.worker_id} {run.error}\n")
    return found.count()


def _ours() -> list[WorkflowRun]:
    completed = WorkflowRun.objects.filter(workflow_name__in=OUTPUTS, status=RunStatus.COMPLETED)
    return list(completed.only("pk", "workflow_name", "output", "takeovers"))


def _wrong_outputs() -> int:
    return sum(run.output != OUTPUTS[run.workflow_name] for run in _ours())


def completed_twice() -> int:
    """Steps with more than one completed attempt."""
    done = StepAttempt.objects.filter(status__in=STEP_SUCCESSFUL)
    groups = done.values("workflow_run", "step_name").annotate(times=Count("pk"))
    return groups.filter(times__gt=1).count()


def _started_after_cancel() -> int:
    """A step's start and the cancel took turns at the run's row, by the database's clock."""
    return StepAttempt.objects.filter(
        workflow_run__status=RunStatus.CANCELED,
        created_at__gt=F("workflow_run__finished_at"),
    ).count()


def _bookings_gone_wrong() -> int:
    """A transaction step's row is there exactly if the step has completed.

    The row's name is unique: a second effect would be an error of the body, and the run would fail.
    """
    booked = set(Group.objects.values_list("name", flat=True))
    done = StepAttempt.objects.filter(step_name="book", status__in=STEP_SUCCESSFUL)
    expected = {f"{run_id} book" for run_id in done.values_list("workflow_run", flat=True)}
    return len(booked ^ expected)


def _uneven(effects: Effects, hits: Hits) -> int:
    """Steps of runs that no worker died over, and nobody took over, whose body ran not once."""
    return sum(
        effects.entries[str(run.pk), name] != 1
        for run in _ours()
        if str(run.pk) not in hits.runs and not run.takeovers
        for name in STEPS[run.workflow_name]
    )


def _unexplained(effects: Effects, hits: Hits) -> int:
    """Steps whose body ran more often than their run changed hands, plus once."""
    takeovers = dict(WorkflowRun.objects.values_list("pk", "takeovers"))
    changes = {str(pk): max(times, hits.runs[str(pk)]) for pk, times in takeovers.items()}
    return sum(times > 1 + changes.get(run, 0) for (run, _), times in effects.entries.items())


def failed_attempts() -> int:
    """Step attempts that failed: for workflows whose code never raises, none may."""
    return StepAttempt.objects.filter(status=StepStatus.FAILED).count()


def acked_but_gone(effects: Effects) -> int:
    """Results that a worker was told are saved, and that are not there."""
    effects.read()
    done = StepAttempt.objects.filter(status__in=STEP_SUCCESSFUL)
    saved = {(str(run), step) for run, step in done.values_list("workflow_run", "step_name")}
    return len(effects.acked - saved)
