"""A witness in the database: what each transaction saw that ended a run, and what came after.

A trigger runs inside the transaction that ends the run, after it has taken the run's row lock, and
writes down which steps, children and deliveries of the run it sees. PostgreSQL gives each statement
of a READ COMMITTED transaction a new snapshot, so these are exactly the rows committed until then.
A row that is in the table at last, but not in that list, was inserted by a transaction that
committed after the run had been ended: no clock has to be asked. It is a little stricter than
"after the cancel committed", for it counts the time between the statement and the commit as well.

Where the server keeps commit timestamps (``track_commit_timestamp``), they are compared too.
"""

# ruff: noqa: S608 - the statements are put together from names of tables alone

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection

_RUNS: Final = "django_openworkflow_workflowrun"
_STEPS: Final = "django_openworkflow_stepattempt"
_DELIVERIES: Final = "django_openworkflow_signaldelivery"
_ENDED: Final = "('completed', 'succeeded', 'failed', 'canceled')"

_CREATE: Final = f"""
CREATE TABLE race_ends (
    run_id uuid NOT NULL,
    was text NOT NULL,
    became text NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    steps uuid[] NOT NULL,
    children uuid[] NOT NULL,
    deliveries uuid[] NOT NULL
);
CREATE TABLE race_steps (
    step_id uuid NOT NULL,
    run_id uuid NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE FUNCTION race_note_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO race_ends (run_id, was, became, steps, children, deliveries)
    VALUES (
        NEW.id, OLD.status, NEW.status,
        ARRAY(SELECT id FROM {_STEPS} WHERE workflow_run_id = NEW.id),
        ARRAY(
            SELECT child.id FROM {_RUNS} AS child
            JOIN {_STEPS} AS step ON step.id = child.parent_step_attempt_id
            WHERE step.workflow_run_id = NEW.id
        ),
        ARRAY(SELECT id FROM {_DELIVERIES} WHERE workflow_run_id = NEW.id)
    );
    RETURN NULL;
END $$;
CREATE FUNCTION race_note_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO race_steps (step_id, run_id) VALUES (NEW.id, NEW.workflow_run_id);
    RETURN NULL;
END $$;
CREATE TRIGGER race_note_end AFTER UPDATE ON {_RUNS} FOR EACH ROW
    WHEN (OLD.status IN {_ENDED} OR NEW.status IN {_ENDED})
    EXECUTE FUNCTION race_note_end();
CREATE TRIGGER race_note_step AFTER INSERT ON {_STEPS} FOR EACH ROW
    EXECUTE FUNCTION race_note_step();
"""

_DROP: Final = f"""
DROP TRIGGER race_note_end ON {_RUNS};
DROP TRIGGER race_note_step ON {_STEPS};
DROP FUNCTION race_note_end();
DROP FUNCTION race_note_step();
DROP TABLE race_ends, race_steps;
"""

# Each question finds what must not be.
_QUESTIONS: Final = {
    "a run that had ended was changed": f"""
        SELECT run_id, was, became FROM race_ends WHERE was IN {_ENDED}
    """,
    "a run ended twice": """
        SELECT run_id, array_agg(became) FROM race_ends GROUP BY run_id HAVING count(*) > 1
    """,
    "a step began after its run had ended": f"""
        SELECT step.id, step.step_name, ends.became FROM race_ends AS ends
        JOIN {_STEPS} AS step ON step.workflow_run_id = ends.run_id
        WHERE step.id <> ALL (ends.steps)
    """,
    "a child was started after its run had ended": f"""
        SELECT child.id, ends.became FROM race_ends AS ends
        JOIN {_STEPS} AS step ON step.workflow_run_id = ends.run_id
        JOIN {_RUNS} AS child ON child.parent_step_attempt_id = step.id
        WHERE child.id <> ALL (ends.children)
    """,
    "a signal was received after the run had ended": f"""
        SELECT delivery.id, ends.became FROM race_ends AS ends
        JOIN {_DELIVERIES} AS delivery ON delivery.workflow_run_id = ends.run_id
        WHERE delivery.id <> ALL (ends.deliveries)
    """,
    "a canceled or failed run has an owner, or could be claimed": f"""
        SELECT id, status, worker_id, available_at FROM {_RUNS}
        WHERE status IN ('canceled', 'failed')
        AND (worker_id IS NOT NULL OR available_at IS NOT NULL OR finished_at IS NULL)
    """,
    "a wait is open though its run has ended": f"""
        SELECT step.id, step.kind, run.status FROM {_STEPS} AS step
        JOIN {_RUNS} AS run ON run.id = step.workflow_run_id
        WHERE run.status IN {_ENDED} AND step.status = 'running' AND step.kind <> 'function'
    """,
}

_BY_COMMIT_TIMESTAMP: Final = """
    SELECT steps.step_id, pg_xact_commit_timestamp(steps.xid::xid) AS began,
        pg_xact_commit_timestamp(ends.xid::xid) AS ended
    FROM race_ends AS ends
    JOIN race_steps AS steps USING (run_id)
    WHERE pg_xact_commit_timestamp(steps.xid::xid) > pg_xact_commit_timestamp(ends.xid::xid)
"""


class Witness:
    """What the database has seen of the runs that ended while the witness was there."""

    def judge(self) -> None:
        """Fail when a law was broken, and say which."""
        broken = self.broken()
        assert not broken, broken

    def broken(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the laws that were broken, with the rows that show it."""
        broken = {law: found for law, sql in _QUESTIONS.items() if (found := _rows(sql))}
        if keeps_commit_timestamps() and (found := _rows(_BY_COMMIT_TIMESTAMP)):
            broken["a step's transaction committed after its run's end"] = found
        return broken

    @property
    def ends(self) -> int:
        """How many ends of runs were seen."""
        return int(_rows("SELECT count(*) FROM race_ends")[0][0])


def keeps_commit_timestamps() -> bool:
    """Whether the server knows when a transaction committed."""
    return bool(_rows("SHOW track_commit_timestamp")[0][0] == "on")


def deadlocks() -> int:
    """How many deadlocks PostgreSQL has broken up in this database so far."""
    sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(_rows(sql)[0][0])


def backends() -> set[int]:
    """The other clients of this database, by process id."""
    sql = """
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()
    """
    return {pid for (pid,) in _rows(sql)}


@contextmanager
def watching() -> Iterator[Witness]:
    """Let a witness watch the tables while the block runs."""
    _execute(_CREATE)
    try:
        yield Witness()
    finally:
        _execute(_DROP)


def _execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _rows(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())
