"""What is in the tables before a turn: runs in every state, with attempts of every kind."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import strategies as st

from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun
from tests.factories import link_child

if TYPE_CHECKING:
    from django.db import models

RUNS = 5
FAR = datetime(2999, 1, 1, tzinfo=UTC)
MODELS: tuple[type[models.Model], ...] = (WorkflowRun, StepAttempt, SignalDelivery, BufferedSignal)

HELD = {"status": "running", "started_at": FAR, "attempts": 1, "available_at": FAR}
STATES: dict[str, dict[str, Any]] = {
    "held": {**HELD, "worker_id": "ours"},
    "held after crashes": {**HELD, "worker_id": "ours", "crashes": 2, "takeovers": 3},
    "held by another": {**HELD, "worker_id": "theirs"},
    "expired": {**HELD, "worker_id": "theirs", "available_at": datetime(2020, 1, 1, tzinfo=UTC)},
    "parked": {**HELD, "worker_id": None},
    "due again": {**HELD, "worker_id": None, "available_at": datetime(2020, 1, 1, tzinfo=UTC)},
    "pending": {"status": "pending", "available_at": datetime(2020, 1, 1, tzinfo=UTC)},
    "retrying": {"status": "pending", "available_at": FAR, "failures": 1},
    "canceled": {"status": "canceled", "available_at": None, "finished_at": FAR},
    "completed": {
        "status": "completed",
        "available_at": None,
        "finished_at": FAR,
        "worker_id": "ours",
    },
    "failed": {"status": "failed", "available_at": None, "finished_at": FAR},
}
KINDS = ("function", "sleep", "signal-wait", "workflow")


def run_id(number: int) -> UUID:
    return UUID(int=number + 1)


def attempt_id(number: int, step: int) -> UUID:
    return UUID(int=(number + 1) * 1000 + step)


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is in the tables before the turn. ``steps``: the kinds of running attempts per run."""

    states: list[str]
    steps: list[list[str]]
    child: bool  # whether run 1 is the child that run 0 waits for
    buffered: bool
    undoable: bool

    def build(self) -> None:
        for model in reversed(MODELS):
            model._base_manager.all().delete()
        for number, (state, kinds) in enumerate(zip(self.states, self.steps, strict=True)):
            run = WorkflowRun(id=run_id(number), workflow_name="w", input=number, **STATES[state])
            WorkflowRun._base_manager.bulk_create([run])
            for step, kind in enumerate(kinds):
                self._add_step(number, step, kind)
        if self.child:
            self._link()
        if self.buffered:
            BufferedSignal._base_manager.create(id=run_id(0), signal="s1", data="kept")

    def _add_step(self, number: int, step: int, kind: str) -> None:
        context = {"signal-wait": {"kind": kind, "signal": f"s{number % 2}"}}.get(kind)
        StepAttempt._base_manager.create(
            id=attempt_id(number, step),
            workflow_run_id=run_id(number),
            step_name=f"step-{step}",
            kind=kind,
            worker_id="ours",
            context=context,
            has_undo=self.undoable and kind == "function",
        )

    def _link(self) -> None:
        attempt = StepAttempt._base_manager.create(
            id=attempt_id(0, 99), workflow_run_id=run_id(0), step_name="child", kind="workflow"
        )
        WorkflowRun._base_manager.filter(pk=run_id(1)).update(
            parent_step_attempt=attempt, parent_step_attempt_namespace_id="default"
        )
        link_child(attempt, WorkflowRun._base_manager.get(pk=run_id(1)))


scenes = st.builds(
    Scene,
    states=st.lists(
        st.one_of(st.just("held"), st.sampled_from(list(STATES))), min_size=RUNS, max_size=RUNS
    ),
    steps=st.lists(st.lists(st.sampled_from(KINDS), max_size=3), min_size=RUNS, max_size=RUNS),
    child=st.booleans(),
    buffered=st.booleans(),
    undoable=st.booleans(),
)
