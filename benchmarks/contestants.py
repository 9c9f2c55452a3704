"""The contestants: how their programs are called, and what their tables say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from benchmarks.environments import ABSURD, DBOS, DJANGO_TASKS, DRIVERS, OPENWORKFLOW, PROCRASTINATE

if TYPE_CHECKING:
    from benchmarks.server import Server

_ROOT: Final = DRIVERS.parent.parent
_DRIVER_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 10.0


class Failed(Exception):
    """A contestant did not do what it was asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A product: the command of its driver, and the SQL that counts its completed runs."""

    name: str
    command: tuple[str, ...]
    count_completed: str
    environment: str | None = None  # that it is installed in; None is the project's own

    @property
    def database(self) -> str:
        """The name of its database."""
        return f"bench_{self.name.replace('-', '_')}"


OURS: Final = System(
    name="ours",
    command=(sys.executable, "-m", "benchmarks.drivers.django_openworkflow_peer"),
    count_completed="SELECT count(*) FROM django_openworkflow_workflowrun"
    " WHERE status = 'completed'",
)
ORIGINAL: Final = System(
    name="openworkflow",
    command=(
        str(OPENWORKFLOW.node),
        "--no-warnings",
        str(OPENWORKFLOW.node.parents[3] / "openworkflow_peer.mjs"),
    ),
    count_completed="SELECT count(*) FROM openworkflow.workflow_runs WHERE status = 'completed'",
    environment=OPENWORKFLOW.name,
)
DBOS_TRANSACT: Final = System(
    name="dbos",
    command=(str(DBOS.interpreter), "-m", "benchmarks.drivers.dbos_peer"),
    count_completed="SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'",
    environment=DBOS.name,
)
ABSURD_SDK: Final = System(
    name="absurd",
    command=(str(ABSURD.interpreter), "-m", "benchmarks.drivers.absurd_peer"),
    count_completed="SELECT count(*) FROM absurd.t_bench WHERE state = 'completed'",
    environment=ABSURD.name,
)
PROCRASTINATE_JOBS: Final = System(
    name="procrastinate",
    command=(str(PROCRASTINATE.interpreter), "-m", "benchmarks.drivers.procrastinate_peer"),
    count_completed="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    environment=PROCRASTINATE.name,
)
DJANGO_TASKS_DB: Final = System(
    name="django-tasks",
    command=(str(DJANGO_TASKS.interpreter), "-m", "benchmarks.drivers.django_tasks_peer"),
    count_completed="SELECT count(*) FROM django_tasks_database_dbtaskresult"
    " WHERE status = 'SUCCESSFUL'",
    environment=DJANGO_TASKS.name,
)
CEILING: Final = System(
    name="ceiling",
    command=(sys.executable, "-m", "benchmarks.drivers.ceiling"),
    count_completed="SELECT count(*) FROM run WHERE status = 2",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of a log: what happened (a letter), to the run started when, and at what time."""

    letter: str
    moment: str
    at: float


@dataclass(slots=True)
class Bench:
    """One system on an empty database of its own, and the log that its programs write."""

    system: System
    url: str
    log: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bench-")) / "log")

    def drive(self, verb: str, *options: object, logged: bool = False) -> dict[str, float]:
        """Run the driver for one verb and return what it measured."""
        command = [*self.system.command, verb, "--url", self.url, *map(str, options)]
        try:
            done = subprocess.run(
                command,
                cwd=_ROOT,
                env=self._environment(logged=logged),
                capture_output=True,
                text=True,
                timeout=_DRIVER_SECONDS,
            )
        except subprocess.TimeoutExpired:
            message = f"{verb} took more than {_DRIVER_SECONDS:.0f} seconds"
            raise Failed(message) from None
        if done.returncode:
            message = f"{verb} failed: {done.stderr.strip()[-800:]}"
            raise Failed(message)
        lines = done.stdout.strip().splitlines()
        result: dict[str, float] = json.loads(lines[-1]) if lines and verb != "init" else {}
        return result

    @contextmanager
    def workers(self, *options: object, processes: int = 1) -> Iterator[list[psutil.Process]]:
        """Run workers while the block lasts; what they write to standard error is kept."""
        errors = self.log.with_name("errors")
        command = [*self.system.command, "worker", "--url", self.url, *map(str, options)]
        with errors.open("ab") as stream:
            started = [
                psutil.Popen(
                    command,
                    cwd=_ROOT,
                    env=self._environment(logged=True),
                    stdout=subprocess.DEVNULL,
                    stderr=stream,
                )
                for _ in range(processes)
            ]
        try:
            yield started
            for worker in started:
                if worker.poll() is not None:
                    message = f"a worker ended: {errors.read_text()[-800:]}"
                    raise Failed(message)
        finally:
            _stop(started)

    def events(self, letters: str) -> list[Event]:
        """Return what has been logged so far, of these kinds."""
        if not self.log.exists():
            return []
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [
            Event(letter=letter, moment=moment, at=float(at))
            for letter, moment, at in lines
            if letter in letters
        ]

    def _environment(self, *, logged: bool) -> dict[str, str]:
        given = {**os.environ, "PYTHONWARNINGS": "ignore", "BENCH_LOG": str(self.log)}
        if not logged:
            del given["BENCH_LOG"]
        return given


@contextmanager
def bench(system: System, server: Server, *, init: bool = True) -> Iterator[Bench]:
    """Give a system a new database for as long as the block lasts."""
    made = Bench(system, server.create(system.database))
    try:
        if init:
            made.drive("init")
        yield made
    finally:
        server.drop(system.database)


def wait_until(condition: Any, *, seconds: float, pause: float = 0.02) -> None:
    """Wait for a condition; raises ``Failed`` when the time is over."""
    ends_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends_at:
            message = f"nothing came of it within {seconds:.0f} seconds"
            raise Failed(message)
        time.sleep(pause)


def resident(processes: Sequence[psutil.Process]) -> int:
    """Return the memory that processes and their children hold now, in bytes."""
    total = 0
    for process in processes:
        try:
            family = [process, *process.children(recursive=True)]
            total += sum(member.memory_info().rss for member in family)
        except psutil.Error:
            continue
    return total


def _stop(workers: Sequence[psutil.Popen]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
    for worker in workers:
        try:
            worker.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            worker.kill()
            worker.wait(_STOP_SECONDS)
