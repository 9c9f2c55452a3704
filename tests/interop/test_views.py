"""The command: what it makes, for whom, and what it takes away again."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from django_openworkflow.store.foreign import has_views

SCHEMA = "openworkflow_try"


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("createinteropviews", "--schema", SCHEMA, *arguments, stdout=out)
    return out.getvalue()


def query(sql: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else []


def things() -> set[str]:
    """Return all that the command could have made, in its schema and on our tables."""
    found = query(
        """SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s)
           UNION SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace(%s)
           UNION SELECT nspname FROM pg_namespace WHERE nspname = %s
           UNION SELECT tgname FROM pg_trigger WHERE tgname LIKE 'openworkflow%%'
           UNION SELECT relname FROM pg_class WHERE relname LIKE 'openworkflow_run_foreign%%'""",
        SCHEMA,
        SCHEMA,
        SCHEMA,
    )
    return {name for (name,) in found}


@pytest.fixture(autouse=True)
def _dropped() -> Iterator[None]:
    yield
    query(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    run("--drop")  # what is on our tables


def test_it_can_be_repeated_and_leaves_nothing_behind() -> None:
    before = things()
    assert run() == f'Created the views of schema "{SCHEMA}".\n'
    made = things()
    assert {"workflow_runs", "step_attempts", "workflow_signals", SCHEMA} <= made
    assert has_views("default")
    run()
    run("--no-guard")
    run()
    assert things() == made
    assert run("--drop") == f'Dropped the views of schema "{SCHEMA}".\n'
    assert things() == before
    assert run("--drop") == f'There are no views in schema "{SCHEMA}".\n'
    assert not has_views("default")


def test_what_others_have_in_the_schema_stays() -> None:
    run()
    query(f"CREATE TABLE {SCHEMA}.notes (n int)")
    run("--drop")
    assert {"notes", SCHEMA} <= things()


def test_it_prints_what_a_dba_can_run() -> None:
    before = things()
    sql = run("--sql", "--grant-to", "postgres")
    assert things() == before
    apart, _, together = sql.partition("BEGIN;")
    for statement in apart.split(";\n\n"):
        query(statement.replace("CONCURRENTLY ", ""))
    query(f"BEGIN;{together}")
    by_hand = things()
    query(run("--sql", "--drop"))
    assert things() == before
    run()
    assert things() == by_hand


def test_tables_of_the_packages_own_are_not_touched() -> None:
    query(f"CREATE SCHEMA {SCHEMA}")
    query(f"CREATE TABLE {SCHEMA}.workflow_runs (id text)")
    for arguments in ((), ("--drop",)):
        with pytest.raises(CommandError, match=r'has tables of its own.*: "workflow_runs"'):
            run(*arguments)
    assert "workflow_runs" in things()


@pytest.mark.parametrize("name", ["two words", "1st", "", 'a"; DROP SCHEMA public; --', "x" * 64])
def test_a_name_that_the_package_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="A schema's name has up to 63 letters"):
        call_command("createinteropviews", "--schema", name)


def test_an_unknown_database_is_named() -> None:
    with pytest.raises(CommandError, match="There is no database 'nowhere' in DATABASES"):
        run("--database", "nowhere")
