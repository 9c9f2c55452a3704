"""Cancel with as few statements as there can be; ``querysets`` has the portable path.

On PostgreSQL any number of runs is canceled with two statements: one locks, one ends them. Two,
because a statement sees what was committed before it began: only one that begins when the locks are
held sees all that their last holders wrote. A test compares the rows with those of the other path.

Lock order: runs in ascending id, then step attempts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.utils.functional import Promise

from django_openworkflow import clock
from django_openworkflow.exceptions import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from django_openworkflow.models import WorkflowRun

# ``{chosen}`` is whatever the caller's queryset selects, so that no id travels to the caller and
# back. MATERIALIZED: it is read once, before any lock is taken. The locks are taken above the sort,
# so in ascending id, and a row is returned as it is once its lock is held. A parent is locked with
# its child, because the child's end may wake it.
_LOCK: Final = """
WITH chosen (id) AS MATERIALIZED (
    {chosen}
), wanted (id, is_chosen) AS (
    SELECT id, bool_or(is_chosen)
      FROM (SELECT id, true
              FROM chosen
             UNION ALL
            SELECT parent_step.workflow_run_id, false
              FROM chosen
              JOIN django_openworkflow_workflowrun AS child
                ON child.id = chosen.id
              JOIN django_openworkflow_stepattempt AS parent_step
                ON parent_step.id = child.parent_step_attempt_id) AS found (id, is_chosen)
     GROUP BY id
)
SELECT run.id, run.status, wanted.is_chosen
  FROM wanted
  JOIN django_openworkflow_workflowrun AS run
    ON run.id = wanted.id
 ORDER BY run.id
   FOR NO KEY UPDATE OF run
