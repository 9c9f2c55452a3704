"""All who wait in a process look at the database together, and each is told of its own run."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any, ClassVar
from uuid import UUID
from weakref import WeakValueDictionary

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction

from django_openworkflow import RunHandle, waiting
from django_openworkflow.exceptions import ResultTimeout, RunNotFound, WorkflowCanceled
from django_openworkflow.models import WorkflowRun
from tests.factories import WorkflowRunFactory, create_many

pytestmark = pytest.mark.django_db(transaction=True)

CROWD = 12
PATIENCE_SECONDS = 30
AN_HOUR_SECONDS = 3_600.0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return for how many runs each look at the database was."""
    sizes: list[int] = []
    look = waiting.ended_among

    def counted(run_ids: Any, place: Any) -> set[UUID]:
        sizes.append(len(run_ids))
        return look(run_ids, place)

    monkeypatch.setattr(waiting, "ended_among", counted)
    yield sizes
    if waiting._crowds:
        gc.collect()  # an error's traceback may have kept one in a cycle, an earlier test's as well
    assert not waiting._crowds  # nobody is kept when nobody waits


def result_of(run: WorkflowRun, timeout: float = PATIENCE_SECONDS) -> Any:
    try:
        return RunHandle(run.pk).result(timeout=timeout)
    finally:
        connections.close_all()


def until(condition: Callable[[], bool]) -> None:
    ends_at = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < ends_at
        threading.Event().wait(0.005)


@contextmanager
def waiters(runs: list[WorkflowRun]) -> Iterator[list[Future[Any]]]:
    with ThreadPoolExecutor(len(runs)) as pool:
        yield [pool.submit(result_of, run) for run in runs]


def complete(*runs: WorkflowRun) -> None:
    for run in runs:
        WorkflowRun._base_manager.filter(pk=run.pk).update(
            status="completed",
            available_at=None,
            finished_at=run.available_at,
            output=run.workflow_name,
        )


def test_threads_look_together(looks: list[int]) -> None:
    runs = create_many(CROWD)
    with waiters(runs) as results:
        until(lambda: CROWD in looks)
        before = len(looks)
        until(lambda: len(looks) > before + 2)
        assert set(looks[before:]) == {CROWD}
        complete(*runs)
        assert [result.result(PATIENCE_SECONDS) for result in results] == ["process-order"] * CROWD


def test_the_next_one_looks_when_the_first_is_done(looks: list[int]) -> None:
    """Whoever comes first leads; it leaves first, and nobody is left waiting."""
    runs = create_many(4)
    with waiters(runs) as results:
        until(lambda: len(runs) in looks)
        for run, result in zip(runs, results, strict=True):
            complete(run)
            assert result.result(PATIENCE_SECONDS) == "process-order"


def test_each_learns_its_own_end(looks: list[int]) -> None:
    completed, canceled, deleted = create_many(3)
    with waiters([completed, canceled, deleted]) as results:
        until(lambda: 3 in looks)
        complete(completed)
        canceled.cancel()
        WorkflowRun._base_manager.filter(pk=deleted.pk).delete()
        assert results[0].result(PATIENCE_SECONDS) == "process-order"
        with pytest.raises(WorkflowCanceled):
            results[1].result(PATIENCE_SECONDS)
        with pytest.raises(RunNotFound):
            results[2].result(PATIENCE_SECONDS)


def test_who_gives_up_leaves_the_others_waiting(looks: list[int]) -> None:
    hasty, patient = create_many(2)
    with waiters([patient]) as results:
        until(lambda: 1 in looks)
        with pytest.raises(ResultTimeout):
            RunHandle(hasty.pk).result(timeout=0.05)
        complete(patient)
        assert results[0].result(PATIENCE_SECONDS) == "process-order"


def test_who_comes_late_is_not_held_up_by_a_long_pause(
    monkeypatch: pytest.MonkeyPatch, looks: list[int]
) -> None:
    monkeypatch.setattr(waiting, "_LONGEST_PAUSE_SECONDS", AN_HOUR_SECONDS)
    early, late = create_many(2)
    with waiters([early]) as results:
        until(lambda: bool(looks))
        crowd = waiting._crowds[None, waiting._place()]
        with crowd._lock:
            crowd._pause_seconds = AN_HOUR_SECONDS  # as if it had grown for that long
        until(lambda: crowd._looks_at > monotonic() + AN_HOUR_SECONDS / 2)
        complete(early, late)
        started = monotonic()
        assert RunHandle(late.pk).result(timeout=2 * PATIENCE_SECONDS) == "process-order"
        assert monotonic() - started < PATIENCE_SECONDS
        assert results[0].result(PATIENCE_SECONDS) == "process-order"


