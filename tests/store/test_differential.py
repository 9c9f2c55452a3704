"""The fast store writes the same rows and gives the same answers as the portable one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from django_openworkflow.models import SignalDelivery, WorkflowRun
from django_openworkflow.store.base import ClaimRequest, Store, TurnResult
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import Lease
from tests.store.asked import Asked, asked
from tests.store.scenes import FAR, MODELS, RUNS, Scene, run_id, scenes

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["django_openworkflow"]),
    pytest.mark.skipif(
        type(store_for(DEFAULT_DB_ALIAS)) is Store, reason="this database has the portable store"
    ),
]

# --- what came of it ----------------------------------------------------------------------------


def plain(value: Any, start: datetime) -> Any:  # noqa: PLR0911 - one return for each kind
    """Make two results comparable: moments by the minute, claims without their token."""
    if isinstance(value, datetime):
        is_fixed = value.year in {2020, FAR.year}  # whenever the scene was built
        return value if is_fixed else round((value - start) / timedelta(minutes=1))
    if isinstance(value, str) and value.startswith("claimer:"):
        return "claimer"
    if isinstance(value, str) and value.endswith("Z"):
        return plain(datetime.fromisoformat(value), start)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: plain(getattr(value, each.name), start) for each in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {repr(plain(key, start)): plain(each, start) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, start) for each in value]
    return value


def all_rows(start: datetime) -> list[Any]:
    """Return what is in the tables, in an order that new ids do not change."""
    found = []
    for model in MODELS:
        rows = [plain(row, start) for row in model._base_manager.order_by("pk").values()]
        if model is SignalDelivery:
            for row in rows:
                row.pop("'id'")
        if model is WorkflowRun:
            for row in rows:  # clean-up runs have ids of their own
                if row["'cleanup_of_id'"]:
                    row.pop("'id'")
        found.append(sorted(rows, key=repr))
    return found


def outcome(store: Store, scene: Scene, act: Callable[[Store], Any]) -> Any:
    """Build the scene, act, and return the answers and the rows afterwards."""
    scene.build()
    start = timezone.now()
    try:
        answer: Any = plain(act(store), start)
    except IntegrityError:
        answer = "refused"
    return answer, all_rows(start)


def same_outcome(scene: Scene, act: Callable[[Store], Any]) -> Any:
    portable = outcome(Store(DEFAULT_DB_ALIAS), scene, act)
    fast = outcome(store_for(DEFAULT_DB_ALIAS), scene, act)
    assert fast[0] == portable[0]
    assert fast[1] == portable[1]
    return portable[0]


many = settings(
    phases=[Phase.explicit, Phase.generate],
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@many
@given(scene=scenes, turn=st.lists(asked, max_size=10), is_open=st.booleans())
def test_a_turn(scene: Scene, turn: list[Asked], *, is_open: bool) -> None:
    """Also within a transaction that is open already: then it is written step by step."""

    def act(store: Store) -> TurnResult:
        operations = [each.build() for each in turn]
        with transaction.atomic() if is_open else nullcontext():
            result = store.take_turn(
                operations,
                leases=[Lease(run_id=run_id(n), worker_id="ours") for n in range(RUNS)],
                lease_seconds=600,
                claim=ClaimRequest(
                    worker_name="claimer", limit=RUNS, lease_seconds=1200, workflows=[("w", None)]
                ),
            )
        # Runs that the turn itself makes due are due by the clock of the statement that does it,
        # and steps that it starts begin by that: at once or one after the other.
        result.claimed.sort(key=lambda run: run.lease.run_id)
        for history in result.histories.values():
            history.sort(key=lambda attempt: attempt.id)
        return result

    answer = same_outcome(scene, act)
    event("refused" if answer == "refused" else "written")


@many
@given(scene=scenes, limit=st.integers(1, RUNS))
def test_a_claim(scene: Scene, limit: int) -> None:
    """Of runs that were due before: these, in this order."""
    request = ClaimRequest(
        worker_name="claimer", limit=limit, lease_seconds=1200, workflows=[("w", None)]
    )
    same_outcome(scene, lambda store: store.claim(request))


def ours(name: str, step: int) -> Asked:
    return Asked(name=name, number=0, step=step, owner="ours", value="[1]")


# What a run's end has closed, and what the same turn has recorded before.
ALONE = Scene(
    states=["held"] * RUNS,
    steps=[["sleep", "function"], [], [], [], []],
    child=False,
    buffered=False,
    undoable=False,
)


@many
@example(scene=ALONE, turn=[ours("complete", 0), ours("fail step", 0)])
@example(scene=ALONE, turn=[ours(name, 1) for name in ("fail step", "complete", "fail step")])
@given(scene=scenes, turn=st.lists(asked, max_size=6))
def test_operations_that_are_issued_twice(scene: Scene, turn: list[Asked]) -> None:
    """As after a commit in doubt."""

    def act(store: Store) -> list[Any]:
        operations = [each.build() for each in turn]
        return [store.apply(operations), store.apply(operations, wait=True)]

    same_outcome(scene, act)


@many
@given(scene=scenes)
def test_a_history(scene: Scene) -> None:
    same_outcome(scene, lambda store: store.load_history([run_id(n) for n in range(RUNS + 1)]))
