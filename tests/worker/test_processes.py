"""Real worker processes and the signals that operators send them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from django_openworkflow import RunHandle, clock
from django_openworkflow.models import WorkerProcess, WorkflowRun
from tests.factories import WorkflowRunFactory
from tests.worker.processes import Folder, worker_process
from tests.worker.workers import PATIENCE_SECONDS, attempts_of, wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder of the test's own."""
    return Folder(tmp_path)


def start_long_and_restless(folder: Folder) -> tuple[RunHandle[Any], RunHandle[Any]]:
    """Start a run that is held in its first step, and one that goes from step to step."""
    long = WorkflowRunFactory.create(
        workflow_name="two-long-steps", input={"folder": str(folder.path)}
    )
    wait_until(lambda: folder.journal() == ["first began"], "the first step")
    restless: RunHandle[Any] = RunHandle(WorkflowRunFactory.create(workflow_name="restless").pk)
    wait_until(lambda: attempts_of(restless), "the restless run")
    return RunHandle(long.pk), restless


def wait_until_released(handle: RunHandle[Any]) -> None:
    """Return once a run was handed on: by then the process has heard of its signal."""
    wait_until(lambda: handle.run.worker_id is None, "the release of the restless run")


def test_sigterm_finishes_the_step_in_flight_and_hands_the_run_on(folder: Folder) -> None:
    with worker_process() as process:
        long, restless = start_long_and_restless(folder)
        process.send_signal(signal.SIGTERM)
        wait_until_released(restless)
        folder.let_finish("first")
        assert process.wait(PATIENCE_SECONDS) == 0

    assert folder.journal() == ["first began", "first ended"]
    assert attempts_of(long) == [("first", "completed")]
    for handle in (long, restless):
        run = handle.run
        assert (run.status, run.worker_id, run.takeovers, run.crashes) == ("running", None, 0, 0)
    assert not WorkerProcess.objects.exists()

    restless.cancel()
    folder.let_finish("second")
    with worker_process("--until-idle") as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    assert long.result(timeout=0) == ["first", "second"]
    assert folder.journal()[2:] == ["second began", "second ended"]


def test_a_second_sigterm_ends_the_process_at_once_and_another_one_takes_over(
    folder: Folder,
) -> None:
    with worker_process() as process:
        long, restless = start_long_and_restless(folder)
        process.send_signal(signal.SIGTERM)
        wait_until_released(restless)
        assert process.poll() is None  # it waits for the step in flight
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM

    assert long.run.worker_id is not None  # as if it had been killed
    assert attempts_of(long) == [("first", "running")]
    restless.cancel()
    WorkflowRun.objects.filter(pk=long.id).update(available_at=clock.read("default"))
    for name in ("first", "second"):
        folder.let_finish(name)
    with worker_process("--until-idle") as process:
        assert process.wait(PATIENCE_SECONDS) == 0

    assert long.result(timeout=0) == ["first", "second"]
    run = long.run
    assert (run.takeovers, run.crashes, run.failures) == (1, 0, 0)
    assert folder.journal().count("first began") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_start_up_is_not_lost(number: signal.Signals) -> None:
    with worker_process() as process:
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) in {0, 1, -number, 128 + number}
