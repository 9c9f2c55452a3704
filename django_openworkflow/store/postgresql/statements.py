"""The statements of a turn. Each writes all rows of one kind, given as arrays.

They are shaped so that nothing but look-ups by key can come out, whatever the planner believes: it
plans on a table that was empty a moment ago and keeps the plan. Rows are joined by
``id = ANY(ARRAY[given.id])``, for where it says ``id = given.id`` the planner may also read the
index from end to end, in search of the few rows that pass the other conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun

# The verdict on a turn that is sent in one trip: set by ``FENCE``, asked by every write after it.
_FENCE_HOLDS: Final = "current_setting('openworkflow.fence', true) = 'held'"
# Tests move the clock: ``now`` takes its place, or ``shift`` is added to it.
_NOW: Final = "(COALESCE(%(now)s::timestamptz, STATEMENT_TIMESTAMP()) + %(shift)s::interval)"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in two forms: ``plain``, and ``fenced``, which does nothing unless it holds."""

    plain: str
    fenced: str


def statement(sql: str) -> Statement:
    """Fill in the names of the tables, the clock and the fence."""
    names = {
        "run": f'"{WorkflowRun._meta.db_table}"',
        "step": f'"{StepAttempt._meta.db_table}"',
        "delivery": f'"{SignalDelivery._meta.db_table}"',
        "now": _NOW,
    }
    return Statement(
        plain=sql.format(fence="true", **names), fenced=sql.format(fence=_FENCE_HOLDS, **names)
    )


# For the transaction only, so that a pooler may hand the connection on. What the planner believes
# of a table that has just begun to grow is worthless, and it keeps the plans that it makes from it:
# only look-ups by key, and walks in the order of an index, cost the same at any size.
PREPARE: Final = """
SELECT set_config('synchronous_commit',
                  CASE WHEN %(is_relaxed)s::bool THEN 'off'
                       ELSE current_setting('synchronous_commit') END, true),
       set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true),
       set_config('enable_mergejoin', 'off', true),
       set_config('enable_sort', 'off', true),
       set_config('jit', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true)
"""
# The same for one statement within a transaction of somebody else's, who gets his own back. To
# compile a claim, as the planner proposes, would take a second.
HOLD_PLANNER: Final = """
SELECT current_setting('enable_sort'), current_setting('jit'),
       set_config('enable_sort', 'off', true), set_config('jit', 'off', true)
"""
RELEASE_PLANNER: Final = """
SELECT set_config('enable_sort', %(sort)s, true), set_config('jit', %(jit)s, true)
"""

LOCK: Final = statement("""
SELECT run.id, run.status, run.worker_id, run.crashes, run.released_by
  FROM {run} AS run
 WHERE run.id = ANY(%(ids)b::uuid[])
 ORDER BY run.id
   FOR NO KEY UPDATE SKIP LOCKED
""").plain
LOCK_AND_WAIT: Final = LOCK.replace(" SKIP LOCKED", "")
CLOCK: Final = statement("SELECT {now}").plain

# Locks like ``LOCK``, in no order, for it never waits, and notes whether every lease holds. A run
# without a worker's name here is a parent: it must be locked, whatever its state. From here on
# nothing but nested loops is wanted.
FENCE: Final = statement("""
WITH held AS MATERIALIZED (
    SELECT run.id, run.status, run.worker_id, run.crashes
      FROM {run} AS run
     WHERE run.id = ANY(%(ids)b::uuid[])
       FOR NO KEY UPDATE SKIP LOCKED
), judged AS MATERIALIZED (
    SELECT count(*) = cardinality(%(ids)b::uuid[]) AS holds
      FROM held
      JOIN unnest(%(ids)b::uuid[], %(workers)b::text[], %(progress)b::bool[])
           AS wanted (id, worker_id, has_progress) ON wanted.id = held.id
     WHERE wanted.worker_id IS NULL
        OR (held.status = 'running' AND held.worker_id = wanted.worker_id
            AND (held.crashes = 0 OR NOT wanted.has_progress))
)
SELECT judged.holds,
       {now},
       set_config('openworkflow.fence', CASE WHEN judged.holds THEN 'held' ELSE '' END, true),
       set_config('enable_hashjoin', 'off', true)
  FROM judged
""").plain

# --- step attempts --------------------------------------------------------------------------------

