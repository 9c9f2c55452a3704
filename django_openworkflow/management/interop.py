"""The views through which the original's client works on our tables, on PostgreSQL.

Auto-updatable views with the original's columns: its statements run on our rows unchanged, and what
it does not know stays hidden. Its migrations table says that there is nothing to migrate.
Source: the original's ``postgres.ts``, for names, columns and the version of its schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkerProcess, WorkflowRun

if TYPE_CHECKING:
    from django.db.models import Model

DEFAULT_SCHEMA: Final = "openworkflow"
SCHEMA_VERSION: Final = 5
CLAIM_INDEX: Final = "openworkflow_run_foreign_claim"
CANCEL_INDEX: Final = "openworkflow_run_foreign_cancel"

_SCHEMA_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

_WORKFLOW_RUNS: Final = """\
namespace_id, id, workflow_name, version, status, idempotency_key, config, context, input,
       output, error, attempts, parent_step_attempt_namespace_id, parent_step_attempt_id, worker_id,
       available_at, deadline_at, started_at, finished_at, created_at, updated_at"""
_STEP_ATTEMPTS: Final = """\
namespace_id, id, workflow_run_id, step_name, kind, status, config, context, output, error,
       child_workflow_run_namespace_id, child_workflow_run_id, started_at, finished_at, created_at,
       updated_at"""
_WORKFLOW_SIGNALS: Final = """\
namespace_id, id, signal, data, sender_idempotency_key, workflow_run_id, step_attempt_id,
       created_at"""
VIEWS: Final[dict[str, tuple[type[Model], str]]] = {
    "workflow_runs": (WorkflowRun, _WORKFLOW_RUNS),
    "step_attempts": (StepAttempt, _STEP_ATTEMPTS),
    "workflow_signals": (SignalDelivery, _WORKFLOW_SIGNALS),
}

# The order of the original's claim, expression for expression: it reads the due runs one by one and
# sorts none. Parked, leased and finished rows lie outside of what it reads.
_INDEXES: Final = (
    """CREATE INDEX{concurrently} IF NOT EXISTS {claim_index} ON {runs} (
    namespace_id, (CASE WHEN status = 'pending' THEN 0 ELSE 1 END), available_at, created_at
) WHERE status IN ('pending', 'running', 'sleeping')""",
    # What other clients have canceled and no worker of ours has finished off yet: next to nothing.
    """CREATE INDEX{concurrently} IF NOT EXISTS {cancel_index} ON {runs} (namespace_id, id)
