"""Several worker processes under one: started anew when they crash, and drained together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger: Final = logging.getLogger(__name__)

_INDEX: Final = "OPENWORKFLOW_PROCESS_INDEX"
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
# A process that has lived for so long has not crashed because of how it was started.
_HEALTHY_SECONDS: Final = 60.0


class Supervisor:
    """Keeps so many processes of one command alive until it is asked to stop.

    A process that ends with 0 has done its work and is not started again; any other end is a
    crash, and the next start waits for a pause that doubles. The processes are no children of the
    terminal: a Ctrl-C reaches them through ``stop`` alone.
    """

    def __init__(self, count: int, command: Sequence[str]) -> None:
        self._command = command
        self._keepers = [
            threading.Thread(target=self._keep, args=(index,), name=f"openworkflow-keeper-{index}")
            for index in range(count)
        ]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: list[int] = []
        self._stopping = threading.Event()
        self._is_asked = False  # to stop
        self._mutex = threading.RLock()  # a signal may come while another is being passed on

    def run(self) -> int:
        """Start the processes and wait until all are gone; return 0, or 1 if one ended badly."""
        for keeper in self._keepers:
            keeper.start()
        for keeper in self._keepers:
            keeper.join()
        return int(any(self._codes))

    def stop(self) -> None:
        """Pass a stop on: the first drains the processes, the second ends them at once.

        The second kills: a second SIGTERM is lost where the first has not been heard yet, and
        nothing is heard while a body keeps the interpreter to itself. May be called from a signal
        handler, in the thread that is in ``run``.
        """
        with self._mutex:
            is_second, self._is_asked = self._is_asked, True
            if not is_second:  # a second signal may find this thread inside of set(), and its lock
                self._stopping.set()
            for process in self._processes.values():
                if is_second:
                    process.kill()
                else:
                    process.terminate()

    def _keep(self, index: int) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while (process := self._start(index)) is not None:
            begun_at = time.monotonic()
            code = self._wait_for(index, process)
            if code == 0 or self._stopping.is_set():
                # A process that is stopped while it starts has nothing to drain.
                self._codes.append(0 if code == -signal.SIGTERM else code)
                return
            if time.monotonic() - begun_at > _HEALTHY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            logger.error("Worker process %s ended with %s; a new one follows", process.pid, code)
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _wait_for(self, index: int, process: subprocess.Popen[bytes]) -> int:
        code = process.wait()
        with self._mutex:
            del self._processes[index]
        if process.stdin is not None:
            process.stdin.close()
        return code

    def _start(self, index: int) -> subprocess.Popen[bytes] | None:
        """Start process number ``index``, unless it is too late for that."""
        with self._mutex:
            if self._stopping.is_set():
                return None
            process = subprocess.Popen(  # noqa: S603 - the command that this process was called by
                self._command,
                stdin=subprocess.PIPE,  # its end tells the process that nobody watches over it
                env={**os.environ, _INDEX: str(index)},
                start_new_session=True,
            )
            self._processes[index] = process
            return process


def own_index() -> int | None:
    """Return the number of this process among those of its supervisor; None without one."""
    index = os.environ.get(_INDEX)
    return None if index is None else int(index)


def call_when_orphaned(stop: Callable[[], object]) -> None:
    """Call ``stop`` when the supervisor has died: nobody else would end this process."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not a file's read(): its lock outlives the thread
            pass
        stop()

    threading.Thread(target=watch, name="openworkflow-orphan-watch", daemon=True).start()


@contextmanager
def signals_handled(
    on_first: Callable[[int], object], on_second: Callable[[int], object], *, for_good: bool
) -> Iterator[None]:
    """Call ``on_first`` at the first SIGTERM or SIGINT, and ``on_second`` at every further one.

    Unless it is ``for_good``, until the process ends, what the signals did before comes back.
    Outside of the main thread (a test, an autoreloader) there is nothing to install.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        (on_first if len(received) == 1 else on_second)(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if not for_good:
            for number, handler in before.items():
                signal.signal(number, handler)
