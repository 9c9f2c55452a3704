"""What a turn writes if every lease holds: gathered before anything was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_openworkflow.states import RunStatus
from django_openworkflow.store.batches import Batch
from django_openworkflow.store.operations import RunCompleted, RunFailed
from django_openworkflow.store.turns import Locked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from django_openworkflow.store.operations import Operation


@dataclass(slots=True)
class Assumption:
    """The writes, and what must be true of the rows for them; ``None`` stands for any owner."""

    batch: Batch = field(default_factory=Batch)
    owners: dict[UUID, str | None] = field(default_factory=dict)
    progressed: set[UUID] = field(default_factory=set)

    def fence(self) -> dict[str, Any]:
        """Return the parameters of ``FENCE``."""
        return {
            "ids": list(self.owners),
            "workers": list(self.owners.values()),
            "progress": [run_id in self.progressed for run_id in self.owners],
        }


def assume(operations: Sequence[Operation]) -> Assumption | None:
    """Gather the operations of a turn as if all were accepted.

    Returns None if one of them must be judged or written by itself. Progress is assumed to come to
    runs that have not crashed: there is nothing to forgive then.
    """
    assumption = Assumption()
    rows: dict[UUID, Locked] = {}
    parents: set[UUID] = set()
    for operation in operations:
        lease = operation.lease
        row = rows.get(lease.run_id)
        if row is None:
            row = rows[lease.run_id] = Locked(RunStatus.RUNNING, lease.worker_id, crashes=1)
            assumption.owners[lease.run_id] = lease.worker_id
        if not row.held_by(lease) or not assumption.batch.add(operation, row, None):
            return None
        if isinstance(operation, RunCompleted | RunFailed) and operation.parent_run_id is not None:
            parents.add(operation.parent_run_id)
    for parent in parents:
        assumption.owners.setdefault(parent, None)
    assumption.progressed, assumption.batch.progressed = assumption.batch.progressed, set()
    return assumption