def test_a_look_that_fails_is_the_leader_s_trouble_alone(
    monkeypatch: pytest.MonkeyPatch, looks: list[int]
) -> None:
    runs = create_many(2)
    look = waiting.ended_among
    failed: list[int] = []

    def fail_once(run_ids: Any, place: Any) -> set[UUID]:
        if len(run_ids) == 2 and not failed:
            failed.append(1)
            raise ConnectionError
        return look(run_ids, place)

    monkeypatch.setattr(waiting, "ended_among", fail_once)
    with waiters(runs) as results:
        until(lambda: bool(failed))
        complete(*runs)
        errors = [result.exception(PATIENCE_SECONDS) for result in results]
    assert sorted(map(type, errors), key=str) == sorted([ConnectionError, type(None)], key=str)


def test_two_who_come_first_at_once_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weak dictionary looks up and stores in two steps: in between, another one may come."""

    class Crowds(WeakValueDictionary[Any, waiting.Crowd]):
        others: ClassVar[list[threading.Thread]] = []

        def setdefault(self, key: Any, default: waiting.Crowd) -> waiting.Crowd:
            found = self.get(key)
            if not self.others:
                self.others.append(threading.Thread(target=come))
                self.others[0].start()
                self.others[0].join(0.2)  # if nothing holds it up, it is through by now
            if found is None:
                self[key] = found = default
            return found

    def come() -> None:
        crowds.append(waiting._crowd_of(None, ("default", "default")))

    crowds: list[waiting.Crowd] = []
    monkeypatch.setattr(waiting, "_crowds", Crowds())
    come()
    Crowds.others[0].join(PATIENCE_SECONDS)
    assert len(crowds) == 2
    assert crowds[0] is crowds[1]


FORK = """
import os
import signal
import threading
from django_openworkflow import waiting

def come():
    return waiting._crowd_of(None, ("default", "default"))

def found_slowly():
    with waiting._founding:
        is_founding.set()
        may_end.wait(0.2)  # the fork waits until then

crowd = come()
is_founding, may_end = threading.Event(), threading.Event()
threading.Thread(target=found_slowly).start()
assert is_founding.wait(10)
child = os.fork()
if child == 0:
    signal.alarm(10)  # ends it if it waits for ever
    os._exit(come() is crowd)
assert os.waitpid(child, 0)[1] == 0
assert come() is crowd
"""


def test_a_child_process_waits_with_nobody_of_its_parents() -> None:
    """And for no lock that another thread held when the process was forked."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=PATIENCE_SECONDS)  # noqa: S603 - our own


def test_inside_a_transaction_each_looks_alone(looks: list[int]) -> None:
    """What it has written itself, nobody else sees."""
    other = WorkflowRunFactory.create()
    with waiters([other]) as results:
        until(lambda: bool(looks))
        with transaction.atomic():
            run = WorkflowRunFactory.create(completed=True)
            assert RunHandle(run.pk).result(timeout=0) == {"ok": True}
        complete(other)
        assert results[0].result(PATIENCE_SECONDS) == "process-order"


def test_tasks_look_together(looks: list[int]) -> None:
    runs = create_many(CROWD)

    async def wait_for_all() -> list[Any]:
        waits: list[Any] = [RunHandle(run.pk).aresult(timeout=PATIENCE_SECONDS) for run in runs]
        gathered = asyncio.gather(*waits)
        while CROWD not in looks:
            await asyncio.sleep(0.005)
        before = len(looks)
        while len(looks) <= before + 2:
            await asyncio.sleep(0.005)
        assert set(looks[before:]) == {CROWD}
        await sync_to_async(complete)(*runs)
        return await gathered

    assert async_to_sync(wait_for_all)() == ["process-order"] * CROWD


def test_a_cancelled_task_hands_over(looks: list[int]) -> None:
    first, second = create_many(2)

    async def cancel_the_leader() -> Any:
        leader: asyncio.Task[Any] = asyncio.create_task(RunHandle(first.pk).aresult())
        follower: asyncio.Task[Any] = asyncio.create_task(
            RunHandle(second.pk).aresult(timeout=PATIENCE_SECONDS)
        )
        while 2 not in looks:
            await asyncio.sleep(0.005)
        leader.cancel()
        await sync_to_async(complete)(second)
        with pytest.raises(asyncio.CancelledError):
            await leader
        return await follower

    assert async_to_sync(cancel_the_leader)() == "process-order"
