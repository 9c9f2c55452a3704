"""Workflows that take a while, so that a kill hits them in the middle of a step."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.models import Group

from benchmarks.reliability import deploys as _deploys  # noqa: F401 - registered by this import
from benchmarks.reliability import tasks as _tasks  # noqa: F401 - and by this one
from benchmarks.reliability.effects import note
from django_openworkflow import AsyncStep, RetryPolicy, Step, workflow

if TYPE_CHECKING:
    from uuid import UUID

    from django_openworkflow import Workflow

# A killed worker costs no retry: with one try allowed, a run that fails has been blamed wrongly.
ONE_TRY: Final = RetryPolicy(maximum_attempts=1)


def work(run: UUID, name: str, seconds: float) -> str:
    """Take a while, and leave a trace of it."""
    note("enter", run, name)
    threading.Event().wait(seconds)
    note("leave", run, name)
    return name


def undo_work(result: str) -> str:
    """Undo."""
    return f"undone {result}"


def book(run: UUID, name: str, seconds: float) -> str:
    """Write a row of the project's own: it must be there once, whatever happens."""
    note("enter", run, name)
    Group.objects.create(name=f"{run} {name}")
    threading.Event().wait(seconds)
    note("leave", run, name)
    return name


async def awork(run: UUID, name: str, seconds: float) -> str:
    """Do as ``work`` does, on the event loop."""
    note("enter", run, name)
    await asyncio.sleep(seconds)
    note("leave", run, name)
    return name


def run_step(step: Step, name: str, seconds: float) -> str:
    """Call ``work`` as a step with one try."""
    return step.run(name, work, step.info.id, name, seconds, retry_policy=ONE_TRY)


def run_undoable(step: Step, name: str, seconds: float) -> str:
    """Call ``work`` as a step that can be undone."""
    run = step.info.id
    return step.run(name, work, run, name, seconds, retry_policy=ONE_TRY, compensate=undo_work)


@workflow("chaos-plain")
def plain(step: Step, seconds: float) -> list[str]:
    """Three steps."""
    return [run_step(step, name, seconds) for name in ("a", "b", "c")]


@workflow("chaos-sleep")
def sleepy(step: Step, seconds: float) -> list[str]:
    """A step, a sleep, a step."""
    first = run_step(step, "a", seconds)
    step.sleep("nap", "150ms")
    return [first, run_step(step, "b", seconds)]


@workflow("chaos-family")
def family(step: Step, seconds: float) -> list[Any]:
    """A step, a child run, a step."""
    first = run_step(step, "a", seconds)
    below = step.run_workflow(plain, seconds)
    return [first, below, run_step(step, "b", seconds)]


@workflow("chaos-transaction")
def booking(step: Step, seconds: float) -> list[str]:
    """A step, a transaction step, a step."""
    first = run_step(step, "a", seconds)
    second = step.transaction("book", book, step.info.id, "book", seconds / 5)
    return [first, second, run_step(step, "b", seconds)]


@workflow("chaos-async")
async def parallel(step: AsyncStep, seconds: float) -> list[str]:
    """Two steps side by side, then one."""
    run = step.info.id
    both = await asyncio.gather(
        *(step.run(name, awork, run, name, seconds, retry_policy=ONE_TRY) for name in ("a", "b"))
    )
    return [*both, await step.run("c", awork, run, "c", seconds, retry_policy=ONE_TRY)]


@workflow("chaos-undo")
def undoable(step: Step, seconds: float) -> list[str]:
    """Two steps that can be undone."""
    return [run_undoable(step, name, seconds) for name in ("a", "b")]


KINDS: Final[tuple[Workflow[..., Any], ...]] = (plain, sleepy, family, booking, parallel, undoable)
