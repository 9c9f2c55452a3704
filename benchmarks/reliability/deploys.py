"""Code that changes while runs are on their way: what a worker knows depends on its release.

``RELIABILITY_RELEASE`` names it. The second release adds a step at the end of one workflow, which
runs in flight may meet, and renames the first step of another one, which they may not: that is a
version of its own, beside the code that older runs need.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from benchmarks.reliability.tasks import ONE_TRY, work
from django_openworkflow import Step, workflow

if TYPE_CHECKING:
    from django_openworkflow import Workflow

ENVIRONMENT: Final = "RELIABILITY_RELEASE"
RELEASE: Final = os.environ.get(ENVIRONMENT, "2")
NAP: Final = "700ms"


def release_step(step: Step, name: str, seconds: float) -> str:
    """Call ``work`` with one try; the effect tells which release has done it."""
    args = (step.info.id, f"{name}@{RELEASE}", seconds)
    step.run(name, work, *args, retry_policy=ONE_TRY)
    return name


@workflow("rel-order")
def order(step: Step, seconds: float) -> list[str]:
    """A step, a nap, a step; the second release has one more, and a nap after it.

    A run that takes this nap while the first release comes back does not fit that, and waits.
    """
    found = [release_step(step, "take", seconds)]
    step.sleep("nap", NAP)
    found.append(release_step(step, "pack", seconds))
    if RELEASE == "2":
        found.append(release_step(step, "ship", seconds))
        step.sleep("way", NAP)
    return found


@workflow("rel-invoice")
def invoice(step: Step, seconds: float) -> list[str]:
    """What runs of the first release are executed by, on workers of both."""
    first = release_step(step, "collect", seconds)
    step.sleep("nap", NAP)
    return [first, release_step(step, "send", seconds)]


def renamed(step: Step, seconds: float) -> list[str]:
    """Begin with another step: runs of the first release do not fit."""
    first = release_step(step, "gather", seconds)
    step.sleep("nap", NAP)
    return [first, release_step(step, "send", seconds)]


if RELEASE == "2":
    invoice_2: Final[Workflow[..., list[str]]] = workflow("rel-invoice", version="2")(renamed)
