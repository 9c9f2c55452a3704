"""A commit whose reply is lost has happened: what is issued again is recognized, and announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import OperationalError

from django_openworkflow import Step, workflow
from django_openworkflow.registry import registry
from django_openworkflow.signals import run_completed, run_failed
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.worker.ledger import GroupLedger
from django_openworkflow.worker.pool import executors_of
from tests.engine.passes import step_names
from tests.worker.ledgers import WatchedStore
from tests.worker.workers import PATIENCE_SECONDS

if TYPE_CHECKING:
    from django.dispatch import Signal

    from django_openworkflow.models import WorkflowRun


class LosesEveryOther:
    """Raises what a commit raises whose reply does not come, at every other call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls % 2:
            message = "server closed the connection unexpectedly"
            raise OperationalError(message)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("ending", "signal"), [("completed", run_completed), ("failed", run_failed)]
)
def test_an_end_whose_reply_is_lost_is_announced_once(ending: str, signal: Signal) -> None:
    """Every reply of the store is lost once: each operation is committed, and issued again."""

    @workflow("ending")
    def ends(step: Step) -> str:
        step.run("works", lambda: "done")
        if ending == "failed":
            raise ValueError(ending)
        return "done"

    heard: list[WorkflowRun] = []

    def listen(run: WorkflowRun, **_facts: object) -> None:
        heard.append(run)

    signal.connect(listen)
    handle = ends.start()
    store = WatchedStore("default")
    store.after = lost = LosesEveryOther()
    ledger = GroupLedger(store, lease_seconds=PATIENCE_SECONDS)
    request = ClaimRequest(
        worker_name="w", limit=1, lease_seconds=60, workflows=registry.claimable()
    )
    (executor,) = executors_of(store, store_for("default").claim(request), ledger)
    executor.execute()
    ledger.close()
    signal.disconnect(listen)

    assert lost.calls >= 4
    assert store.kinds[-2] == store.kinds[-1]  # the end was issued twice
    assert handle.status == ending
    assert step_names(handle) == ["works"]
    assert [run.pk for run in heard] == [handle.id]
