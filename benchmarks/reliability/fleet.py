"""Worker processes as operators run them, and what operators and machines do to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import testproject

MANAGE: Final = Path(testproject.__path__[0]) / "manage.py"
_DRAIN_SECONDS: Final = 15


class WorkerProcess:
    """One ``manage.py runworker``."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid
        # What the ids of its claims begin with.
        self.prefix = f"{socket.gethostname()}-{self.pid}:"

    @property
    def is_alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill it where it stands."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int | None:
        """Return its exit status, or None if it has not ended in time."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None


class Fleet:
    """The workers of one check; all of them are gone after the ``with`` block."""

    def __init__(self, folder: Path, *, concurrency: int, **environment: str) -> None:
        self._log = folder / "workers.log"
        self._concurrency = concurrency
        self._environment = environment
        self.alive: list[WorkerProcess] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_exc: object) -> None:
        for worker in self.alive:
            worker.send(signal.SIGCONT)
            worker.send(signal.SIGTERM)
        ends_at = time.monotonic() + _DRAIN_SECONDS
        for worker in self.alive:
            if worker.wait(max(0.0, ends_at - time.monotonic())) is None:
                worker.kill()

    def start(self, count: int = 1, *arguments: str, **environment: str) -> WorkerProcess:
        """Start workers and return the last one."""
        command = [sys.executable, str(MANAGE), "runworker"]
        command += ["--concurrency", str(self._concurrency), *arguments]
        for _ in range(count):
            worker = WorkerProcess(command, {**self._environment, **environment}, self._log)
            self.alive.append(worker)
        return worker

    def forget(self, worker: WorkerProcess) -> None:
        """A process that was killed, or has ended, is no worker any more."""
        self.alive.remove(worker)
