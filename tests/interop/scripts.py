"""A workflow that does what its input says. The same stands in ``scripts.mjs``."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow import RetryPolicy, workflow
from django_openworkflow.workflows import workflow_spec
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from django_openworkflow import AsyncStep, Step, Workflow

QUICK: Final = RetryPolicy(initial_interval="20ms", maximum_attempts=3)
SLOW: Final = RetryPolicy(initial_interval="10s", maximum_interval="1h", maximum_attempts=9)


def note(journal: str | None, line: str) -> None:
    if journal:
        with Path(journal).open("a") as file:
            file.write(f"{line}\n")


def count(journal: str, line: str) -> int:
    return Path(journal).read_text().splitlines().count(line)


def body(journal: str, run_id: Any, name: str, what: str, argument: Any) -> Any:
    """Note it, and then return, fail, hold or crash."""
    line = f"{run_id} {name}"
    note(journal, line)
    if what in {"fail", "stumble"} and count(journal, line) <= argument:
        message = f"{name} failed"
        raise TypeError(message)
    if what == "hold":
        wait_until(Path(argument).exists, f"leave to finish {name}")
    if what == "crash" and argument == "py":
        os.kill(os.getpid(), signal.SIGKILL)
    return argument if what == "return" else f"{name} by py"


def perform(step: Step, journal: str, instruction: list[Any]) -> Any:
    what, name, argument, more = (*instruction, None, None, None)[:4]
    if what == "sleep":
        return step.sleep(name, argument)
    if what == "send":
        return step.send_signal(name, argument)
    if what == "wait":
        payload = step.wait_for_signal(name, timeout=argument)
        return None if payload is None else {"data": payload.data}
    if what == "child":
        return step.run_workflow(SPECS[name].using(timeout=more), **argument)
    if what == "raise":
        raise TypeError(name)
    policy = {"fail": QUICK, "stumble": SLOW}.get(what, RetryPolicy())
    return step.run(name, body, journal, step.info.id, name, what, argument, retry_policy=policy)


def script(step: Step, steps: list[Any], journal: str | None = None) -> list[Any]:
    return [perform(step, journal or os.devnull, each) for each in steps]


def aperform(step: AsyncStep, journal: str, instruction: list[Any]) -> Any:
    """Perform the instructions that stand side by side in "all"."""
    what, name, argument, more = (*instruction, None, None, None)[:4]
    if what == "sleep":
        return step.sleep(name, argument)
    if what == "wait":
        return step.wait_for_signal(name, timeout=argument)
    if what == "child":
        return step.run_workflow(SPECS[name].using(timeout=more), **argument)
    return step.run(name, body, journal, step.info.id, name, what, argument)


async def together(step: AsyncStep, steps: list[Any], journal: str | None = None) -> list[Any]:
    found = await asyncio.gather(*(aperform(step, journal or os.devnull, each) for each in steps))
    return [getattr(each, "__dict__", each) for each in found]


# What TypeScript alone executes, Python alone, and either. "script" is known to both.
SPECS: Final[dict[str, Workflow[..., Any]]] = {
    name: workflow_spec(name)(script) for name in ("script", "ts-script", "py-script", "together")
}
SPECS["script-2"] = workflow_spec("script", version="2")(script)


def register() -> None:
    """Register what Python executes; for a process, or inside of ``registry.isolated()``."""
    for name in ("script", "py-script"):
        workflow(name)(script)
    workflow("script", version="2")(script)
    workflow("together")(together)
