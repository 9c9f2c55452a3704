"""The work that every contestant does, as workflows of this package."""

from __future__ import annotations

import asyncio
import time

from benchmarks.drivers.driver import log
from django_openworkflow import AsyncStep, Step, workflow

STEPS = 500

Value = dict[str, int]


def first(moment: float) -> Value:
    """Begin a run."""
    log("S", moment)
    return {"value": 1}


def following(before: Value) -> Value:
    """Go on from the step before."""
    return {"value": before["value"] + 1}


@workflow
def three(step: Step, moment: float) -> Value:
    """Do three steps."""
    one = step.run("a", first, moment)
    two = step.run("b", following, one)
    return step.run("c", following, two)


async def first_async(moment: float) -> Value:
    """Begin a run, on the event loop as the original's steps are."""
    return first(moment)


async def following_async(before: Value) -> Value:
    """Go on from the step before."""
    return following(before)


@workflow
async def three_async(step: AsyncStep, moment: float) -> Value:
    """Do three async steps."""
    one = await step.run("a", first_async, moment)
    two = await step.run("b", following_async, one)
    return await step.run("c", following_async, two)


@workflow
def five_hundred(step: Step, moment: float) -> Value:
    """Do many steps, sleep, and come back over them."""
    log("F", moment)
    for number in range(STEPS):
        step.run(f"step-{number}", following, {"value": number})
    log("P", moment)
    step.sleep("nap", "1s")
    log("E", moment)
    return {}


def fifty_milliseconds(moment: float) -> Value:
    """Take a while."""
    log("L", moment)
    time.sleep(0.05)
    log("L", moment)
    return {}


async def fifty_milliseconds_async(moment: float) -> Value:
    """Take a while without a thread."""
    log("L", moment)
    try:
        await asyncio.sleep(0.05)
    finally:
        log("L", moment)
    return {}


@workflow
def loop(step: Step, moment: float) -> Value:
    """Do short steps until canceled."""
    for number in range(100):
        step.run(f"step-{number}", fifty_milliseconds, moment)
    return {}


@workflow
async def loop_async(step: AsyncStep, moment: float) -> Value:
    """See ``loop``."""
    for number in range(100):
        await step.run(f"step-{number}", fifty_milliseconds_async, moment)
    return {}