"""

# All parts see the rows as they were before the statement, and no row may be written twice: a
# parent that is canceled itself is not woken. A wait that is locked has a signal coming from
# another client, which holds it and waits for the run: it is left open, answered. What another
# client has canceled keeps its time when it is finished off.
_END: Final = """
WITH ended (id) AS MATERIALIZED (
    SELECT unnest(%(ids)s::uuid[])
), moment (at) AS (
    SELECT STATEMENT_TIMESTAMP() + %(offset)s::interval
), free (id) AS MATERIALIZED (
    SELECT step.id
      FROM ended
      JOIN django_openworkflow_stepattempt AS step
        ON step.workflow_run_id = ended.id
     WHERE step.status = 'running'
       AND step.kind IN ('sleep', 'workflow', 'signal-send', 'signal-wait')
       FOR NO KEY UPDATE OF step SKIP LOCKED
), closed AS (
    UPDATE django_openworkflow_stepattempt AS step
       SET status = 'failed',
           error = %(error)s::jsonb,
           finished_at = moment.at,
           updated_at = moment.at,
           superseded_at = moment.at
      FROM free, moment
     WHERE step.id = free.id
), woken AS (
    UPDATE django_openworkflow_workflowrun AS parent
       SET available_at = moment.at,
           updated_at = moment.at
      FROM moment
     WHERE parent.id IN (SELECT step.workflow_run_id
                           FROM ended
                           JOIN django_openworkflow_stepattempt AS step
                             ON step.child_workflow_run_id = ended.id
                          WHERE step.kind = 'workflow'
                            AND step.status = 'running')
       AND parent.id NOT IN (SELECT id FROM ended)
       AND (parent.status = 'sleeping'
            OR (parent.status = 'running' AND parent.worker_id IS NULL))
       AND parent.available_at > moment.at
), canceled AS (
    UPDATE django_openworkflow_workflowrun AS run
       SET status = 'canceled',
           worker_id = NULL,
           available_at = NULL,
           finished_at = COALESCE(run.finished_at, moment.at),
           updated_at = moment.at,
           cancel_reason = COALESCE(%(cancel_reason)s, run.cancel_reason),
           cancel_actor = COALESCE(%(cancel_actor)s, run.cancel_actor),
           cancel_source = COALESCE(%(cancel_source)s, run.cancel_source)
      FROM ended, moment
     WHERE run.id = ended.id
    RETURNING run.id, run.has_cancel_hook, run.cleanup_of_id
)
SELECT canceled.id
  FROM canceled
 WHERE canceled.cleanup_of_id IS NULL
   AND (canceled.has_cancel_hook
        OR EXISTS (SELECT
                     FROM django_openworkflow_stepattempt AS step
                    WHERE step.workflow_run_id = canceled.id
                      AND step.has_undo
                      AND step.status IN ('completed', 'succeeded')
                      AND step.superseded_at IS NULL))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOutcome:
    """What a cancel of many found, decided by the database under lock."""

    canceled: list[UUID] = field(default_factory=list)
    already_canceled: list[UUID] = field(default_factory=list)
    skipped: dict[UUID, str] = field(default_factory=dict)
    children_canceled: list[UUID] = field(default_factory=list)

    def all_canceled(self) -> list[UUID]:
        """Return the ids of all runs that this cancel ended."""
        return [*self.canceled, *self.children_canceled]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelNote:
    """Why, by whom and through which door: checked before anything is written."""

    reason: str
    actor: object
    source: str

    def __post_init__(self) -> None:
        if isinstance(self.reason, Promise):  # of gettext_lazy: in whose language, if not now?
            object.__setattr__(self, "reason", str(self.reason))
        for what, text in (("reason", self.reason), ("actor", self.actor_text)):
            if not _is_storable(text):
                message = f"The {what} of a cancel must be text that a database can store: {text!r}"
                raise InvalidInput(message)

    @property
    def actor_text(self) -> str:
        """The actor as stored: a user's name, or the text of anything else."""
        if self.actor is None:
            return ""
        username = getattr(self.actor, "get_username", None)
        return str(username() if callable(username) else self.actor)

    def columns(self, source: str | None = None) -> dict[str, str]:
        """Return the columns of a run that keep this note."""
        return {
            "cancel_reason": str(self.reason),
            "cancel_actor": self.actor_text,
            "cancel_source": source or self.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRuns:
    """The statuses under lock of the runs that were chosen, and of parents locked with them."""

    chosen: dict[UUID, str]
    parents: dict[UUID, str]


def is_set_based(using: str) -> bool:
    """Whether ``lock_chosen`` and ``end_canceled`` serve this database."""
    return connections[using].vendor == "postgresql"


def lock_chosen(runs: QuerySet[WorkflowRun]) -> LockedRuns:
    """Lock the runs of any queryset, and their parents, in ascending id, with one statement."""
    query = runs.values("pk").query
    query.select_for_update = False  # ours is the only order in which locks may be taken
    locked = LockedRuns(chosen={}, parents={})
    try:
        chosen, parameters = query.get_compiler(runs.db).as_sql()
    except EmptyResultSet:  # a queryset that the ORM knows to be empty has no SQL
        return locked
    statement = _LOCK.format(chosen=chosen)
    for pk, status, is_chosen in _fetch(runs.db, statement, parameters):
        (locked.chosen if is_chosen else locked.parents)[pk] = status
    return locked


def end_canceled(
    using: str, ids: Collection[UUID], columns: Mapping[str, str], error: object
) -> list[UUID]:
    """Cancel locked runs, close their waits, wake their parents, as ``end_locked`` does.

    Returns the ids of those that need a clean-up run.
    """
    if not ids:
        return []
    parameters = {
        **dict.fromkeys(("cancel_reason", "cancel_actor", "cancel_source")),
        **columns,
        "ids": list(ids),
        "offset": clock.offset(),
        "error": json.dumps(error),
    }
    return [pk for (pk,) in _fetch(using, _END, parameters)]


def _fetch(using: str, statement: str, parameters: Any) -> Sequence[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cast("Sequence[tuple[Any, ...]]", cursor.fetchall())


def _is_storable(text: object) -> bool:
    """Whether this is text without NUL and lone surrogates, which PostgreSQL refuses."""
    if not isinstance(text, str) or "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
