"""What step bodies have really done, outside of any database: one appended line for each event.

A line is written by one system call in append mode, so lines of many processes never mix, and what
a body has noted is there even if its process is killed at the next instruction.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

ENVIRONMENT: Final = "RELIABILITY_EFFECTS"


class Body(NamedTuple):
    """One call of a step's body."""

    run: str
    step: str
    pid: int


def note(event: str, run: object, step: str) -> None:
    """Append that this process enters or leaves the body of a step, or that a result was acked."""
    line = f"{event} {run} {step} {os.getpid()}\n"
    descriptor = os.open(os.environ[ENVIRONMENT], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@dataclass
class Effects:
    """The lines so far. ``read`` goes on where it stopped."""

    path: Path
    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    acked: set[tuple[str, str]] = field(default_factory=set)
    _open: Counter[Body] = field(default_factory=Counter)
    _offset: int = 0

    def read(self) -> None:
        """Take note of the whole lines that have been added."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            event, run, step, pid = line.split(" ")
            body = Body(run, step, int(pid))
            if event == "acked":
                self.acked.add((run, step))
                continue
            self._open[body] += 1 if event == "enter" else -1
            if event == "enter":
                self.entries[run, step] += 1

    def bodies_of(self, pid: int) -> list[Body]:
        """The bodies that a process has entered and not left."""
        return [body for body, count in self._open.items() if body.pid == pid and count > 0]

    def forget(self, pid: int) -> None:
        """A killed process will leave no body any more."""
        for body in self.bodies_of(pid):
            del self._open[body]
