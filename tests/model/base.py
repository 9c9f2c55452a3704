"""What every part of the machine has: the rows, the reference, and how the two are compared."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.test import override_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from django_openworkflow import clock
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import Lease, Verdict
from tests.model.invariants import agree
from tests.model.reference import MOST_CRASHES, Run
from tests.tidying import delete_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_openworkflow.store import operations as ops

pick = st.integers(0, 1000)


def span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def any_run(found: Callable[[Run], bool]) -> Callable[[Any], bool]:
    """Enable a rule only when there is such a run."""
    return lambda machine: any(map(found, machine.runs))


class Machine(RuleBasedStateMachine):
    """The database on one side, ``runs`` on the other."""

    steps_made: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.store = store_for(DEFAULT_DB_ALIAS)
        self.runs: list[Run] = []
        self.now = 0.0
        chosen = {**settings.OPENWORKFLOW, "MAX_CRASHES": MOST_CRASHES}
        self.settings = override_settings(OPENWORKFLOW=chosen)
        self.settings.enable()
        delete_runs()
        clock.reset()
        self.began_at = clock.read(DEFAULT_DB_ALIAS)

    def teardown(self) -> None:
        self.settings.disable()
        clock.reset()

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        """Compare after each rule."""
        type(self).steps_made += 1
        agree(self.runs, self.began_at)
        super().check_invariants(*args, **kwargs)

    # --- helpers --------------------------------------------------------------------------------

    def choose(self, number: int, found: Callable[[Run], bool]) -> Run:
        candidates = [run for run in self.runs if found(run)]
        return candidates[number % len(candidates)]

    def held(self, number: int) -> tuple[Run, Lease]:
        run = self.choose(number, lambda run: run.is_held)
        assert run.lease is not None
        return run, run.lease

    def submit(self, *operations: ops.Operation) -> ops.Receipt:
        """Write a turn that must be accepted; one that is issued again must be as well."""
        receipts = self.store.take_turn(operations).receipts
        assert {receipt.verdict for receipt in receipts} == {Verdict.ACCEPTED}
        return receipts[-1]

    def known(self) -> list[tuple[str, str | None]]:
        return [("flow", None)]
