"""K9: random histories of everything that can be done to runs, against a model in memory."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Final

from django.db import connection
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.reliability.arena import Arena, Findings
from tests.model.machine import RunMachine


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many histories of so many steps; the invariants are looked at after each."""

    examples: int
    steps: int


SIZES: Final = {"small": Plan(examples=5, steps=20), "full": Plan(examples=300, steps=50)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Let Hypothesis look for a history that breaks the model; it prints that."""
    chosen = settings(
        max_examples=plan.examples,
        stateful_step_count=plan.steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink a history takes minutes
        suppress_health_check=list(HealthCheck),
    )
    RunMachine.steps_made = 0
    failed = 0
    try:
        seed(arena.seed)(run_state_machine_as_test)(RunMachine, settings=chosen)
    except AssertionError:
        traceback.print_exc()
        failed = 1
    return Findings(
        facts={
            "database": connection.vendor,
            "histories": plan.examples,
            "steps": RunMachine.steps_made,
        },
        wrong={"histories_that_break_the_model": failed},
    )
