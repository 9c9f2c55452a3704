"""Workflows that write down in a folder what they do, and wait for files to appear there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from django_openworkflow import Step, workflow
from tests.worker.workers import wait_until

_SHORTLY = threading.Event()


def hold(folder: str, name: str) -> str:
    """Note that the body began, wait for leave to end, and note that it ended."""
    note(folder, f"{name} began")
    wait_until(Path(folder, f"finish-{name}").exists, f"leave to finish {name}")
    note(folder, f"{name} ended")
    return name


def note(folder: str, line: str) -> None:
    """Append a line to the journal, whoever else does."""
    with Path(folder, "journal").open("a") as journal:
        journal.write(f"{line}\n")


@workflow("two-long-steps")
def two_long_steps(step: Step, folder: str) -> list[str]:
    return [step.run(name, hold, folder, name) for name in ("first", "second")]


@workflow("whereabouts")
def whereabouts(step: Step) -> list[int]:
    """Return the CPUs that a step's body may run on."""
    return step.run("look", lambda: sorted(os.sched_getaffinity(0)))


@workflow("restless")
def restless(step: Step) -> None:
    while True:
        step.run("again", _SHORTLY.wait, 0.02)
