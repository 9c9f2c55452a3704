"""Moving the rows of the original's own tables into ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_openworkflow.management.interop import VIEWS, quoted

if TYPE_CHECKING:
    from django_openworkflow.management.interop import InteropViews

# Under another name, so that a worker that was forgotten executes nothing a second time.
_SET_ASIDE: Final = (
    """LOCK TABLE {source}.workflow_runs, {source}.step_attempts, {source}.workflow_signals
IN ACCESS EXCLUSIVE MODE""",
    "ALTER SCHEMA {source} RENAME TO {before}",
)
# Old releases kept values that newer ones set to NULL; ids are UUIDs, though their type is text.
_COPIES: Final = {
    "workflow_runs": """
namespace_id, id::uuid, workflow_name, NULLIF(version, ''), status, idempotency_key, config,
       context, input, output, error, attempts, parent_step_attempt_namespace_id,
       parent_step_attempt_id::uuid,
       CASE WHEN status IN ('running', 'sleeping', 'completed', 'succeeded') THEN worker_id END,
       CASE WHEN status IN ('pending', 'running', 'sleeping')
            THEN COALESCE(available_at, now()) END,
       deadline_at, started_at,
       CASE WHEN status NOT IN ('pending', 'running', 'sleeping')
            THEN COALESCE(finished_at, updated_at) END,
       date_trunc('milliseconds', created_at), updated_at""",
    "step_attempts": """
namespace_id, id::uuid, workflow_run_id::uuid, step_name, kind, status, config, context, output,
       error, child_workflow_run_namespace_id, child_workflow_run_id::uuid, started_at,
       CASE WHEN status <> 'running' THEN COALESCE(finished_at, updated_at) END,
       date_trunc('milliseconds', created_at), updated_at""",
    "workflow_signals": """
namespace_id, id::uuid, signal, data, sender_idempotency_key, workflow_run_id::uuid,
       step_attempt_id::uuid, created_at""",
}
_COPY: Final = """INSERT INTO {schema}.{view} ({columns})
SELECT {values}
  FROM {before}.{view}"""


def move_statements(views: InteropViews, source: str) -> list[str]:
    """Return what sets the tables aside, makes the views, and copies the rows: one transaction.

    The tables are kept in a schema whose name ends in ``_before``.
    """
    names = {
        "schema": quoted(views.schema),
        "source": quoted(source),
        "before": quoted(f"{source[:56]}_before"),
    }
    copies = [
        _COPY.format(view=view, columns=columns, values=_COPIES[view].strip(), **names)
        for view, (_, columns) in VIEWS.items()
    ]
    return [
        *(text.format(**names) for text in _SET_ASIDE),
        *views.create_statements(),
        *copies,
    ]