WHERE status = 'canceled' AND cancel_source = ''""",
)
_DROP_INDEXES: Final = (
    "DROP INDEX IF EXISTS {home}.{claim_index}",
    "DROP INDEX IF EXISTS {home}.{cancel_index}",
)
_MIGRATIONS: Final = (
    "CREATE TABLE IF NOT EXISTS {schema}.openworkflow_migrations (version bigint PRIMARY KEY)",
    "INSERT INTO {schema}.openworkflow_migrations VALUES ({version}) ON CONFLICT DO NOTHING",
)
_VIEW: Final = """CREATE OR REPLACE VIEW {schema}.{view} AS
SELECT {columns}
  FROM {table}{where}"""

# --- the guard ------------------------------------------------------------------------------------

# What a foreign worker put back as unknown although a worker of ours knows it. Short-lived, so that
# a deploy that teaches the foreign workers the name is noticed.
_HIDDEN: Final = """CREATE TABLE IF NOT EXISTS {schema}.hidden_workflows (
    namespace_id text,
    workflow_name text,
    version text,
    hidden_until timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, workflow_name, version)
)"""
# Only the original's claim has these words. The scalar subquery is evaluated once per statement;
# all other statements stop at it and see every row.
_WHERE: Final = """
 WHERE NOT (SELECT current_query() LIKE '%FOR UPDATE SKIP LOCKED%')
    OR (namespace_id, workflow_name, COALESCE(version, '')) NOT IN (
           SELECT hidden.namespace_id, hidden.workflow_name, hidden.version
             FROM {schema}.hidden_workflows AS hidden
            WHERE hidden.hidden_until > statement_timestamp())"""
# Undoes the put-back: the run is due at once, with the claims and the error it had before. Our
# workers' ids have a colon, the original's are bare UUIDs. The message is the original's.
_GUARD_FUNCTION: Final = """CREATE OR REPLACE FUNCTION {schema}.guard_put_back() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.status <> 'running' OR OLD.worker_id IS NULL OR OLD.worker_id LIKE '%:%'
       OR NEW.error ->> 'message' IS DISTINCT FROM 'Workflow "' || NEW.workflow_name || '"'
          || COALESCE(' (version: ' || NEW.version || ')', '') || ' is not registered'
       OR NOT EXISTS (
        SELECT FROM {workers} AS worker
         WHERE worker.namespace_id = NEW.namespace_id
           AND worker.heartbeat_at > statement_timestamp() - interval '2 minutes'
           AND worker.workflows @> jsonb_build_array(
                   jsonb_build_array(NEW.workflow_name, NEW.version))
    ) THEN
        RETURN NEW;
    END IF;
    INSERT INTO {schema}.hidden_workflows AS hidden
    VALUES (NEW.namespace_id, NEW.workflow_name, COALESCE(NEW.version, ''),
            statement_timestamp() + interval '1 minute')
    ON CONFLICT (namespace_id, workflow_name, version)
    DO UPDATE SET hidden_until = EXCLUDED.hidden_until;
    NEW.available_at := statement_timestamp();
    NEW.attempts := OLD.attempts - 1;
    NEW.error := OLD.error;
    IF OLD.attempts > 1 THEN
        NEW.started_at := OLD.started_at;
    END IF;
    RETURN NEW;
END $$"""
# PostgreSQL reads the condition of a trigger anew for every statement that it may concern: hence
# few words, and only statements that set this column, as a claim does not.
_GUARD_TRIGGER: Final = """CREATE OR REPLACE TRIGGER openworkflow_guard_put_back
BEFORE UPDATE OF finished_at ON {runs} FOR EACH ROW WHEN (NEW.status = 'pending')
EXECUTE FUNCTION {schema}.guard_put_back()"""
_DROP_GUARD: Final = "DROP TRIGGER IF EXISTS openworkflow_guard_put_back ON {runs}"

# --- the notice of a cancel -----------------------------------------------------------------------

# As ``notices.py`` does for our own cancels, which name their source.
_NOTIFY_FUNCTION: Final = """CREATE OR REPLACE FUNCTION {schema}.notify_canceled() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.status = 'running' THEN
        PERFORM pg_notify('openworkflow_' || left(
            encode(sha256(convert_to(NEW.namespace_id, 'UTF8')), 'hex'), 16), '');
    END IF;
    RETURN NULL;
END $$"""
_NOTIFY_TRIGGER: Final = """CREATE OR REPLACE TRIGGER openworkflow_notify_canceled
AFTER UPDATE OF finished_at ON {runs} FOR EACH ROW
WHEN (NEW.status = 'canceled' AND NEW.cancel_source = '')
EXECUTE FUNCTION {schema}.notify_canceled()"""
_DROP_NOTIFY: Final = "DROP TRIGGER IF EXISTS openworkflow_notify_canceled ON {runs}"

_DROP_SCHEMA: Final = """DO $$ BEGIN
    DROP SCHEMA IF EXISTS {schema} RESTRICT;
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;  -- somebody else's things are in it
END $$"""

FIND_HOME: Final = """
SELECT namespace.nspname
  FROM pg_class AS relation
  JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
 WHERE relation.oid = to_regclass(%s)
