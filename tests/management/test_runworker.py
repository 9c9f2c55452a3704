"""runworker: fails in one line, and starts anew when code changes without costing a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import autoreload

from django_openworkflow import Step, workflow
from django_openworkflow.management.commands import runworker
from django_openworkflow.models import WorkerProcess, WorkflowRun
from django_openworkflow.worker.processors import can_pin, pin
from tests.management.conftest import make
from tests.worker.processes import MANAGE, database_url
from tests.worker.workers import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Shell

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--concurrency", "0"], "argument --concurrency: must be a whole number"),
        (["--database", "nowhere"], "There is no database 'nowhere' in DATABASES."),
        (["--reload", "--once"], "--reload goes on until it is stopped: leave out"),
        (["--reload", "--until-idle"], "--reload goes on until it is stopped: leave out"),
        (["extra"], "unrecognized arguments: extra"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_1(
    args: list[str], problem: str, shell: Shell
) -> None:
    done = shell("runworker", *args)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"CommandError: {problem}")


@pytest.mark.parametrize("args", [[], ["--reload"]])
def test_a_database_without_tables_is_one_line_and_exit_code_1(
    args: list[str], shell: Shell, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}
    done = shell("runworker", *args, env=env)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith('CommandError: The database "default" ')


def test_a_pinned_worker_has_one_cpu_and_all_its_threads_with_it(shell: Shell) -> None:
    run = make(workflow_name="whereabouts", input={})
    done = shell(
        "runworker",
        "--once",
        "--pin-cpu",
        env={"DJANGO_SETTINGS_MODULE": "tests.worker.process.settings"},
    )
    run.refresh_from_db()
    if can_pin():
        assert done.returncode == 0, done.stderr
        assert len(run.output) == 1
        assert set(run.output) <= os.sched_getaffinity(0)
    else:
        assert done.stderr.startswith("CommandError: --pin-cpu: a process cannot be kept")


def test_processes_take_the_cpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_pin():
        pytest.skip("this system does not let a process choose its CPUs")
    chosen: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {2, 5, 7})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cpus: chosen.append(cpus))
    assert [pin(index) for index in range(4)] == [2, 5, 7, 2]
    assert chosen == [{2}, {5}, {7}, {2}]


def test_a_system_that_refuses_is_one_line(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_index: int) -> int:
        message = "Operation not permitted"
        raise OSError(message)

    monkeypatch.setattr(runworker, "pin", refuse)
    done = invoke("runworker", "--once", "--pin-cpu")
    assert done.error == "--pin-cpu: Operation not permitted."


def test_what_is_there_is_executed(invoke: Invoke) -> None:
    @workflow("hello")
    def hello(step: Step) -> str:
        return "world"

    run = make(workflow_name="hello", input={})
    done = invoke("runworker", "--until-idle")
    assert done.error is None
    assert done.lines[-1].endswith("stopped after 1 passes.")
    assert WorkflowRun.objects.get(pk=run.pk).output == "world"


def test_reload_works_in_the_reloaders_thread_and_drains_before_the_process_ends(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()

    @workflow("long")
    def long(step: Step) -> str:
        def body() -> str:
            entered.set()
            leave.wait(PATIENCE_SECONDS)
            return "done"

        return step.run("wait", body)

    def change_code_in_the_middle_of_a_step(main: Callable[[], Any]) -> None:
        threading.Thread(target=main, daemon=True).start()
        assert entered.wait(PATIENCE_SECONDS)
        threading.Timer(0.1, leave.set).start()
        raise SystemExit(3)  # how Django's reloader ends the process

    monkeypatch.setattr(autoreload, "run_with_reloader", change_code_in_the_middle_of_a_step)
    run = make(workflow_name="long", input={})
    with pytest.raises(SystemExit):
        invoke("runworker", "--reload")
    run.refresh_from_db()
    assert (run.worker_id is None or run.status == "completed") is True
    assert (run.crashes, run.takeovers) == (0, 0)
    assert list(run.step_attempts.values_list("status", flat=True)) == ["completed"]
    assert not WorkerProcess.objects.exists()


@pytest.fixture
def reloading(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A reloading worker in a process group of its own, as a terminal makes, and its code."""
    code = tmp_path / "reloaded" / "workflows.py"
    code.parent.mkdir()
    (code.parent / "__init__.py").touch()
    code.touch()
    (tmp_path / "reloading_settings.py").write_text(
        "from testproject.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'reloaded']\n"
    )
    env = {
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "reloading_settings",
        "PYTHONPATH": str(tmp_path),
    }
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, str(MANAGE), "runworker", "--reload", "--grace", "1"],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process, code
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def alive() -> set[int]:
    return set(WorkerProcess.objects.values_list("pid", flat=True))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_changed_code_drains_the_worker_and_starts_another(
    reloading: tuple[subprocess.Popen[str], Path],
) -> None:
    _, code = reloading
    wait_until(alive, "the worker")
    first = alive()

    def change() -> set[int]:
        moment = os.stat(code).st_mtime + 10
        os.utime(code, (moment, moment))
        return alive() - first

    wait_until(change, "another worker")
    wait_until(lambda: not alive() & first, "the end of the first worker")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_drains_a_reloading_worker(
    reloading: tuple[subprocess.Popen[str], Path],
) -> None:
    process, _ = reloading
    wait_until(alive, "the worker")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert not alive()


def test_who_calls_it_from_code_gets_the_handlers_of_signals_back(invoke: Invoke) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert invoke("runworker", "--until-idle").error is None
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
