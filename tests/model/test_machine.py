"""Some random histories in every run of the suite; K9 of the scorecard plays many."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import RunMachine

# Real transactions: on PostgreSQL a turn is sent in one trip only outside of any other one.
pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "15"))


def test_random_histories_agree_with_the_reference() -> None:
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=30,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(RunMachine, settings=chosen)
