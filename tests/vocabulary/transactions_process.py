"""A worker process that is killed at a chosen moment of its first transaction step.

Called as ``python -m tests.vocabulary.transactions_process MOMENT JOURNAL``; with another MOMENT
than those below it does its work and ends.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import django

from django_openworkflow import Step, workflow

if TYPE_CHECKING:
    from django_openworkflow.store.operations import Receipt, StepCompleted

IN_THE_BODY: Final = "in the body"
BEFORE_THE_COMMIT: Final = "before the commit"
AFTER_THE_COMMIT: Final = "after the commit"
NEVER: Final = "never"


def die() -> None:
    """End as a process does that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def note(journal: Path, line: str) -> None:
    """Append a line to the journal."""
    with journal.open("a") as lines:
        lines.write(f"{line}\n")


def define_workflow(moment: str, journal: Path) -> None:
    """Register the workflow of the test, with a body that dies at its moment."""
    from django.contrib.auth.models import Group
    from django.db import transaction

    def reserve() -> str:
        note(journal, "reserve")
        if moment == AFTER_THE_COMMIT:
            transaction.on_commit(die)
        group = Group.objects.create(name=f"group {Group.objects.count()}")
        if moment == IN_THE_BODY:
            die()
        return group.name

    @workflow("reserving")
    def reserving(step: Step) -> list[str]:
        reserved = step.transaction("reserve", reserve)
        step.run("thank", note, journal, "thank")
        return [reserved]


def die_before_the_commit() -> None:
    """Let the process end when the checkpoint has been written but not committed."""
    from django_openworkflow.worker.ledger import GroupLedger

    written = GroupLedger.commit_with

    def commit_with(self: GroupLedger, operation: StepCompleted) -> Receipt:
        receipt = written(self, operation)
        die()
        return receipt

    patched: Any = GroupLedger
    patched.commit_with = commit_with


def work(moment: str, journal: Path) -> None:
    """Execute what is due."""
    django.setup()
    define_workflow(moment, journal)
    if moment == BEFORE_THE_COMMIT:
        die_before_the_commit()
    from django_openworkflow.worker.worker import Worker, WorkerOptions

    options = WorkerOptions(using="default", concurrency=1, poll_seconds=(0.005, 0.05))
    Worker(options).run(until_idle=True)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
