"""Rows are data: nothing in them is ever imported, unpickled or evaluated."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import django_openworkflow
from django_openworkflow import Step, workflow
from django_openworkflow.exceptions import WorkflowNotRegistered
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from tests import syntax
from tests.factories import WorkflowRunFactory

PACKAGE = Path(django_openworkflow.__path__[0])
SOURCES = sorted(PACKAGE.rglob("*.py"))
BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jsonpickle"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "import_string"}
# Where the code, never a row, says which module it is.
KNOWN_IMPORTS = {"import_module": {"management/doctor.py"}}


def trees() -> list[tuple[str, ast.AST]]:
    return [
        (str(path.relative_to(PACKAGE)), syntax.parse(path.read_text(encoding="utf-8")))
        for path in SOURCES
    ]


def test_nothing_that_executes_data_is_imported() -> None:
    for where, tree in trees():
        for node in ast.walk(tree):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not BANNED_MODULES & {name.partition(".")[0] for name in names}, where


def test_nothing_that_executes_data_is_called() -> None:
    for where, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                is_method = isinstance(node.func, ast.Attribute) and name == "compile"
                assert is_method or name not in BANNED_CALLS, f"{where}:{node.lineno}"
                if name in KNOWN_IMPORTS:
                    assert where in KNOWN_IMPORTS[name], f"{where}:{node.lineno}"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "tests.security.test_code",
        "builtins.eval",
        "__import__('os')",
        "subprocess:run",
    ],
)
def test_the_name_in_a_row_is_looked_up_and_never_imported(name: str) -> None:
    run = WorkflowRunFactory.create(workflow_name=name, input={"command": "exit 1"})
    run_until_idle()
    with pytest.raises(WorkflowNotRegistered):
        registry.find(name, None)
    run.refresh_from_db()
    assert (run.status, run.attempts, run.failures) == ("pending", 0, 0)
    assert run.error["message"] == f'Workflow "{name}" is not registered'


@pytest.mark.django_db
def test_values_in_rows_come_back_as_plain_data() -> None:
    """Whatever looks like a class, a template or a reference in JSON stays what it is."""
    hostile = {
        "__class__": "os.system",
        "py/object": "subprocess.Popen",
        "$ref": "#/x",
        "template": "{{ 7*7 }}{% debug %}",
        "__reduce__": ["os.system", ["exit 1"]],
    }
    with registry.isolated():

        @workflow("echo")
        def echo(step: Step, value: dict[str, Any]) -> Any:
            return step.run("same", lambda: value)

        handle = echo.start(value=hostile)
        run_until_idle()
    assert handle.result(timeout=0) == hostile
    assert StepAttempt.objects.get().output == hostile


# --- the network --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_library_opens_no_connection_but_to_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.ensure_connection()

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a network connection was opened")  # noqa: EM101

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with registry.isolated():

        @workflow("quiet")
        def quiet(step: Step) -> int:
            return step.run("one", lambda: 1)

        handle = quiet.start()
        run_until_idle()
        assert handle.result(timeout=0) == 1
        handle.run  # noqa: B018 - it is a query
    assert WorkflowRun.objects.count() == 1


# --- test hooks and least privilege ---------------------------------------------------------------


def test_production_code_has_no_failpoints_and_asks_the_environment_for_nothing() -> None:
    """Faults are made from outside.

    The exceptions are Django's reloader, Prometheus's folder, the number that a supervisor gives
    its processes, and the choice between two stores that are both complete.
    """
    asking = {
        where
        for where, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert asking <= {
        "management/commands/runworker.py",
        "contrib/prometheus/scraping.py",
        "store/factory.py",
        "worker/supervisor.py",
    }
    for path in SOURCES:
        assert "failpoint" not in path.read_text(encoding="utf-8").lower(), path


def test_no_statement_changes_the_schema_at_run_time() -> None:
    ddl = ("create table", "alter table", "drop table", "create index", "truncate")
    by_command = {"interop.py"}  # createinteropviews, which a person calls
    for path in SOURCES:
        if "migrations" not in path.parts and path.name not in by_command:
            text = path.read_text(encoding="utf-8").lower()
            assert not [words for words in ddl if words in text], path


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no roles")
@pytest.mark.django_db
def test_a_role_that_may_only_read_and_write_rows_can_do_everything() -> None:
    role = "openworkflow_dml_only"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role}")
        cursor.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO"
        cursor.execute(f"{grant} {role}")
        cursor.execute(f"SET LOCAL ROLE {role}")
    with registry.isolated():

        @workflow("modest")
        def modest(step: Step) -> int:
            return step.run("one", lambda: 1)

        handle = modest.using(idempotency_key="k").start()
        other = modest.start()
        other.cancel()
        run_until_idle()
        assert handle.result(timeout=0) == 1
        assert WorkflowRun.objects.retry(other.id).status == "pending"
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")


def test_the_package_imports_with_its_declared_dependencies_alone() -> None:
    """No test tool, driver or optional extra may be needed to import what users import."""
    program = (
        "import sys; banned = {'psycopg', 'pydantic', 'hypothesis', 'pytest', 'yaml', 'psutil',"
        " 'prometheus_client', 'opentelemetry'};"
        "import django_openworkflow, django_openworkflow.exceptions, django_openworkflow.durations;"
        "found = banned & {name.partition('.')[0] for name in sys.modules};"
        "sys.exit(', '.join(sorted(found)) or 0)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": ""}
    done = subprocess.run(  # noqa: S603 - a constant
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
