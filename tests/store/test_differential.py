"""The fast store writes the same rows and gives the same answers as the portable one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DEFAULT_DB_ALIAS, IntegrityError, models, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from django_openworkflow.models import (
    BufferedSignal,
    SignalDelivery,
    StepAttempt,
    WorkflowRun,
)
from django_openworkflow.store.base import ClaimRequest, Store, TurnResult
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    ChildStarted,
    Lease,
    NewRun,
    Operation,
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
    SignalSent,
    SignalWaitStarted,
    SleepStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
    WaitTimedOut,
)
from tests.factories import link_child

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["django_openworkflow"]),
    pytest.mark.skipif(
        type(store_for(DEFAULT_DB_ALIAS)) is Store, reason="this database has the portable store"
    ),
]

RUNS = 5
HOUR = timedelta(hours=1)
FAR = datetime(2999, 1, 1, tzinfo=UTC)
ERROR = '{"message":"No stock"}'
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


# --- scenes -------------------------------------------------------------------------------------


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

# --- operations ---------------------------------------------------------------------------------

Build = Callable[[Lease, UUID, int, Any], Operation]
BUILDERS: dict[str, Build] = {
    "start": lambda lease, attempt, step, _: StepStarted(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", kind="function"
    ),
    "resume": lambda lease, attempt, step, _: StepStarted(
        lease=lease,
        attempt_id=attempt,
        step_name=f"step-{step}",
        kind="function",
        resumed=True,
        has_undo=True,
    ),
    "complete step": lambda lease, attempt, _, value: StepCompleted(
        lease=lease, attempt_id=attempt, output=value
    ),
    "fail step": lambda lease, attempt, _, __: StepFailed(
        lease=lease, attempt_id=attempt, error=ERROR
    ),
    "sleep": lambda lease, attempt, step, _: SleepStarted(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", duration=HOUR
    ),
    "wait": lambda lease, attempt, step, _: SignalWaitStarted(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", signal="s1", timeout=HOUR
    ),
    "send": lambda lease, attempt, step, value: SignalSent(
        lease=lease, attempt_id=attempt, step_name=f"step-{step}", signal="s1", data=value
    ),
    "time out": lambda lease, attempt, _, __: WaitTimedOut(lease=lease, attempt_id=attempt),
    "child": lambda lease, attempt, step, value: ChildStarted(
        lease=lease,
        attempt_id=attempt,
        step_name=f"step-{step}",
        child_id=UUID(int=attempt.int + 500),
        child=NewRun(workflow_name="c", version=None, input=value, available_at=FAR),
        timeout=HOUR,
    ),
    "complete": lambda lease, _, __, value: RunCompleted(
        lease=lease, parent_run_id=parent_of(lease), output=value
    ),
    "fail": lambda lease, _, __, ___: RunFailed(
        lease=lease, parent_run_id=parent_of(lease), error=ERROR
    ),
    "reschedule": lambda lease, _, step, __: RunRescheduled(
        lease=lease, error=ERROR, delay=HOUR * step, is_failure=step % 2 == 0
    ),
    "reschedule, waiting": lambda lease, _, step, __: RunRescheduled(
        lease=lease,
        error=ERROR,
        delay=HOUR * 9,
        is_failure=False,
        wake_at=timezone.now() + HOUR * step,
    ),
    "park": lambda lease, _, step, __: RunParked(lease=lease, wake_at=timezone.now() + HOUR * step),
    "park asleep": lambda lease, attempt, step, _: RunParked(
        lease=lease,
        waits=(
            SleepStarted(
                lease=lease, attempt_id=attempt, step_name=f"step-{step}", duration=HOUR * 2
            ),
        ),
    ),
    "park, waiting": lambda lease, attempt, step, _: RunParked(
        lease=lease,
        waits=(
            SignalWaitStarted(
                lease=lease, attempt_id=attempt, step_name=f"step-{step}", signal="s1", timeout=HOUR
            ),
        ),
    ),
    "release": lambda lease, _, __, ___: RunReleased(lease=lease),
}
COMMON = ("start", "complete step", "fail step", "complete", "park")


def parent_of(lease: Lease) -> UUID | None:
    linked = StepAttempt._base_manager.filter(pk=attempt_id(0, 99)).exists()
    return run_id(0) if linked and lease.run_id == run_id(1) else None


@dataclasses.dataclass(frozen=True)
class Asked:
    """One operation, to be built once its scene stands."""

    name: str
    number: int
    step: int
    owner: str
    value: str | None

    def build(self) -> Operation:
        lease = Lease(run_id=run_id(self.number), worker_id=self.owner)
        build = BUILDERS[self.name]
        return build(lease, attempt_id(self.number, self.step), self.step, self.value)


asked = st.builds(
    Asked,
    name=st.one_of(st.sampled_from(COMMON), st.sampled_from(list(BUILDERS))),
    number=st.integers(0, RUNS - 1),
    step=st.integers(0, 4),
    owner=st.sampled_from(["ours", "ours", "ours", "theirs"]),
    value=st.sampled_from([None, "null", '{"a":1e22}', '"\\u00e9"', "[1]"]),
)


# --- what came of it ----------------------------------------------------------------------------


def plain(value: Any, start: datetime) -> Any:  # noqa: PLR0911 - one return for each kind
    """Make two results comparable: moments by the minute, claims without their token."""
    if isinstance(value, datetime):
        is_fixed = value.year in {2020, FAR.year}  # whenever the scene was built
        return value if is_fixed else round((value - start) / timedelta(minutes=1))
    if isinstance(value, str) and value.startswith("claimer:"):
        return "claimer"
    if isinstance(value, str) and value.endswith("Z"):
        return plain(datetime.fromisoformat(value), start)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: plain(getattr(value, each.name), start) for each in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {repr(plain(key, start)): plain(each, start) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, start) for each in value]
    return value


def all_rows(start: datetime) -> list[Any]:
    """Return what is in the tables, in an order that new ids do not change."""
    found = []
    for model in MODELS:
        rows = [plain(row, start) for row in model._base_manager.order_by("pk").values()]
        if model is SignalDelivery:
            for row in rows:
                row.pop("'id'")
        if model is WorkflowRun:
            for row in rows:  # clean-up runs have ids of their own
                if row["'cleanup_of_id'"]:
                    row.pop("'id'")
        found.append(sorted(rows, key=repr))
    return found


def outcome(store: Store, scene: Scene, act: Callable[[Store], Any]) -> Any:
    """Build the scene, act, and return the answers and the rows afterwards."""
    scene.build()
    start = timezone.now()
    try:
        answer: Any = plain(act(store), start)
    except IntegrityError:
        answer = "refused"
    return answer, all_rows(start)


def same_outcome(scene: Scene, act: Callable[[Store], Any]) -> Any:
    portable = outcome(Store(DEFAULT_DB_ALIAS), scene, act)
    fast = outcome(store_for(DEFAULT_DB_ALIAS), scene, act)
    assert fast[0] == portable[0]
    assert fast[1] == portable[1]
    return portable[0]


many = settings(
    phases=[Phase.explicit, Phase.generate],
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@many
@given(scene=scenes, turn=st.lists(asked, max_size=10), is_open=st.booleans())
def test_a_turn(scene: Scene, turn: list[Asked], *, is_open: bool) -> None:
    """Also within a transaction that is open already: then it is written step by step."""

    def act(store: Store) -> TurnResult:
        operations = [each.build() for each in turn]
        with transaction.atomic() if is_open else nullcontext():
            result = store.take_turn(
                operations,
                leases=[Lease(run_id=run_id(n), worker_id="ours") for n in range(RUNS)],
                lease_seconds=600,
                claim=ClaimRequest(
                    worker_name="claimer", limit=RUNS, lease_seconds=1200, workflows=[("w", None)]
                ),
            )
        # Runs that the turn itself makes due are due by the clock of the statement that does it.
        result.claimed.sort(key=lambda run: run.lease.run_id)
        return result

    answer = same_outcome(scene, act)
    event("refused" if answer == "refused" else "written")


@many
@given(scene=scenes, limit=st.integers(1, RUNS))
def test_a_claim(scene: Scene, limit: int) -> None:
    """Of runs that were due before: these, in this order."""
    request = ClaimRequest(
        worker_name="claimer", limit=limit, lease_seconds=1200, workflows=[("w", None)]
    )
    same_outcome(scene, lambda store: store.claim(request))


def ours(name: str, step: int) -> Asked:
    return Asked(name=name, number=0, step=step, owner="ours", value="[1]")


# What a run's end has closed, and what the same turn has recorded before.
ALONE = Scene(
    states=["held"] * RUNS,
    steps=[["sleep", "function"], [], [], [], []],
    child=False,
    buffered=False,
    undoable=False,
)


@many
@example(scene=ALONE, turn=[ours("complete", 0), ours("fail step", 0)])
@example(scene=ALONE, turn=[ours(name, 1) for name in ("fail step", "complete", "fail step")])
@given(scene=scenes, turn=st.lists(asked, max_size=6))
def test_operations_that_are_issued_twice(scene: Scene, turn: list[Asked]) -> None:
    """As after a commit in doubt."""

    def act(store: Store) -> list[Any]:
        operations = [each.build() for each in turn]
        return [store.apply(operations), store.apply(operations, wait=True)]

    same_outcome(scene, act)


@many
@given(scene=scenes)
def test_a_history(scene: Scene) -> None:
    same_outcome(scene, lambda store: store.load_history([run_id(n) for n in range(RUNS + 1)]))
