"""Families that grow while they are canceled: no child gets away."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import ChildStarted, Lease, NewRun, Verdict
from tests.races.families import insert_family
from tests.races.rivals import PATIENCE_SECONDS, race, rivals
from tests.races.writes import write_until_answered

if TYPE_CHECKING:
    from tests.races.scenes import Scene
    from tests.races.witness import Witness

pytestmark = race


class Grower:
    """Starts children under random members of a family, until all of them have been canceled."""

    def __init__(self, root: Scene, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self._leases = [root.lease]
        self.told: Counter[Verdict] = Counter()

    def grow(self, meeting: threading.Barrier) -> None:
        meeting.wait(PATIENCE_SECONDS)
        while self._leases:
            lease = self._random.choice(self._leases)
            verdict, child_id = self._start_under(lease)
            self.told[verdict] += 1
            if verdict is Verdict.CANCELED:
                self._leases.remove(lease)
            elif verdict is Verdict.ACCEPTED and len(self._leases) < 8:
                self._leases += claim(child_id)

    def _start_under(self, lease: Lease) -> tuple[Verdict, UUID]:
        child_id = uuid4()  # below or above its parent's
        start = ChildStarted(
            lease=lease,
            attempt_id=uuid4(),
            step_name=str(child_id),
            child_id=child_id,
            child=NewRun(workflow_name=str(child_id), version=None, input=None),
            timeout=None,
        )
        return write_until_answered(start).verdict, child_id


def claim(run_id: UUID) -> list[Lease]:
    """Claim a run as a worker; it may have been canceled, or be locked, at this moment."""
    request = ClaimRequest(
        worker_name="grower", limit=1, lease_seconds=600, workflows=[(str(run_id), None)]
    )
    return [claimed.lease for claimed in store_for("default").claim(request)]


def cascade(root: Scene, meeting: threading.Barrier, delay_seconds: float) -> Any:
    meeting.wait(PATIENCE_SECONDS)
    threading.Event().wait(delay_seconds)
    return WorkflowRun.objects.filter(pk=root.run_id).cancel_active(cascade=True)


def test_no_child_gets_away_from_a_cascade(rounds: int, seed: int, witness: Witness) -> None:
    """Three workers start children, and children of children, while the root is canceled."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    told: Counter[Verdict] = Counter()
    with rivals("caller", "one", "two", "three") as (caller, *workers):
        for number in range(rounds):
            (root,) = insert_family(None, parked_ones=0)
            growers = [Grower(root, seed + number * 10 + index) for index in range(len(workers))]
            meeting = threading.Barrier(len(workers) + 1)
            growing = [
                worker.do(grower.grow, meeting)
                for worker, grower in zip(workers, growers, strict=True)
            ]
            canceled = caller.do(cascade, root, meeting, chance.uniform(0.0, 0.02))
            outcome = canceled.result(PATIENCE_SECONDS)
            for each in growing:
                each.result(PATIENCE_SECONDS * 2)
            judge_family(root, outcome)
            told += sum((grower.told for grower in growers), Counter())
    assert told[Verdict.ACCEPTED] > rounds // 2
    assert told[Verdict.CANCELED] >= rounds * len(workers)
    assert told[Verdict.LOST] == 0


def judge_family(root: Scene, outcome: Any) -> None:
    """All of the family was canceled, and the canceller was told of everybody."""
    below = WorkflowRun.objects.all().descendant_ids([root.run_id])
    family = WorkflowRun.objects.filter(pk__in=below | {root.run_id})
    assert set(family.values_list("status", flat=True)) == {"canceled"}
    assert outcome.canceled == [root.run_id]
    assert sorted(outcome.children_canceled) == sorted(below)
    steps = StepAttempt.objects.filter(workflow_run__in=below | {root.run_id})
    assert not steps.filter(status="running").exists()
    assert steps.count() == len(below)
