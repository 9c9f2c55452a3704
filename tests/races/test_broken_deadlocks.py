"""A deadlock that the project's own transaction brings about costs the engine's verbs nothing.

The verbs keep one order of locks; a transaction that uses several of them may not. Here somebody
holds the last of three runs and waits for the first, and never looks for a deadlock: so PostgreSQL
breaks up the other side, which is ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction

from django_openworkflow import RetryPolicy, Step, send_signal, workflow
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.transactions import is_deadlock
from tests.races.families import cancel_some
from tests.races.rivals import (
    PATIENCE_SECONDS,
    Ending,
    Rival,
    ending,
    held_open,
    requires_row_locks,
    rivals,
)
from tests.races.scenes import Scene, held_run, insert_run, waiting_run
from tests.races.test_ledger import lock
from tests.races.witness import deadlocks
from tests.worker.conftest import opened  # noqa: F401 - closes what a worker's threads opened
from tests.worker.workers import Gate, wait_until, working

pytestmark = [requires_row_locks, pytest.mark.django_db(transaction=True)]

Trio: TypeAlias = list[Scene]


class Stubborn:
    """Locks one run, and later another one, in one transaction; looks for no deadlock."""

    def __init__(self, rival: Rival, first: UUID, then: UUID) -> None:
        self._rival = rival
        self._has_first, self._may_go_on = threading.Event(), threading.Event()
        self.action = rival.do(self._act, first, then)
        assert self._has_first.wait(PATIENCE_SECONDS)

    def ask_for_the_other(self) -> None:
        """Ask for the second run, and be seen to wait for it."""
        self._may_go_on.set()
        self._rival.wait_until_blocked(self.action)

    def _act(self, first: UUID, then: UUID) -> None:
        with transaction.atomic():
            find_deadlocks_after("60s")
            lock(first)
            self._has_first.set()
            self._may_go_on.wait(PATIENCE_SECONDS)
            lock(then)


def find_deadlocks_after(duration: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('deadlock_timeout', %s, true)", [duration])


@pytest.fixture(autouse=True)
def _may_say_who_looks_for_deadlocks(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() != (True,):
            pytest.skip("only a superuser may set deadlock_timeout")


@pytest.fixture(autouse=True)
def _no_deadlocks() -> None:
    """Here they are meant: takes the place of the fixture that counts them."""


def break_up(trio: Trio, action: Callable[[], Any]) -> Ending:
    """Let an action that locks three runs in order become the victim of a deadlock."""
    first, middle, last = sorted(scene.run_id for scene in trio)
    before = deadlocks()
    with rivals("ours", "theirs", "doorkeeper") as (ours, theirs, doorkeeper):
        stubborn = Stubborn(theirs, last, then=first)
        with held_open(doorkeeper, partial(lock, middle)):
            acting = ours.do(action)
            ours.wait_until_blocked(acting)
            stubborn.ask_for_the_other()
        met = ending(acting)
        ending(stubborn.action).told()
    # More than one, if what is done again has the first lock before the other one wakes up.
    wait_until(lambda: deadlocks() > before, "the deadlock to be counted")
    return met


def test_a_cancel_of_many_is_done_again() -> None:
    trio = [held_run() for _ in range(3)]
    outcome = break_up(trio, partial(cancel_some, trio, "ours")).told()
    assert outcome.canceled == sorted(scene.run_id for scene in trio)


def test_a_retry_is_done_again() -> None:
    run = held_run()
    WorkflowRun.objects.cancel(run.run_id)
    cleanups = [insert_run(cleanup_of_id=run.run_id) for _ in range(2)]
    cancel_some(cleanups, "first")
    retry = partial(WorkflowRun.objects.retry, run.run_id)
    assert break_up([run, *cleanups], retry).told().status == "pending"


def test_a_send_is_done_again() -> None:
    trio = [waiting_run() for _ in range(3)]
    context = {"kind": "signal-wait", "signal": "all", "timeoutAt": "2999-01-01T00:00:00.000Z"}
    StepAttempt.objects.update(context=context)
    received = break_up(trio, partial(send_signal, "all", idempotency_key="once")).told()
    assert received == sorted(scene.run_id for scene in trio)


def test_inside_of_the_callers_transaction_the_error_is_the_callers() -> None:
    trio = [held_run() for _ in range(3)]

    def cancel_in_a_transaction() -> None:
        with transaction.atomic():
            cancel_some(trio, "ours")

    error = break_up(trio, cancel_in_a_transaction).error
    assert isinstance(error, OperationalError)
    assert is_deadlock(error)
    assert not WorkflowRun.objects.canceled().exists()


def test_a_transaction_step_begins_again_and_has_not_failed() -> None:
    """Its body locks another run; who holds the step's own run waits for that one."""
    other = held_run()
    gate = Gate()

    def body() -> str:
        Group.objects.create(name=f"try {gate.calls}")
        lock(other.run_id)
        return gate.body()

    with registry.isolated(), gate, rivals("theirs") as (theirs,):

        @workflow("locking")
        def locking(step: Step) -> str:
            once = RetryPolicy(maximum_attempts=1)
            result: str = step.transaction("locks", body, retry_policy=once)
            return result

        handle = locking.start()
        with working():
            gate.wait_until_entered()
            stubborn = Stubborn(theirs, handle.id, then=other.run_id)
            stubborn.ask_for_the_other()
            before = deadlocks()
            gate.open()
            assert handle.result(timeout=PATIENCE_SECONDS) == "done"
            ending(stubborn.action).told()
    assert gate.calls >= 2
    assert Group.objects.count() == 1
    wait_until(lambda: deadlocks() > before, "the deadlock to be counted")
    attempt = StepAttempt.objects.get(workflow_run=handle.id)
    assert (attempt.status, attempt.error, handle.run.crashes) == ("completed", None, 0)
