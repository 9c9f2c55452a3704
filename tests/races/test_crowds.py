"""Many threads at once: claims that never overlap."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.base import ClaimRequest
from tests.factories import create_many
from tests.races.rivals import PATIENCE_SECONDS, ending, race, rivals

if TYPE_CHECKING:
    from uuid import UUID

    from django_openworkflow.store.base import Store

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
