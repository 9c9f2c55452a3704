"""A worker's own row: how operators and other workers know that it is alive and what it knows."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_openworkflow import clock, conf
from django_openworkflow.models import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One worker process. ``beat`` inserts the row or renews it; ``remove`` takes it away."""

    id: UUID
    name: str
    concurrency: int
    queues: Sequence[str] | None
    workflows: Collection[tuple[str, str | None]]
    using: str

    def beat(self) -> None:
        """Say that the worker is alive, by the database's clock."""
        rows = WorkerProcess.objects.db_manager(self.using)
        if not rows.filter(pk=self.id).update(heartbeat_at=clock.moment()):
            WorkerProcess._base_manager.using(self.using).create(
                id=self.id,
                namespace_id=conf.namespace(),
                name=self.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                concurrency=self.concurrency,
                queues=list(self.queues) if self.queues else None,
                workflows=[list(key) for key in self.workflows],
            )

    def remove(self) -> None:
        """Take the row away: the worker ends."""
        WorkerProcess.objects.db_manager(self.using).filter(pk=self.id).delete()
