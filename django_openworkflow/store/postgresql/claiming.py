"""The claim as one statement.

First a loose index scan over the queues and priorities in use, as in ``levels``. Then the due runs
of the highest priority are locked in the order of the claim index, then those of the next, and no
level is looked at once there are enough: LIMIT asks for rows one by one. Queues that share a
priority are merged by the moment at which their runs were due. Of the runs that the next crash
would fail only the first is taken: ``chosen``.
"""

from __future__ import annotations

from typing import Final

from django_openworkflow.store.postgresql.statements import statement

_ACTIVE: Final = "r.namespace_id = %(ns)s AND r.status IN ('pending', 'running', 'sleeping')"
_FIRST: Final = "ORDER BY r.namespace_id, r.queue, r.priority DESC, r.available_at, r.id LIMIT 1"
# A run that still names a worker has lost it.
_CRASHES: Final = "r.crashes + (r.worker_id IS NOT NULL)::int"

# Short names: psycopg remembers how to send a statement only below 4096 characters.
CLAIM: Final = statement(f"""
WITH RECURSIVE queues (queue) AS (
    SELECT (SELECT r.queue FROM {{run}} r WHERE {_ACTIVE} {_FIRST})
     WHERE {{fence}}
    UNION ALL
    SELECT (SELECT r.queue FROM {{run}} r WHERE {_ACTIVE} AND r.queue > queues.queue {_FIRST})
      FROM queues WHERE queues.queue IS NOT NULL
), levels (queue, priority) AS (
    SELECT queues.queue,
           (SELECT r.priority FROM {{run}} r WHERE {_ACTIVE} AND r.queue = queues.queue {_FIRST})
      FROM queues
     WHERE queues.queue = ANY(COALESCE(%(queues)s::text[], ARRAY[queues.queue]))
    UNION ALL
    SELECT levels.queue,
           (SELECT r.priority FROM {{run}} r
             WHERE {_ACTIVE} AND r.queue = levels.queue AND r.priority < levels.priority {_FIRST})
      FROM levels WHERE levels.priority IS NOT NULL
), due AS MATERIALIZED (
    SELECT levels.priority, array_agg(levels.queue) AS queues
      FROM levels
     WHERE levels.priority IS NOT NULL
       AND (SELECT r.available_at FROM {{run}} r
             WHERE {_ACTIVE} AND r.queue = levels.queue AND r.priority = levels.priority {_FIRST}
           ) <= {{now}}
     GROUP BY levels.priority
     ORDER BY levels.priority DESC
), picked AS MATERIALIZED (
    SELECT due.priority, best.available_at, best.id, best.crashes
      FROM due CROSS JOIN LATERAL (
           SELECT one.*
             FROM unnest(due.queues) AS q (queue) CROSS JOIN LATERAL (
                  SELECT r.available_at, r.id, {_CRASHES} AS crashes FROM {{run}} r
                   WHERE {_ACTIVE} AND r.queue = q.queue AND r.priority = due.priority
                     AND r.available_at <= {{now}}
                     AND (r.worker_id IS NULL OR r.crashes < %(most_crashes)s)
                     AND {_CRASHES} < %(crashes_below)s
                     AND (r.deadline_at IS NULL OR r.deadline_at > {{now}})
                     AND r.workflow_name || COALESCE(%(mark)s || r.version, '')
                         = ANY(%(known)b::text[])
                   ORDER BY r.available_at, r.id LIMIT %(limit)s
                     FOR NO KEY UPDATE SKIP LOCKED) AS one
            ORDER BY one.available_at, one.id LIMIT %(limit)s) AS best
     LIMIT %(limit)s
), chosen AS (
    SELECT picked.id FROM picked WHERE picked.crashes < %(suspect_at)s
    UNION ALL
   (SELECT picked.id FROM picked WHERE picked.crashes >= %(suspect_at)s
     ORDER BY picked.priority DESC, picked.available_at, picked.id LIMIT 1)
), taken AS (
    UPDATE {{run}} AS r
       SET status = 'running', worker_id = %(worker_id)s, attempts = r.attempts + 1,
           available_at = {{now}} + %(lease)s::interval,
           started_at = COALESCE(r.started_at, {{now}}), updated_at = {{now}}, deferrals = 0,
           crashes = {_CRASHES},
           takeovers = r.takeovers + (r.worker_id IS NOT NULL)::int
     WHERE r.id = ANY(ARRAY(SELECT chosen.id FROM chosen))
    RETURNING r.*
), noted AS (
    SELECT set_config('openworkflow.claimed', COALESCE(string_agg(n.id::text, ','), ''), true)
      FROM taken t, LATERAL (VALUES (t.cleanup_of_id), (CASE WHEN t.attempts > 1 THEN t.id END))
           AS n (id)
)
SELECT r.id, r.workflow_name, r.version, r.input, r.context, r.attempts, r.failures, r.created_at,
       r.started_at, r.deadline_at, r.cleanup_of_id, r.cleanup_attempt_id,
       (SELECT o.created_at FROM {{run}} o WHERE o.id = r.cleanup_of_id),
       (SELECT o.started_at FROM {{run}} o WHERE o.id = r.cleanup_of_id),
       (SELECT s.workflow_run_id FROM {{step}} s WHERE s.id = r.parent_step_attempt_id),
       {{now}}, r.crashes, -picked.priority, picked.available_at
  FROM taken r JOIN picked ON picked.id = r.id CROSS JOIN noted
""")
