"""Worker processes of the demo: started, killed, drained. None of them outlives its block."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar

from django.db import DatabaseError

from django_openworkflow.models import WorkerProcess
from testproject import shop

T = TypeVar("T")

MANAGE: Final = str(Path(shop.__file__).resolve().parents[1] / "manage.py")
POLL_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 15.0
LINES_OF_LOG: Final = 15
# A row about a worker that is older may be about another process with the same id.
RECENT_SECONDS: Final = 30.0


class DemoFailed(Exception):
    """The demo cannot go on; the message says what it waited for or what broke."""


def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` in a process of its own and return what it said."""
    return subprocess.run(  # noqa: S603 (our own command line)
        [sys.executable, MANAGE, *arguments], capture_output=True, text=True, check=False
    )


@dataclass(slots=True)
class WorkerRecord:
    """One worker process, and how it ended."""

    process: subprocess.Popen[str]
    log: IO[str]
    was_killed: bool = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def last_words(self) -> str:
        """Return the end of what it wrote to standard error."""
        self.log.seek(0)
        return "".join(self.log.readlines()[-LINES_OF_LOG:])


@dataclass(slots=True)
class Workers:
    """``manage.py runworker``, several times; a context manager that leaves none behind."""

    concurrency: int
    lease_seconds: float
    ends_at: float  # by the monotonic clock: nobody waits longer
    records: list[WorkerRecord] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for record in self.records:
            record.process.kill()
        for record in self.records:
            record.process.wait()
            record.log.close()
        with suppress(DatabaseError):  # whatever ended the demo matters more
            WorkerProcess.objects.filter(pid__in=[record.pid for record in self.records]).delete()

    def start(self, count: int) -> None:
        """Start so many, and wait until all of them have reported to the database."""
        environment = {**os.environ, "OPENWORKFLOW_LEASE_SECONDS": str(self.lease_seconds)}
        command = [sys.executable, MANAGE, "runworker", "--concurrency", str(self.concurrency)]
        for _ in range(count):
            log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed on exit)
            process = subprocess.Popen(  # noqa: S603 (our own command line)
                command, env=environment, stdout=subprocess.DEVNULL, stderr=log, text=True
            )
            self.records.append(WorkerRecord(process=process, log=log))
        self.wait_for("the workers to start", self._have_reported)

    def _have_reported(self) -> bool:
        return len(self.names()) == len(self.living())

    def living(self) -> list[WorkerRecord]:
        """Return the workers that nobody has ended."""
        return [record for record in self.records if record.process.poll() is None]

    def names(self) -> dict[str, int]:
        """Return the process ids of living workers by the names that their claims carry."""
        pids = [record.pid for record in self.living()]
        rows = WorkerProcess.objects.alive(RECENT_SECONDS).filter(pid__in=pids)
        return dict(rows.values_list("name", "pid"))

    def kill(self, pid: int) -> int:
        """Send SIGKILL, which nobody can catch; return the exit code."""
        record = next(record for record in self.records if record.pid == pid)
        record.was_killed = True
        record.process.send_signal(signal.SIGKILL)
        return record.process.wait()

    def drain(self) -> Sequence[int]:
        """Ask the living to finish their steps and stop; return their exit codes."""
        living = self.living()
        for record in living:
            record.process.terminate()
        for record in living:
            try:
                record.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                record.process.kill()
        return [record.process.wait() for record in living]

    def wait_for(self, what: str, probe: Callable[[], T | None]) -> T:
        """Ask again and again until there is an answer that is true, and return it.

        Raises ``DemoFailed`` when the demo's time is over, or when a worker has died by itself.
        """
        while not (answer := probe()):
            self._require_all_well()
            if time.monotonic() > self.ends_at:
                message = f"The time is over, and the demo still waits for {what}."
                raise DemoFailed(message)
            time.sleep(POLL_SECONDS)
        return answer

    def _require_all_well(self) -> None:
        for record in self.records:
            code = record.process.poll()
            if code is not None and not record.was_killed:
                message = f"Worker {record.pid} ended with code {code}:\n{record.last_words()}"
                raise DemoFailed(message)