"""
# As PostgreSQL writes the kinds of relations: ordinary and partitioned tables; views.
TABLE_KINDS: Final = ("r", "p")
VIEW_KINDS: Final = ("v",)
# Tables where views should be are the original's own.
FIND_RELATIONS: Final = """
SELECT relation.relname
  FROM pg_class AS relation
  JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
 WHERE namespace.nspname = %s
   AND relation.relname = ANY (%s)
   AND relation.relkind = ANY (%s::"char"[])
 ORDER BY relation.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InteropViews:
    """What ``createinteropviews`` makes in one schema, as statements.

    Raises:
        InvalidInput: the original's client would refuse the name of the schema.
    """

    home: str  # the schema that has our tables
    schema: str = DEFAULT_SCHEMA
    guard: bool = True
    roles: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the name as the original's client does."""
        if not _SCHEMA_NAME.fullmatch(self.schema):
            message = (
                f"A schema's name has up to 63 letters, digits and underscores and begins with no "
                f"digit: {self.schema!r}"
            )
            raise InvalidInput(message)

    def index_statements(self, *, concurrently: bool) -> list[str]:
        """Return what makes the indexes; concurrently only outside of a transaction."""
        how = " CONCURRENTLY" if concurrently else ""
        return [self._fill(text, concurrently=how) for text in _INDEXES]

    def create_statements(self) -> list[str]:
        """Return what makes everything else, for one transaction; safe to repeat."""
        guard = (_GUARD_FUNCTION, _GUARD_TRIGGER) if self.guard else (_DROP_GUARD,)
        before = ("CREATE SCHEMA IF NOT EXISTS {schema}", *_MIGRATIONS, _HIDDEN)
        after = (*guard, _NOTIFY_FUNCTION, _NOTIFY_TRIGGER)
        return [
            *(self._fill(text) for text in before),
            *self._views(),
            *(self._fill(text) for text in after),
            *self._grants(),
        ]

    def drop_statements(self) -> list[str]:
        """Return what takes everything away again, and leaves the rows alone; safe to repeat."""
        texts = (
            _DROP_GUARD,
            _DROP_NOTIFY,
            *(f"DROP VIEW IF EXISTS {{schema}}.{view}" for view in VIEWS),
            "DROP FUNCTION IF EXISTS {schema}.guard_put_back()",
            "DROP FUNCTION IF EXISTS {schema}.notify_canceled()",
            "DROP TABLE IF EXISTS {schema}.hidden_workflows",
            "DROP TABLE IF EXISTS {schema}.openworkflow_migrations",
            _DROP_SCHEMA,
            *_DROP_INDEXES,
        )
        return [self._fill(text) for text in texts]

    def _views(self) -> Iterator[str]:
        for view, (model, columns) in VIEWS.items():
            where = self._fill(_WHERE) if self.guard and model is WorkflowRun else ""
            yield self._fill(
                _VIEW,
                view=view,
                columns=columns,
                table=self._table(model),
                where=where,
            )

    def _grants(self) -> Iterator[str]:
        views = ", ".join(f"{{schema}}.{view}" for view in VIEWS)
        for role in self.roles:
            for text in (
                "GRANT USAGE ON SCHEMA {schema} TO {role}",
                f"GRANT SELECT, INSERT, UPDATE ON {views} TO {{role}}",
                "GRANT SELECT ON {schema}.openworkflow_migrations TO {role}",
            ):
                yield self._fill(text, role=quoted(role))

    def _fill(self, text: str, **names: str) -> str:
        return text.format(
            schema=quoted(self.schema),
            home=quoted(self.home),
            runs=self._table(WorkflowRun),
            workers=self._table(WorkerProcess),
            claim_index=CLAIM_INDEX,
            cancel_index=CANCEL_INDEX,
            version=SCHEMA_VERSION,
            **names,
        )

    def _table(self, model: type[Model]) -> str:
        return f"{quoted(self.home)}.{quoted(model._meta.db_table)}"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
