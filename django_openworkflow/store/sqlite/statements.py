"""The statements of a turn. Each is executed once for every row of its kind, as prepared.

There are no row locks: the transaction holds the write lock from its beginning. ``%s`` is Django's
placeholder. Moments are texts, ids are their hexadecimal digits.
"""

from __future__ import annotations

from typing import Final

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store.levels import LEVELS


def statement(sql: str) -> str:
    """Fill in the names of the tables."""
    return sql.format(run=f'"{WorkflowRun._meta.db_table}"', step=f'"{StepAttempt._meta.db_table}"')


READ: Final = statement("""
SELECT id, status, worker_id, crashes, released_by
  FROM {run}
 WHERE id IN (SELECT value FROM JSON_EACH(%s))
""")

# --- step attempts --------------------------------------------------------------------------------

# A row that is there already was written by a turn whose reply was lost; if this attempt has ended
# in the meantime, that is still to be written. "created_at" is the moment of this statement, in the
# form of the column's default: in its order are steps replayed, also those of one turn.
START: Final = statement("""
INSERT INTO {step} AS step
       (id, workflow_run_id, step_name, kind, worker_id, has_undo, context, status, output, error,
        finished_at, namespace_id, started_at, updated_at, created_at,
        config, interruptions, is_late)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
        STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW'), '{{}}', 0, 0)
    ON CONFLICT (id) DO UPDATE
   SET status = excluded.status, output = excluded.output, error = excluded.error,
       finished_at = excluded.finished_at, updated_at = excluded.finished_at
 WHERE step.status = 'running' AND excluded.status <> 'running'
   AND step.workflow_run_id = excluded.workflow_run_id
""")

# Not counted twice when this very claim has taken it over already.
RESUME: Final = statement("""
UPDATE {step}
   SET worker_id = %s, has_undo = %s, interruptions = interruptions + 1, started_at = %s,
       updated_at = %s
 WHERE id = %s AND status = 'running' AND worker_id IS NOT %s
""")

COMPLETE_STEP: Final = statement("""
UPDATE {step} SET status = 'completed', output = %s, finished_at = %s, updated_at = %s
 WHERE id = %s AND workflow_run_id = %s AND status = 'running'
""")

FAIL_STEP: Final = statement("""
UPDATE {step} SET status = 'failed', error = %s, finished_at = %s, updated_at = %s
 WHERE id = %s AND workflow_run_id = %s AND status = 'running'
""")

# --- runs -----------------------------------------------------------------------------------------

FORGIVE: Final = statement("UPDATE {run} SET crashes = 0 WHERE id = %s")

RESCHEDULE: Final = statement("""
UPDATE {run}
   SET status = 'pending', worker_id = NULL, released_by = worker_id, started_at = NULL,
       updated_at = %s, available_at = %s, error = %s, failures = failures + %s
 WHERE id = %s
""")

RELEASE_OR_PARK: Final = statement("""
UPDATE {run}
   SET status = 'running', worker_id = NULL, released_by = worker_id, available_at = %s,
       updated_at = %s
 WHERE id = %s
""")

CLOSE_WAITS: Final = statement("""
UPDATE {step}
   SET status = 'failed', error = %s, finished_at = %s, updated_at = %s, superseded_at = %s
 WHERE workflow_run_id = %s AND status = 'running'
   AND kind IN ('sleep', 'workflow', 'signal-send', 'signal-wait')
""")

COMPLETE: Final = statement("""
UPDATE {run}
   SET status = 'completed', output = %s, error = NULL, available_at = NULL, finished_at = %s,
       updated_at = %s
 WHERE id = %s
""")

FAIL: Final = statement("""
UPDATE {run}
   SET status = 'failed', error = %s, available_at = NULL, worker_id = NULL,
       released_by = worker_id, started_at = NULL, failures = failures + 1, finished_at = %s,
       updated_at = %s
 WHERE id = %s
""")

WAKE_PARENT: Final = statement("""
UPDATE {run}
   SET available_at = %s, updated_at = %s
 WHERE id IN (SELECT step.workflow_run_id FROM {step} AS step
               WHERE step.child_workflow_run_id = %s
                 AND step.kind = 'workflow' AND step.status = 'running')
   AND (status = 'sleeping' OR (status = 'running' AND worker_id IS NULL)) AND available_at > %s
""")

# --- claims and leases ----------------------------------------------------------------------------

DUE_LEVELS: Final = LEVELS.format(table=f'"{WorkflowRun._meta.db_table}"', now="%s")

DUE: Final = statement("""
SELECT available_at, id, crashes + (worker_id IS NOT NULL)
  FROM {run}
 WHERE namespace_id = %s AND status IN ('pending', 'running', 'sleeping')
   AND queue = %s AND priority = %s AND available_at <= %s
   AND (worker_id IS NULL OR crashes < %s)
   AND crashes + (worker_id IS NOT NULL) < %s
   AND (deadline_at IS NULL OR deadline_at > %s)
   AND workflow_name || COALESCE(%s || version, '') IN (SELECT value FROM JSON_EACH(%s))
 ORDER BY available_at, id
 LIMIT %s
""")

TAKE: Final = statement("""
UPDATE {run}
   SET status = 'running', worker_id = %s, attempts = attempts + 1, available_at = %s,
       started_at = COALESCE(started_at, %s), updated_at = %s, deferrals = 0,
       crashes = crashes + (worker_id IS NOT NULL), takeovers = takeovers + (worker_id IS NOT NULL)
 WHERE id = %s
""")

TAKEN: Final = statement("""
SELECT r.id, r.workflow_name, r.version, r.input, r.context, r.attempts, r.failures, r.created_at,
       r.started_at, r.deadline_at, r.cleanup_of_id, r.cleanup_attempt_id,
       (SELECT o.created_at FROM {run} AS o WHERE o.id = r.cleanup_of_id),
       (SELECT o.started_at FROM {run} AS o WHERE o.id = r.cleanup_of_id),
       (SELECT s.workflow_run_id FROM {step} AS s WHERE s.id = r.parent_step_attempt_id), r.crashes
  FROM {run} AS r
 WHERE r.id IN (SELECT value FROM JSON_EACH(%s))
""")

EXTEND: Final = statement("""
UPDATE {run} SET available_at = %s, updated_at = %s
 WHERE id = %s AND worker_id = %s AND status = 'running'
""")