# A row that is there already was written by a turn whose reply was lost; if this attempt has ended
# in the meantime, that is still to be written.
START: Final = statement("""
INSERT INTO {step} AS step
       (id, workflow_run_id, step_name, kind, worker_id, has_undo, context, status, output, error,
        namespace_id, config, interruptions, is_late, started_at, created_at, updated_at,
        finished_at)
SELECT given.id, given.run_id, given.step_name, given.kind, given.worker_id, given.has_undo,
       given.context::jsonb, given.status, given.output::jsonb, given.error::jsonb,
       %(namespace)s, '{{}}', 0, false,
       STATEMENT_TIMESTAMP(),
       DATE_TRUNC('milliseconds', STATEMENT_TIMESTAMP()),
       STATEMENT_TIMESTAMP(),
       CASE WHEN given.status <> 'running' THEN {now} END
  FROM unnest(%(ids)b::uuid[], %(run_ids)b::uuid[], %(step_names)b::text[], %(kinds)b::text[],
              %(worker_ids)b::text[], %(has_undos)b::bool[], %(contexts)b::text[],
              %(statuses)b::text[], %(outputs)b::text[], %(errors)b::text[])
       AS given (id, run_id, step_name, kind, worker_id, has_undo, context, status, output, error)
 WHERE {fence}
    ON CONFLICT (id) DO UPDATE
   SET status = excluded.status, output = excluded.output, error = excluded.error,
       finished_at = excluded.finished_at, updated_at = excluded.finished_at
 WHERE step.status = 'running' AND excluded.status <> 'running'
   AND step.workflow_run_id = excluded.workflow_run_id
""")

# Not counted twice when this very claim has taken it over already.
RESUME: Final = statement("""
UPDATE {step} AS step
   SET worker_id = given.worker_id, has_undo = given.has_undo,
       interruptions = step.interruptions + 1, started_at = {now}, updated_at = {now}
  FROM unnest(%(ids)b::uuid[], %(worker_ids)b::text[], %(has_undos)b::bool[])
       AS given (id, worker_id, has_undo)
 WHERE step.id = ANY(ARRAY[given.id]) AND step.status = 'running'
   AND step.worker_id IS DISTINCT FROM given.worker_id AND {fence}
""")

END: Final = statement("""
UPDATE {step} AS step
   SET status = given.status,
       output = CASE given.status WHEN 'completed' THEN given.output::jsonb ELSE step.output END,
       error = CASE given.status WHEN 'failed' THEN given.error::jsonb ELSE step.error END,
       finished_at = {now}, updated_at = {now}
  FROM unnest(%(ids)b::uuid[], %(run_ids)b::uuid[], %(statuses)b::text[], %(outputs)b::text[],
              %(errors)b::text[])
       AS given (id, run_id, status, output, error)
 WHERE step.id = ANY(ARRAY[given.id]) AND (step.workflow_run_id = given.run_id) IS TRUE
   AND step.status = 'running' AND {fence}
""")

# --- runs -----------------------------------------------------------------------------------------

FORGIVE: Final = statement("""
UPDATE {run} AS run
   SET crashes = 0
 WHERE run.id = ANY(%(ids)b::uuid[]) AND {fence}
""")

RESCHEDULE: Final = statement("""
UPDATE {run} AS run
   SET status = 'pending', worker_id = NULL, released_by = run.worker_id, started_at = NULL,
       updated_at = {now},
       available_at = LEAST({now} + given.delay, given.wake_at),
       error = given.error::jsonb, failures = run.failures + given.failures
  FROM unnest(%(ids)b::uuid[], %(errors)b::text[], %(delays)b::interval[],
              %(wake_ats)b::timestamptz[], %(failures)b::int[])
       AS given (id, error, delay, wake_at, failures)
 WHERE run.id = ANY(ARRAY[given.id]) AND {fence}
""")

RELEASE: Final = statement("""
UPDATE {run} AS run
   SET status = 'running', worker_id = NULL, released_by = run.worker_id, available_at = {now},
       updated_at = {now}
 WHERE run.id = ANY(%(ids)b::uuid[]) AND {fence}
""")

PARK: Final = statement("""
UPDATE {run} AS run
   SET status = 'running', worker_id = NULL, released_by = run.worker_id,
       available_at = given.wake_at, updated_at = {now}
  FROM unnest(%(ids)b::uuid[], %(wake_ats)b::timestamptz[]) AS given (id, wake_at)
 WHERE run.id = ANY(ARRAY[given.id]) AND {fence}
""")

# After the park, in a statement of its own: it sees what was committed before we had the row.
# OFFSET 0 keeps every EXISTS a look-up for one row: no join, no hash table of all that ever ended;
# and no index can find what a status is not.
WAKE_IF_IT_HAPPENED: Final = statement("""
UPDATE {run} AS run
   SET available_at = {now}
 WHERE run.id = ANY(%(ids)b::uuid[]) AND {fence}
   AND EXISTS (
       SELECT FROM {step} AS step
        WHERE step.workflow_run_id = run.id AND step.status = 'running'
          AND CASE step.kind
              WHEN 'workflow' THEN EXISTS (
                   SELECT FROM {run} AS child
                    WHERE child.id = step.child_workflow_run_id
                      AND child.status NOT IN ('pending', 'running', 'sleeping')
                   OFFSET 0)
              WHEN 'signal-wait' THEN EXISTS (
                   SELECT FROM {delivery} AS delivery
                    WHERE delivery.step_attempt_id = step.id
                   OFFSET 0)
              ELSE false END
       OFFSET 0)
""")

