"""Find the priorities that have due runs, at a cost that does not grow with the rows."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from django_openworkflow import clock, conf
from django_openworkflow.models import WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# A loose index scan, which neither PostgreSQL nor SQLite does by itself: each queue, and in it each
# priority, is found from the one before by one look at the claim index. The statuses stand here as
# literals because a partial index serves only a condition that the planner sees. The earliest run
# of a level is asked for by itself, because EXISTS may be turned into a join that reads them all.
# MIN and MAX are spelled as the first row in the order of the whole index, because without
# statistics the planner may rather read all rows for them.
LEVELS: Final = """
WITH RECURSIVE queues (queue) AS (
    SELECT (SELECT run.queue
              FROM {table} AS run
             WHERE run.namespace_id = %s
               AND run.status IN ('pending', 'running', 'sleeping')
             ORDER BY run.namespace_id, run.queue, run.priority DESC, run.available_at, run.id
             LIMIT 1)
    UNION ALL
    SELECT (SELECT run.queue
              FROM {table} AS run
             WHERE run.namespace_id = %s
               AND run.status IN ('pending', 'running', 'sleeping')
               AND run.queue > queues.queue
             ORDER BY run.namespace_id, run.queue, run.priority DESC, run.available_at, run.id
             LIMIT 1)
      FROM queues
     WHERE queues.queue IS NOT NULL
), levels (queue, priority) AS (
    SELECT queues.queue,
           (SELECT run.priority
              FROM {table} AS run
             WHERE run.namespace_id = %s
               AND run.status IN ('pending', 'running', 'sleeping')
               AND run.queue = queues.queue
             ORDER BY run.namespace_id, run.queue, run.priority DESC, run.available_at, run.id
             LIMIT 1)
      FROM queues
     WHERE queues.queue IS NOT NULL
    UNION ALL
    SELECT levels.queue,
           (SELECT run.priority
              FROM {table} AS run
             WHERE run.namespace_id = %s
               AND run.status IN ('pending', 'running', 'sleeping')
               AND run.queue = levels.queue
               AND run.priority < levels.priority
             ORDER BY run.namespace_id, run.queue, run.priority DESC, run.available_at, run.id
             LIMIT 1)
      FROM levels
     WHERE levels.priority IS NOT NULL
)
SELECT levels.priority, levels.queue
  FROM levels
 WHERE levels.priority IS NOT NULL
   AND (SELECT run.available_at
          FROM {table} AS run
         WHERE run.namespace_id = %s
           AND run.status IN ('pending', 'running', 'sleeping')
           AND run.queue = levels.queue
           AND run.priority = levels.priority
         ORDER BY run.namespace_id, run.queue, run.priority DESC, run.available_at, run.id
         LIMIT 1) <= {now}
"""
_NAMESPACES: Final = 5


def due_levels(
    using: str, queues: Sequence[str] | None, now: datetime | None
) -> list[tuple[int, list[str]]]:
    """Return the priorities with due runs, highest first, each with the queues that have them.

    One statement; its cost grows with the queues and priorities in use, not with runs.
    ``queues`` None means every queue.
    """
    connection = connections[using]
    query = WorkflowRun._base_manager.using(using).all().query
    moment: Any = clock.moment(now)
    now_sql, now_params = query.get_compiler(using).compile(moment.resolve_expression(query))
    sql = LEVELS.format(table=connection.ops.quote_name(query.get_meta().db_table), now=now_sql)
    with connection.cursor() as cursor:
        cursor.execute(sql, [conf.namespace()] * _NAMESPACES + list(now_params))
        found = cursor.fetchall()
    return grouped(found, queues)


def grouped(
    found: Sequence[tuple[int, str]], queues: Sequence[str] | None
) -> list[tuple[int, list[str]]]:
    """Return the priorities, highest first, each with those of its queues that are wanted."""
    rows = sorted(
        ((priority, queue) for priority, queue in found if queues is None or queue in queues),
        key=lambda row: (-row[0], row[1]),
    )
    return [
        (priority, [queue for _, queue in group])
        for priority, group in groupby(rows, key=lambda row: row[0])
    ]
