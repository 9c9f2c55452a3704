"""Tell the project what a worker did to a run, in the thread that did it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction

from django_openworkflow.models import WorkflowRun
from django_openworkflow.signals import run_canceled
from django_openworkflow.states import CancelSource

if TYPE_CHECKING:
    from uuid import UUID

    from django.dispatch import Signal


def is_heard(signal: Signal) -> bool:
    """Whether anybody in this process wants to be told."""
    return signal.has_listeners(WorkflowRun)


def announce_run(signal: Signal, *run_ids: UUID, using: str, **facts: object) -> None:
    """Send a Django signal, with these facts, for runs whose change has committed.

    Inside a transaction of the calling thread (a test's) it is sent once that commits.
    """
    if run_ids and is_heard(signal):
        runs = WorkflowRun.objects.db_manager(using).all()
        transaction.on_commit(
            partial(runs.announce, signal, run_ids, **facts), using=using, robust=True
        )


def announce_foreign_cancels(*run_ids: UUID, using: str) -> None:
    """Send ``run_canceled`` for runs that another client has canceled; it gives no reason."""
    facts = {"reason": "", "actor": None, "source": str(CancelSource.CLIENT)}
    announce_run(run_canceled, *run_ids, using=using, **facts)
