"""Workflows with one trouble each: many steps, a hang, a sleep, a poison pill, a hog.

They are registered by ``workflows.py``, which every worker of the scorecard discovers.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.models import Group

from benchmarks.reliability.effects import note
from django_openworkflow import RetryPolicy, Step, workflow

if TYPE_CHECKING:
    from uuid import UUID

ONE_TRY: Final = RetryPolicy(maximum_attempts=1)
THREE_TRIES: Final = RetryPolicy(maximum_attempts=3, initial_interval="10ms")
_LOOK_SECONDS: Final = 0.02


def work(run: UUID, name: str, seconds: float) -> str:
    """Take a while, and leave a trace of it."""
    note("enter", run, name)
    time.sleep(seconds)
    note("leave", run, name)
    return name


def work_after(run: UUID, name: str, before: str | None, seconds: float) -> str:
    """Work, and note that the step before has been acknowledged: no body begins sooner."""
    if before is not None:
        note("acked", run, before)
    return work(run, name, seconds)


@workflow("rel-steps")
def many_steps(step: Step, count: int, seconds: float) -> int:
    """So many steps, one after the other."""
    before = None
    for number in range(count):
        name = f"step-{number}"
        args = (step.info.id, name, before, seconds)
        before = step.run(name, work_after, *args, retry_policy=ONE_TRY)
    return count


def hang(run: UUID, gate: str) -> str:
    """Hang until there is a file at ``gate``."""
    note("enter", run, "hang")
    while not Path(gate).exists():
        time.sleep(_LOOK_SECONDS)
    note("leave", run, "hang")
    return "through"


@workflow("rel-hang")
def hanging(step: Step, gate: str) -> str:
    """One step that hangs until a gate opens."""
    return step.run("hang", hang, step.info.id, gate, retry_policy=ONE_TRY)


def hang_once(run: UUID, folder: str) -> str:
    """Hang for the first who comes; whoever takes over is through at once."""
    note("enter", run, "hang")
    try:
        Path(folder, str(run)).touch(exist_ok=False)
    except FileExistsError:
        return "through"
    time.sleep(60)
    return "out of time"


@workflow("rel-hang-once")
def hanging_once(step: Step, folder: str) -> str:
    """One step that ends only when its worker has died."""
    return step.run("hang", hang_once, step.info.id, folder, retry_policy=ONE_TRY)


@workflow("rel-nap")
def napping(step: Step, seconds: float) -> str:
    """A step, a sleep, a step."""
    run = step.info.id
    step.run("before", work, run, "before", 0)
    step.sleep("nap", f"{round(seconds * 1000)}ms")
    return step.run("after", work, run, "after", 0)


def refuse(run: UUID) -> None:
    """Fail, as often as one is asked."""
    note("enter", run, "refuse")
    message = "no"
    raise ValueError(message)


@workflow("rel-budget")
def budget(step: Step, gate: str, sleeps: int) -> None:
    """A hang, some sleeps, then a step that fails until its three tries are used up."""
    run = step.info.id
    step.run("hang", hang, run, gate, retry_policy=ONE_TRY)
    for number in range(sleeps):
        step.sleep(f"nap-{number}", "10ms")
    step.run("refuse", refuse, run, retry_policy=THREE_TRIES)


def crash(run: UUID) -> None:
    """Take the worker down, a moment later: what runs beside it has got a step further by then."""
    note("enter", run, "crash")
    time.sleep(0.3)
    os._exit(9)


@workflow("rel-poison")
def poison(step: Step) -> None:
    """One step that kills every worker that tries it."""
    step.run("crash", crash, step.info.id, retry_policy=ONE_TRY)


def hog(run: UUID, letters: int) -> str:
    """Hold the interpreter's lock within one call of C: a regular expression that backtracks."""
    note("enter", run, "hog")
    re.match("(a+)+$", "a" * letters + "b")
    note("leave", run, "hog")
    return "done"


@workflow("rel-hog")
def hogging(step: Step, letters: int) -> str:
    """One step during which no other thread of the process gets to run."""
    return step.run("hog", hog, step.info.id, letters, retry_policy=ONE_TRY)


def fail_once(run: UUID, folder: str) -> str:
    """Fail the first time."""
    note("enter", run, "flaky")
    mark = Path(folder, f"flaky-{run}")
    if not mark.exists():
        mark.touch()
        message = "the first time"
        raise ValueError(message)
    return "flaky"


def book(run: UUID) -> str:
    """Write a row of the project's own."""
    note("enter", run, "book")
    Group.objects.create(name=f"{run} book")
    return "book"


@workflow("rel-everything")
def everything(step: Step, folder: str) -> list[Any]:
    """Use every feature once."""
    run = step.info.id
    first = step.run("one", work, run, "one", 0, retry_policy=ONE_TRY, compensate=str)
    booked = step.transaction("book", book, run, retry_policy=ONE_TRY)
    flaky = step.run("flaky", fail_once, run, folder, retry_policy=THREE_TRIES)
    step.sleep("nap", "20ms")
    below = step.run_workflow(many_steps, 1, 0)
    both = step.gather(
        step.call("left", work, run, "left", 0), step.call("right", work, run, "right", 0)
    )
    sent = step.send_signal("nobody", 1)
    signal = step.wait_for_signal(f"never-{run}", timeout="20ms")
    return [first, booked, flaky, below, both, sent, signal]


@workflow("rel-busy")
def busy(step: Step, address: str) -> Any:
    """Steps, signals and children without end: something starts at every moment."""
    run = step.info.id
    for number in range(200):
        step.run(f"step-{number}", work, run, f"step-{number}", 0.002, retry_policy=ONE_TRY)
        step.send_signal(address, number, name=f"send-{number}")
        step.run_workflow(many_steps.named(f"child-{number}"), 1, 0.002)