# A run that ends closes what only waited, which parallel code may leave behind, but for waits that
# have a signal coming from another client: it locks waits first and runs last. And the run wakes
# its parent, if that is parked: no row that this statement ends itself.
_CLOSE_AND_WAKE: Final = """
WITH closed AS (
    UPDATE {step} AS step
       SET status = 'failed', error = %(closing_error)s::jsonb, finished_at = {now},
           updated_at = {now}, superseded_at = {now}
     WHERE step.id = ANY(ARRAY(
               SELECT wait.id FROM {step} AS wait
                WHERE wait.workflow_run_id = ANY(%(ids)b::uuid[]) AND wait.status = 'running'
                  AND wait.kind IN ('sleep', 'workflow', 'signal-send', 'signal-wait')
                  AND {fence}
                  FOR NO KEY UPDATE SKIP LOCKED))
), woken AS (
    UPDATE {run} AS run
       SET available_at = {now}, updated_at = {now}
     WHERE run.id = ANY(ARRAY(
               SELECT step.workflow_run_id FROM {step} AS step
                WHERE step.child_workflow_run_id = ANY(%(ids)b::uuid[])
                  AND step.kind = 'workflow' AND step.status = 'running'))
       AND (run.status = 'sleeping' OR (run.status = 'running' AND run.worker_id IS NULL))
       AND run.available_at > {now} AND {fence}
)"""

COMPLETE: Final = statement(f"""
{_CLOSE_AND_WAKE}
UPDATE {{run}} AS run
   SET status = 'completed', output = given.output::jsonb, error = NULL, available_at = NULL,
       finished_at = {{now}}, updated_at = {{now}}
  FROM unnest(%(ids)b::uuid[], %(payloads)b::text[]) AS given (id, output)
 WHERE run.id = ANY(ARRAY[given.id]) AND {{fence}}
""")

FAIL: Final = statement(f"""
{_CLOSE_AND_WAKE}
UPDATE {{run}} AS run
   SET status = 'failed', error = given.error::jsonb, available_at = NULL, worker_id = NULL,
       released_by = run.worker_id, started_at = NULL, failures = run.failures + 1,
       finished_at = {{now}}, updated_at = {{now}}
  FROM unnest(%(ids)b::uuid[], %(payloads)b::text[]) AS given (id, error)
 WHERE run.id = ANY(ARRAY[given.id]) AND {{fence}}
""")

# --- leases ---------------------------------------------------------------------------------------

EXTEND: Final = statement("""
WITH locked AS MATERIALIZED (
    SELECT run.id, run.status, run.worker_id
      FROM {run} AS run
     WHERE run.id = ANY(%(ids)b::uuid[])
       FOR NO KEY UPDATE SKIP LOCKED
), extended AS (
    UPDATE {run} AS run
       SET available_at = {now} + %(lease)s::interval, updated_at = {now}
     WHERE run.id = ANY(ARRAY(
               SELECT locked.id
                 FROM locked
                 JOIN unnest(%(ids)b::uuid[], %(workers)b::text[]) AS wanted (id, worker_id)
                   ON wanted.id = locked.id AND wanted.worker_id = locked.worker_id
                WHERE locked.status = 'running'))
)
SELECT locked.id, locked.status, locked.worker_id, true FROM locked
UNION ALL
SELECT run.id, run.status, run.worker_id, false
  FROM {run} AS run
 WHERE run.id = ANY(%(ids)b::uuid[])
   AND NOT EXISTS (SELECT FROM locked WHERE locked.id = run.id)
""").plain

# --- history --------------------------------------------------------------------------------------

# OFFSET 0 keeps the joined rows look-ups by key, one for each step that waits; "|| ''" keeps the
# planner from looking for a child among all rows of the namespace.
_HISTORY: Final = """
SELECT step.workflow_run_id, step.id, step.step_name, step.kind, step.status,
       step.context, step.output, step.error, step.child_workflow_run_id,
       step.created_at, step.finished_at, step.has_undo, step.is_late,
       step.superseded_at IS NOT NULL,
       child.status, child.output, child.error, child.finished_at,
       delivery.id IS NOT NULL, delivery.data
  FROM {step} AS step
  LEFT JOIN LATERAL (
       SELECT run.status, run.output, run.error, run.finished_at
         FROM {run} AS run
        WHERE step.status = 'running' AND run.id = step.child_workflow_run_id
          AND run.namespace_id || '' = %(namespace)s
       OFFSET 0) AS child ON true
  LEFT JOIN LATERAL (
       SELECT received.id, received.data
         FROM {delivery} AS received
        WHERE step.status = 'running' AND step.kind = 'signal-wait'
          AND received.step_attempt_id = step.id AND received.namespace_id = %(namespace)s
       OFFSET 0) AS delivery ON true
 WHERE step.workflow_run_id = ANY({ids}) AND step.namespace_id = %(namespace)s
 ORDER BY step.created_at, step.id
"""
HISTORY: Final = statement(_HISTORY.replace("{ids}", "%(ids)b::uuid[]")).plain
# Of the runs that the claim before it, in the same transaction, has noted.
HISTORY_OF_CLAIMED: Final = statement(
    _HISTORY.replace(
        "{ids}",
        "string_to_array(NULLIF(current_setting('openworkflow.claimed', true), ''), ',')::uuid[]",
    )
).plain
