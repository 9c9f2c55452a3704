"""Nobody waits for a row while holding one that comes after it, so no two can wait for each other.

Families that grow while they are being locked are where it is hard: a child may get an id below one
that is held already.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection

from django_openworkflow.exceptions import RunNotRetryable
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.store.operations import ChildStarted, NewRun, Verdict
from tests.races.families import cancel_some, cascade
from tests.races.rivals import OpenTransaction, Rival, ending, halted, race, rivals
from tests.races.scenes import Scene, insert_run, submit_and_wait
from tests.races.test_ledger import lock

if TYPE_CHECKING:
    from django_openworkflow.querysets import CancelOutcome

pytestmark = race

LOCKS_ROWS = ("FOR NO KEY UPDATE", "FOR UPDATE")


class Looker:
    """Lets something happen before each statement of a thread that locks rows.

    ``free`` is called while the thread holds no locks, ``holding`` when it holds some.
    """

    def __init__(self, *, free: Callable[[], object], holding: Callable[[], object]) -> None:
        self._free, self._holding = free, holding
        self._holds = False

    def watch(self, action: Callable[[], Any]) -> Any:
        with connection.execute_wrapper(self._wrapper):
            return action()

    def _wrapper(self, execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql.startswith("ROLLBACK TO"):
            self._holds = False
        if not any(lock in sql for lock in LOCKS_ROWS):
            return execute(sql, *args)
        (self._holding if self._holds else self._free)()
        self._holds = True
        return execute(sql, *args)


class GrowingFamily:
    """A root whose children all have lower ids, the later the lower, until it is canceled."""

    def __init__(self, worker: Rival, most: int) -> None:
        self.root = insert_run(id=UUID(int=2**128 - 1))
        self.children: list[Scene] = []
        self._worker = worker
        self._ids = iter(UUID(int=number) for number in range(most, 0, -1))

    def grow(self) -> bool:
        """Start a child, and return whether there is another one now."""
        child_id = next(self._ids, None)
        if child_id is None:
            return False
        start = ChildStarted(
            lease=self.root.lease,
            attempt_id=child_id,
            step_name=str(child_id),
            child_id=child_id,
            child=NewRun(workflow_name="child", version=None, input=None),
            timeout=None,
        )
        verdict = ending(self._worker.do(submit_and_wait, start)).told()
        if verdict is Verdict.ACCEPTED:
            self.children.append(Scene.of(WorkflowRun.objects.get(pk=child_id)))
        return verdict is Verdict.ACCEPTED


def test_a_family_that_grows_at_every_look_is_canceled_whole() -> None:
    """Each child appears after the family was looked up, and is held when it is found."""
    held: list[OpenTransaction[Any]] = []

    def grow_and_hold() -> None:
        while held:
            held.pop().end(commit=False)
        if family.grow():
            held.append(OpenTransaction(holder, partial(lock, family.children[-1].run_id)))

    with rivals("caller", "worker", "holder") as (caller, worker, holder):
        family = GrowingFamily(worker, most=20)
        looker = Looker(free=grow_and_hold, holding=lambda: None)
        outcome = ending(caller.do(looker.watch, lambda: cascade(family.root))).told()
    assert len(family.children) == 20
    assert outcome.canceled == [family.root.run_id]
    assert outcome.children_canceled == sorted(child.run_id for child in family.children)


def test_a_late_child_is_not_waited_for_while_its_family_is_held() -> None:
    """Somebody holds the child and waits for its root, as the law allows: the child comes first."""
    begun: list[Any] = []
    with rivals("caller", "worker", "rival") as (caller, worker, rival):
        family = GrowingFamily(worker, most=20)

        def begin() -> None:
            if not begun:
                begun.append(rival.do(cancel_some, [family.children[-1], family.root], "rival"))
                rival.settle(begun[0])

        looker = Looker(free=family.grow, holding=begin)
        mine = ending(caller.do(looker.watch, lambda: cascade(family.root))).told()
        theirs: CancelOutcome = ending(begun[0]).told()
    everybody = sorted(each.run_id for each in (family.root, *family.children))
    assert sorted([*theirs.canceled, *mine.all_canceled()]) == everybody  # each of them once


def test_a_retry_locks_a_clean_up_with_a_lower_id_first() -> None:
    """Every schedule against somebody who cancels both, and so comes to the clean-up first."""
    schedules = 0
    with rivals("retrying", "canceling") as (retrying, canceling):
        while True:
            run = insert_run(id=UUID(int=2**128 - 1 - schedules))
            WorkflowRun.objects.cancel(run.run_id)
            cleanup = insert_run(id=UUID(int=schedules + 1), cleanup_of_id=run.run_id)
            met = halted(
                retrying,
                partial(WorkflowRun.objects.retry, run.run_id),
                canceling,
                partial(cancel_some, [run, cleanup], "rival"),
                schedules + 1,
            )
            if met is None:
                break
            retried, canceled = met
            assert cleanup.run_id in canceled.told().canceled
            if retried.error is not None:
                assert isinstance(retried.error, RunNotRetryable)
            else:  # it came second
                assert canceled.told().already_canceled == [run.run_id]
                assert retried.told().status == RunStatus.PENDING
            schedules += 1
    assert schedules >= 5
