"""``runworker --processes``: real processes, killed and started anew, drained and orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.management import CommandError, call_command

from django_openworkflow.models import WorkerProcess, WorkflowRun
from django_openworkflow.worker.supervisor import Supervisor
from tests.factories import WorkflowRunFactory
from tests.worker.processes import Folder, worker_process
from tests.worker.workers import PATIENCE_SECONDS, wait_until


def pids() -> set[int]:
    """Return the processes of the workers that have a row."""
    return set(WorkerProcess.objects.values_list("pid", flat=True))


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_crashes_is_replaced_and_a_signal_drains_them_all(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with worker_process("--processes", "2", "--concurrency", "2") as supervisor:
        wait_until(lambda: len(pids()) == 2, "two workers")
        first = pids()
        assert supervisor.pid not in first
        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(pids() - {killed}) == 2, "a new worker")
        WorkerProcess.objects.filter(pid=killed).delete()

        run = WorkflowRunFactory.create(
            workflow_name="two-long-steps", input={"folder": str(tmp_path)}
        )
        wait_until(lambda: folder.journal() == ["first began"], "the first step")
        others = {WorkflowRunFactory.create(workflow_name="restless").pk for _ in range(3)}
        held = WorkflowRun.objects.filter(pk__in=others).exclude(worker_id=None)
        wait_until(lambda: held.count() == 3, "two processes without a free slot")
        supervisor.send_signal(signal.SIGTERM)
        wait_until(lambda: not held.exists(), "two processes that have heard of it")
        wait_until(lambda: len(pids()) == 1, "the end of the one that has nothing left to do")
        folder.let_finish("first")
        assert supervisor.wait(PATIENCE_SECONDS) == 0

    run.refresh_from_db()
    assert (run.worker_id, run.crashes) == (None, 0)
    assert folder.journal() == ["first began", "first ended"]
    assert not pids()


def test_a_second_signal_ends_them_all_at_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    WorkflowRunFactory.create(workflow_name="two-long-steps", input={"folder": str(tmp_path)})
    with worker_process("--processes", "2") as supervisor:
        wait_until(lambda: folder.journal() == ["first began"], "the first step")
        wait_until(lambda: len(pids()) == 2, "two workers")
        supervisor.send_signal(signal.SIGINT)
        wait_until(lambda: len(pids()) == 1, "the end of the idle worker")
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(PATIENCE_SECONDS) == 1

    assert folder.journal() == ["first began"]
    assert WorkflowRun.objects.get().worker_id is not None


def test_processes_whose_supervisor_was_killed_drain_by_themselves() -> None:
    with worker_process("--processes", "2") as supervisor:
        wait_until(lambda: len(pids()) == 2, "two workers")
        orphans = pids()
        supervisor.kill()
        wait_until(lambda: not pids(), "the end of the orphans")
        wait_until(lambda: not any(map(is_alive, orphans)), "the end of their processes")


def test_processes_that_have_done_their_work_are_not_started_again() -> None:
    with worker_process("--processes", "2", "--until-idle") as supervisor:
        assert supervisor.wait(PATIENCE_SECONDS) == 0


def test_a_process_that_ends_badly_is_started_again_until_it_ends_well(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        f"lives = pathlib.Path({str(tmp_path)!r})\n"
        "(lives / str(os.getpid())).touch()\n"
        "sys.exit(len(list(lives.iterdir())) < 3)\n"
    )

    assert Supervisor(1, [sys.executable, "-c", code]).run() == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_a_stop_during_the_pause_after_a_crash_starts_nothing_more(tmp_path: Path) -> None:
    code = f"import pathlib, os; pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch(); 1 / 0"
    supervisor = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", supervising(code)], stderr=subprocess.DEVNULL
    )
    wait_until(lambda: any(tmp_path.iterdir()), "the first start")
    supervisor.terminate()
    supervisor.wait(PATIENCE_SECONDS)
    count = len(list(tmp_path.iterdir()))

    assert 1 <= count < 5


def test_a_further_signal_ends_a_process_that_hears_none(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        f"pathlib.Path({str(tmp_path)!r}, 'begun').touch()\n"
        "signal.pause()\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", supervising(code)])  # noqa: S603 - our own
    wait_until(lambda: any(tmp_path.iterdir()), "the start")

    def has_ended() -> bool:
        supervisor.terminate()
        return supervisor.poll() is not None

    wait_until(has_ended, "the end of both")
    assert supervisor.returncode in {1, -signal.SIGTERM}  # the last one may come when all is over


def supervising(code: str) -> str:
    """Return a program that watches over a process with this code, and passes signals on."""
    return (
        "import sys\n"
        "from django_openworkflow.worker.supervisor import Supervisor, signals_handled\n"
        f"one = Supervisor(1, [sys.executable, '-c', {code!r}])\n"
        "with signals_handled(lambda _: one.stop(), lambda _: one.stop(), for_good=True):\n"
        "    sys.exit(one.run())\n"
    )


def test_reloading_is_for_one_process() -> None:
    with pytest.raises(CommandError, match="leave out --processes"):
        call_command("runworker", "--processes", "2", "--reload")


def test_a_second_signal_may_come_while_the_first_is_being_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Supervisor(0, [])
    condition = cast("Any", one._stopping)._cond  # set() holds its lock while it notifies
    monkeypatch.setattr(condition, "notify_all", one.stop)
    thread = threading.Thread(target=one.stop, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)

    assert not thread.is_alive()
    assert one._stopping.is_set()
