"""What an operator asks the tables: who is alive, what is stuck. Nothing here writes or locks.

Each answer looks at a bounded number of rows; a count that stops there is told as "at least".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.models import Min

from django_openworkflow import clock, conf
from django_openworkflow.models import WorkerProcess, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from django_openworkflow.querysets import WorkflowRunQuerySet

MOST: Final = 1000  # rows counted
_HEAD: Final = 10_000  # active runs whose workflow is looked at
_MOST_WORKERS: Final = 1000
_DUE: Final = timedelta(minutes=1)

Key = tuple[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many rows there are; ``is_all`` False: at least so many."""

    number: int
    is_all: bool

    def __bool__(self) -> bool:
        return self.number > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AliveWorker:
    """A worker heard of within its lease. ``queues`` None means every queue."""

    name: str
    concurrency: int
    queues: frozenset[str] | None
    workflows: frozenset[Key]


class Diagnosis:
    """Questions about the runs and workers of the configured namespace on one database."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._lease = timedelta(seconds=conf.get_settings().LEASE_SECONDS)

    @property
    def _runs(self) -> WorkflowRunQuerySet:
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self.using).all()
        return runs

    def alive_workers(self) -> list[AliveWorker]:
        """Return the workers heard of within the lease."""
        rows = WorkerProcess.objects.db_manager(self.using).alive(self._lease.total_seconds())
        columns = ("name", "concurrency", "queues", "workflows")
        return [
            AliveWorker(
                name=name,
                concurrency=concurrency,
                queues=None if queues is None else frozenset(queues),
                workflows=frozenset((known, version) for known, version in workflows),
            )
            for name, concurrency, queues, workflows in rows.values_list(*columns)[:_MOST_WORKERS]
        ]

    def unknown_workflows(self, known: Collection[Key]) -> Counter[Key]:
        """Count active runs by workflow and version, of those that are not known."""
        rows = self._runs.active().values_list("workflow_name", "version")[:_HEAD]
        return Counter(key for key in rows if key not in known)

    def unserved_queues(self, served: Collection[str]) -> Counter[str]:
        """Count active runs by queue, of those that are not served."""
        rows = self._runs.active().values_list("queue", flat=True)[:_HEAD]
        return Counter(queue for queue in rows if queue not in served)

    def abandoned(self) -> Count:
        """Count runs whose lease ran out more than two leases ago: nobody has taken them over."""
        since = clock.moment(plus=-2 * self._lease)
        return _count(self._runs.running().filter(available_at__lte=since))

    def overdue(self) -> Count:
        """Count runs that have been due for more than a minute and that nobody holds."""
        since = clock.moment(plus=-_DUE)
        return _count(self._runs.active().filter(available_at__lte=since, worker_id__isnull=True))

    def due(self) -> Count:
        """Count runs that may be claimed now."""
        return _count(self._runs.due())

    def crashed(self) -> Count:
        """Count active runs that have lost a worker since they last made progress."""
        return _count(self._runs.active().filter(crashes__gt=0))

    def oldest_pending(self) -> timedelta | None:
        """Return for how long the oldest pending run has been due; None when none is."""
        pending = self._runs.due().pending()
        since: datetime | None = pending.aggregate(since=Min("available_at"))["since"]
        return None if since is None else clock.read(self.using) - since


def server_version(using: str) -> tuple[str, tuple[int, ...], str]:
    """Return the database's kind, its version to compare, and its version to show."""
    connection: Any = connections[using]
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        number = connection.pg_version  # 150003 is 15.3
        version = (number // 10_000, number % 10_000)
        return "PostgreSQL", version, ".".join(map(str, version))
    if connection.vendor == "sqlite":
        shown = _value(using, "SELECT sqlite_version()")
        return "SQLite", tuple(int(part) for part in shown.split(".")), shown
    return connection.display_name, (), ""


def journal_mode(using: str) -> str:
    """Return how a SQLite database keeps its journal: ``wal`` is write-ahead logging."""
    return _value(using, "PRAGMA journal_mode").lower()


def _value(using: str, sql: str) -> str:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])


def _count(rows: QuerySet[WorkflowRun]) -> Count:
    found = rows.order_by()[: MOST + 1].count()
    return Count(number=min(found, MOST), is_all=found <= MOST)
