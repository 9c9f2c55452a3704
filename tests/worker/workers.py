"""Workers in threads of the test, and ways to watch them without a bare sleep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connection

from django_openworkflow import clock
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import TERMINAL
from django_openworkflow.worker.worker import Worker, WorkerOptions

if TYPE_CHECKING:
    from django_openworkflow import RunHandle

PATIENCE_SECONDS: Final = 20.0
# Heartbeats come three times in this; long enough for a busy machine.
SHORT_LEASE_SECONDS: Final = 4.5

_NEVER: Final = threading.Event()


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return once the condition holds; fail when it does not in good time."""
    gives_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > gives_up_at:
            message = f"waited in vain for {what}"
            raise AssertionError(message)
        _NEVER.wait(0.005)


def make_worker(**options: Any) -> Worker:
    """Return a worker that polls often."""
    given = {"using": "default", "concurrency": 4, "poll_seconds": (0.005, 0.05), **options}
    return Worker(WorkerOptions(**given))


def run_to_end(worker: Worker, **how: bool) -> Worker:
    """Let a worker run until it ends by itself; fail when it does not."""
    thread = threading.Thread(target=worker.run, kwargs=how)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    if thread.is_alive():
        worker.request_stop()
        thread.join(PATIENCE_SECONDS)
        message = "the worker did not end by itself"
        raise AssertionError(message)
    return worker


def work_until_idle(**options: Any) -> Worker:
    """Let a worker execute what there is."""
    return run_to_end(make_worker(**options), until_idle=True)


@contextmanager
def working(**options: Any) -> Iterator[Worker]:
    """Let a worker work while the block runs, and drain it at the end."""
    worker = make_worker(**options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.request_stop()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


class Gate:
    """A step body that stays inside until it is let out."""

    def __init__(self) -> None:
        self.calls = 0
        self._entered = threading.Event()
        self._open = threading.Event()

    def body(self, result: str = "done") -> str:
        """Enter, and wait."""
        self.calls += 1
        self._entered.set()
        assert self._open.wait(3 * PATIENCE_SECONDS)
        return result

    def wait_until_entered(self) -> None:
        """Return once the body runs."""
        assert self._entered.wait(PATIENCE_SECONDS)

    def open(self) -> None:
        """Let the body return."""
        self._open.set()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_error: object) -> None:
        self.open()


def wait_for_end(*handles: RunHandle[Any]) -> None:
    """Return once all of these runs have ended."""
    ids = [handle.id for handle in handles]
    running = WorkflowRun.objects.filter(pk__in=ids).exclude(status__in=TERMINAL)
    wait_until(lambda: not running.exists(), "the end of the runs")


def steal(handle: RunHandle[Any]) -> None:
    """Let a run have another worker, which keeps it for an hour."""
    in_an_hour = clock.read("default") + timedelta(hours=1)
    run = WorkflowRun.objects.filter(pk=handle.id)
    run.update(worker_id="thief:token", available_at=in_an_hour)


def attempts_of(handle: RunHandle[Any]) -> list[tuple[str, str]]:
    """Return the names and statuses of a run's step attempts, oldest first."""
    rows = StepAttempt.objects.filter(workflow_run=handle.id).order_by("created_at", "pk")
    return list(rows.values_list("step_name", "status"))


# --- connections, seen by the server ------------------------------------------------------------


def backend_pid() -> int:
    """Return the server process of this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def is_alive(pid: int) -> bool:
    """Whether a server process is alive."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        return bool(cursor.fetchone()[0])
