"""Many threads at once: claims that never overlap, and a brawl that never deadlocks."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from django_openworkflow.exceptions import RunNotCancelable
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.operations import RunReleased
from tests.factories import create_many
from tests.races import duels, families
from tests.races.families import start_child
from tests.races.rivals import PATIENCE_SECONDS, ending, race, rivals
from tests.races.scenes import Scene, submit_and_wait, submit_until_answered

if TYPE_CHECKING:
    from uuid import UUID

    from django_openworkflow.store.base import Store
    from tests.races.scenes import Submit

pytestmark = race

NAMES = ("one", "two", "three", "four")


def test_no_run_is_claimed_twice(store: Store, seed: int) -> None:
    """Four claimers and one who cancels; every run goes to one of them, once."""
    runs = create_many(400)
    ids = [run.pk for run in runs]
    random.Random(seed).shuffle(ids)  # noqa: S311 - not a secret
    begin = threading.Barrier(len(NAMES) + 1)

    def claim_all(name: str) -> list[UUID]:
        request = ClaimRequest(
            worker_name=name, limit=7, lease_seconds=60, workflows=[(runs[0].workflow_name, None)]
        )
        mine: list[UUID] = []
        begin.wait(PATIENCE_SECONDS)
        while claimed := store.claim(request):
            mine.extend(run.lease.run_id for run in claimed)
        return mine

    def cancel_some() -> list[UUID]:
        begin.wait(PATIENCE_SECONDS)
        return [WorkflowRun.objects.cancel(run_id).pk for run_id in ids[:100]]

    with rivals(*NAMES, "caller") as (*claimers, caller):
        claims = [
            claimer.do(claim_all, name) for claimer, name in zip(claimers, NAMES, strict=True)
        ]
        canceling = caller.do(cancel_some)
        claimed = [run_id for claim in claims for run_id in ending(claim).told()]
        canceled = set(ending(canceling).told())
    assert max(Counter(claimed).values()) == 1
    rows = {run.pk: run for run in WorkflowRun.objects.all()}
    assert {pk for pk, run in rows.items() if run.status == "canceled"} == canceled
    assert {pk for pk, run in rows.items() if run.status == "running"} == set(claimed) - canceled
    assert {pk for pk, run in rows.items() if run.attempts == 1} == set(claimed)
    assert {run.attempts for run in rows.values()} <= {0, 1}
    assert not [pk for pk, run in rows.items() if run.status == "pending"]


class Brawler:
    """Does one random thing after the other to a forest of families."""

    def __init__(self, forest: list[Scene], store: Store, seed: int) -> None:
        self._forest, self._store = forest, store
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self.done: Counter[str] = Counter()

    def fight(self, rounds: int) -> None:
        """Errors end the fight, but for a run that could not be canceled any more."""
        deeds = [
            self.cancel_one,
            self.cascade,
            self.cancel_many,
            self.complete,
            self.fail,
            self.park,
            self.start_child,
            self.claim_and_release,
            self.beat,
        ]
        for _ in range(rounds):
            deed = self._random.choice(deeds)
            try:
                deed(self._random.choice(self._forest))
            except RunNotCancelable:
                self.done["refused"] += 1
            self.done[deed.__name__] += 1

    def _submit(self) -> Submit:
        return self._random.choice((submit_until_answered, submit_and_wait))

    def cancel_one(self, scene: Scene) -> None:
        duels.cancel_run(scene)

    def cascade(self, scene: Scene) -> None:
        families.cascade(scene)

    def cancel_many(self, _scene: Scene) -> None:
        some = self._random.sample(self._forest, k=4)
        ids = [scene.run_id for scene in some]
        cascade = self._random.random() < 0.5
        WorkflowRun.objects.filter(pk__in=ids).order_by("?").cancel_active(cascade=cascade)

    def complete(self, scene: Scene) -> None:
        duels.complete(scene, self._submit())

    def fail(self, scene: Scene) -> None:
        duels.fail(scene, self._submit())

    def park(self, scene: Scene) -> None:
        duels.park(Scene(run_id=scene.run_id, lease=scene.lease), self._submit())

    def start_child(self, scene: Scene) -> None:
        start_child(Scene(run_id=scene.run_id, lease=scene.lease), self._submit())

    def claim_and_release(self, _scene: Scene) -> None:
        known = [(str(scene.run_id), None) for scene in self._forest]
        request = ClaimRequest(worker_name="w", limit=3, lease_seconds=60, workflows=known)
        for run in self._store.claim(request):
            submit_until_answered(RunReleased(lease=run.lease))

    def beat(self, _scene: Scene) -> None:
        self._store.extend([scene.lease for scene in self._forest], 60)


def _deeds(done: Counter[str]) -> dict[str, Any]:
    return {name: count for name, count in done.items() if name != "refused"}
