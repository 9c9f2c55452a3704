"""Numbers about runs, each at a cost that is bounded whatever the tables hold. Nothing writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.models import Count
from django.db.models.functions import TruncMinute

from django_openworkflow import conf
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus

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


def workflow_names(using: str, *, limit: int = MOST_NAMES) -> list[str]:
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
    """How long the latest runs of a workflow took, from first claim to end."""

    workflow_name: str
    runs: int
    failed: int
    median: timedelta
    slow: timedelta  # 19 of 20 runs took no longer


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
        ended = self._runs.filter(finished_at__gte=since)
        rows = {
            RunStatus.PENDING: self._runs.pending(),
            RunStatus.RUNNING: self._runs.running(),
            RunStatus.SLEEPING: self._runs.parked(),
            RunStatus.COMPLETED: ended.completed(),
            RunStatus.FAILED: ended.failed(),
            RunStatus.CANCELED: ended.canceled(),
        }
        return {
            state.value: some.order_by()[: MOST_COUNTED + 1].count() for state, some in rows.items()
        }

    def ended_by_minute(self, since: datetime) -> Sequence[Ended]:
        """Count the runs that ended in each minute since then, by status."""
        rows = self._runs.filter(finished_at__gte=since).order_by()
        minutes = rows.values_list(TruncMinute("finished_at"), "status")
        return list(minutes.annotate(count=Count("pk")))

    def durations(self, since: datetime) -> list[Durations]:
        """Return how long runs took that ended since then, of the latest ones, by workflow."""
        rows = self._runs.filter(finished_at__gte=since).exclude(status=RunStatus.CANCELED)
        columns = ("workflow_name", "status", "started_at", "created_at", "finished_at")
        spans: dict[str, list[timedelta]] = defaultdict(list)
        failed: dict[str, int] = defaultdict(int)
        for name, status, started_at, created_at, finished_at in rows.order_by(
            "-finished_at"
        ).values_list(*columns)[:_LATEST]:
            spans[name].append(finished_at - (started_at or created_at))
            failed[name] += status == RunStatus.FAILED
        return [
            Durations(
                workflow_name=name,
                runs=len(some),
                failed=failed[name],
                median=_quantile(some, 0.5),
                slow=_quantile(some, 0.95),
            )
            for name, some in sorted(spans.items())
        ]


def _quantile(spans: list[timedelta], share: float) -> timedelta:
    """Return the shortest span that this share of all does not exceed."""
    ordered = sorted(spans)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
