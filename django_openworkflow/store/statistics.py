"""Numbers about runs, each at a cost that is bounded whatever the tables hold. Nothing writes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.models import Count
from django.db.models.functions import TruncMinute

from django_openworkflow import conf
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import TERMINAL, RunStatus

if TYPE_CHECKING:
    from django_openworkflow.querysets import WorkflowRunQuerySet

# A loose index scan, which neither PostgreSQL nor SQLite does by itself: each name is found from
# the one before by one look at the index of names. The order is that of the whole index, so that
# the planner reads one row and does not sort, with or without statistics.
_NAMES: Final = """
WITH RECURSIVE names (name, place) AS (
    SELECT (SELECT run.workflow_name
              FROM {table} AS run
             WHERE run.namespace_id = %s
             ORDER BY run.namespace_id, run.workflow_name, run.created_at DESC
             LIMIT 1), 1
    UNION ALL
    SELECT (SELECT run.workflow_name
              FROM {table} AS run
             WHERE run.namespace_id = %s
               AND run.workflow_name > names.name
             ORDER BY run.namespace_id, run.workflow_name, run.created_at DESC
             LIMIT 1), names.place + 1
      FROM names
     WHERE names.name IS NOT NULL
       AND names.place < %s
)
SELECT names.name
  FROM names
 WHERE names.name IS NOT NULL
"""
MOST_NAMES: Final = 1000


def names_in_use(using: str, *, limit: int = MOST_NAMES) -> list[str]:
    """Return the names of workflows that rows have, sorted, at most ``limit``."""
    connection: Any = connections[using]
    table = connection.ops.quote_name(WorkflowRun._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(_NAMES.format(table=table), [conf.namespace()] * 2 + [limit])
        return [name for (name,) in cursor.fetchall()]


MOST_COUNTED: Final = 10_000
_LATEST: Final = 10_000  # ended runs whose durations are looked at

# (minute, status, how many runs ended in it)
Ended = tuple[datetime, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long the latest completed runs of a workflow took, from claim to end; how many failed."""

    workflow_name: str
    completed: int
    failed: int
    median: timedelta | None
    slow: timedelta | None  # 19 of 20 runs took no longer


class Statistics:
    """Questions about the runs of the configured namespace on one database."""

    def __init__(self, using: str) -> None:
        self.using = using

    @property
    def _runs(self) -> WorkflowRunQuerySet:
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self.using).all()
        return runs

    def counts(self, since: datetime) -> dict[str, int]:
        """Count runs by where they stand; ended ones since then. ``MOST_COUNTED`` + 1 is more."""
        rows = {
            RunStatus.PENDING: self._runs.pending(),
            RunStatus.RUNNING: self._runs.running(),
            RunStatus.SLEEPING: self._runs.parked(),
            RunStatus.COMPLETED: self._ended(since).completed(),
            RunStatus.FAILED: self._ended(since).failed(),
            RunStatus.CANCELED: self._ended(since).canceled(),
        }
        return {
            state.value: some.order_by()[: MOST_COUNTED + 1].count() for state, some in rows.items()
        }

    def _ended(self, since: datetime) -> WorkflowRunQuerySet:
        """Narrow to runs that ended since then; the statuses are what the index begins with."""
        return self._runs.filter(status__in=TERMINAL, finished_at__gte=since)

    def ended_by_minute(self, since: datetime) -> Sequence[Ended]:
        """Count the runs that ended in each minute since then, by status."""
        rows = self._ended(since).order_by()
        minutes = rows.values_list(TruncMinute("finished_at"), "status")
        return list(minutes.annotate(count=Count("pk")))

    def durations(self, since: datetime) -> list[Durations]:
        """Return how long runs took that completed since then, of the latest ones, by workflow."""
        spans: dict[str, list[timedelta]] = defaultdict(list)
        columns = ("workflow_name", "started_at", "created_at", "finished_at")
        completed = self._latest(RunStatus.COMPLETED, since).values_list(*columns)
        for name, started_at, created_at, finished_at in completed[:_LATEST]:
            spans[name].append(finished_at - (started_at or created_at))
        names = self._latest(RunStatus.FAILED, since).values_list("workflow_name", flat=True)
        failed = Counter(names[:_LATEST])
        return [
            Durations(
                workflow_name=name,
                completed=len(spans[name]),
                failed=failed[name],
                median=_quantile(spans[name], 0.5),
                slow=_quantile(spans[name], 0.95),
            )
            for name in sorted(spans.keys() | failed.keys())
        ]

    def _latest(self, status: RunStatus, since: datetime) -> WorkflowRunQuerySet:
        return self._runs.filter(status=status, finished_at__gte=since).order_by("-finished_at")


def _quantile(spans: list[timedelta], share: float) -> timedelta | None:
    """Return the span that this share of all does not exceed; None for none."""
    if not spans:
        return None
    ordered = sorted(spans)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
