"""What the check constraints forbid: a legal row, and what no update may make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models.functions import Now

from django_openworkflow.states import StepKind
from tests.tables.rows import a_child, a_linked_step, a_run, a_step

if TYPE_CHECKING:
    from django.db import models


@dataclass(frozen=True)
class Violation:
    """A legal row, made by ``make``, and an update of it that the constraint must refuse."""

    constraint: str
    make: Callable[[], models.Model]
    update: dict[str, Any]
    why: str

    def __str__(self) -> str:
        return f"{self.constraint}: {self.why}"


VIOLATIONS = [
    *(
        Violation(
            "openworkflow_run_state",
            a_run(),
            {"status": status},
            f"status {status!r}",
        )
        for status in ("", "done", "CANCELED", "cancelled", "canceled ")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"finished_at": Now()},
            f"{trait}, yet it has a time of ending",
        )
        for trait in ("scheduled", "running", "parked", "sleeping_legacy")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"finished_at": None},
            f"{trait}, yet without a time of ending",
        )
        for trait in ("completed", "succeeded_legacy", "failed", "canceled")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"available_at": None},
            f"{trait}, yet nobody could ever claim it",
        )
        for trait in ("scheduled", "running", "parked", "sleeping_legacy")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"available_at": Now()},
            f"{trait}, yet it could be claimed",
        )
        for trait in ("completed", "succeeded_legacy", "failed", "canceled")
    ),
    *(
        Violation(
            "openworkflow_run_unowned",
            a_run(**{trait: True}),
            {"worker_id": "worker"},
            f"{trait}, yet a worker holds it",
        )
        for trait in ("scheduled", "failed", "canceled")
    ),
    Violation(
        "openworkflow_run_parent_both",
        a_child,
        {"parent_step_attempt_namespace_id": None},
        "a parent without its namespace",
    ),
    *(
        Violation(
            "openworkflow_step_state",
            a_step(),
            {"status": status, "finished_at": Now()},
            f"status {status!r}",
        )
        for status in ("", "canceled", "pending", "COMPLETED")
    ),
    *(
        Violation("openworkflow_step_kind", a_step(), {"kind": kind}, f"kind {kind!r}")
        for kind in ("", "signal", "signal_wait")
    ),
    Violation(
        "openworkflow_step_state",
        a_step(),
        {"finished_at": Now()},
        "running, yet it has a time of ending",
    ),
    *(
        Violation(
            "openworkflow_step_state",
            a_step(**{trait: True}),
            {"finished_at": None},
            f"{trait}, yet without a time of ending",
        )
        for trait in ("completed", "succeeded_legacy", "failed")
    ),
    Violation(
        "openworkflow_step_child_of_workflow_kind",
        a_linked_step,
        {"kind": StepKind.FUNCTION},
        "a function step with a child run",
    ),
    Violation(
        "openworkflow_step_child_of_workflow_kind",
        a_linked_step,
        {"child_workflow_run_namespace_id": None},
        "a child run without its namespace",
    ),
]
