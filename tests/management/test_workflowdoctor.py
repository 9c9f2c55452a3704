"""workflowdoctor: names what is wrong before users do, and never faints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import modify_settings, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_openworkflow import Step, workflow
from django_openworkflow.management import doctor
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.store import diagnosis
from tests.factories import WorkerProcessFactory, create_many
from tests.management.conftest import make

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Outcome, Shell

NAME = "process-order"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _known() -> None:
    @workflow(NAME)
    def process_order(step: Step) -> None: ...


def ago(**span: float) -> Any:
    return timezone.now() - timedelta(**span)


def worker(**columns: Any) -> None:
    WorkerProcessFactory.create(
        **{"workflows": [list(key) for key in registry.claimable()], **columns}
    )


def told(done: Outcome, check: str) -> list[tuple[str, str]]:
    """Return the level and the words of each line about a check."""
    lines = [line.split(maxsplit=2) for line in done.lines]
    return [(level, words) for level, name, words in lines if name == check]


# --- a healthy project --------------------------------------------------------------------------


def test_a_healthy_project_has_a_line_for_each_check(invoke: Invoke) -> None:
    worker()
    make("running")
    done = invoke("workflowdoctor")
    assert (done.error, done.err) == (None, "")
    checks = ["settings", "workflows", "duplicates", "database", "migrations"]
    checks += ["workers", "unknown", "stuck", "pending"]
    assert [line.split()[:2] for line in done.lines] == [["ok", check] for check in checks]


def test_json_is_for_machines(invoke: Invoke) -> None:
    worker()
    report = json.loads(invoke("workflowdoctor", "--format", "json").out)
    assert report["healthy"] is True
    assert report["findings"][0] == {
        "check": "settings",
        "level": "ok",
        "message": "OPENWORKFLOW is valid.",
        "hint": "",
    }


def test_a_look_costs_as_much_for_many_runs_as_for_few(invoke: Invoke) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            invoke("workflowdoctor")
        return len(queries)

    worker()
    make()
    few = statements()
    create_many(2000)
    create_many(20, running=True, crashes=1, available_at=ago(hours=1))
    assert statements() == few
    assert few < 20


# --- settings and code --------------------------------------------------------------------------


def test_wrong_settings_are_named_and_nothing_stands_on_them(invoke: Invoke) -> None:
    with override_settings(OPENWORKFLOW={"CONCURRENCY": 0, "NO_SUCH_KEY": 1}):
        done = invoke("workflowdoctor")
    assert [level for level, _ in told(done, "settings")] == ["problem", "problem"]
    assert told(done, "database") == []
    assert done.error == "Found 2 problems."


def test_a_short_lease_is_a_warning_and_no_problem(invoke: Invoke) -> None:
    worker()
    with override_settings(OPENWORKFLOW={"LEASE_SECONDS": 1}):
        done = invoke("workflowdoctor")
    assert [level for level, _ in told(done, "settings")] == ["warning"]
    assert done.error is None


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed app whose workflows module is yet to be written."""
    package = tmp_path / "doctored"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with modify_settings(INSTALLED_APPS={"append": "doctored"}):
        yield package
    for name in [name for name in sys.modules if name.startswith("doctored")]:
        del sys.modules[name]
    apps.clear_cache()


def test_a_module_of_workflows_that_cannot_be_imported_is_named(app: Path, invoke: Invoke) -> None:
    (app / "workflows.py").write_text("import no_such_module_at_all\n")
    done = invoke("workflowdoctor")
    level, words = told(done, "workflows")[0]
    assert level == "problem"
    assert words.startswith("doctored.workflows cannot be imported: ModuleNotFoundError: ")
    assert done.error == "Found 1 problem."


def test_a_workflow_that_is_registered_twice_is_named(app: Path, invoke: Invoke) -> None:
    (app / "workflows.py").write_text(
        f"from django_openworkflow import workflow\n@workflow('{NAME}')\ndef again(step): ...\n"
    )
    done = invoke("workflowdoctor")
    level, words = told(done, "duplicates")[0]
    assert level == "problem"
    assert words.startswith(f'doctored.workflows: Workflow "{NAME}" is already registered.')


def test_no_workflow_at_all_is_a_warning(invoke: Invoke) -> None:
    registry._workflows.clear()  # it is isolated here
    done = invoke("workflowdoctor")
    assert told(done, "workflows")[0][0] == "warning"
    assert done.error is None


# --- the database -------------------------------------------------------------------------------


def test_an_old_database_is_a_problem(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST", {"PostgreSQL": (99,), "SQLite": (99, 1)})
    done = invoke("workflowdoctor")
    assert told(done, "database")[0][0] == "problem"
    assert " is too old. Use " in told(done, "database")[0][1]
    assert told(done, "migrations") == []


@pytest.mark.skipif("__import__('django').db.connection.vendor != 'sqlite'", reason="SQLite only")
def test_sqlite_without_immediate_transactions_is_a_warning(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    lines = told(invoke("workflowdoctor"), "database")
    assert [level for level, _ in lines] == ["ok", "warning"]  # the file itself remembers WAL
    assert "IMMEDIATE" in lines[1][1]


def test_a_missing_migration_is_a_problem_and_an_unknown_one_a_warning(invoke: Invoke) -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("django_openworkflow", "9999_from_the_future")
    ((level, words),) = told(invoke("workflowdoctor"), "migrations")
    assert (level, "9999_from_the_future" in words) == ("warning", True)
    recorder.record_unapplied("django_openworkflow", "0001_initial")
    done = invoke("workflowdoctor")
    ((level, words),) = told(done, "migrations")
    assert (level, "0001_initial" in words, "migrate" in words) == ("problem", True, True)
    assert told(done, "workers") == []


# --- workers and runs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "level"), [("pending", "problem"), ("expired", "problem"), ("parked", "warning")]
)
def test_no_worker_is_a_problem_when_something_is_due(
    trait: str, level: str, invoke: Invoke
) -> None:
    make(trait)
    WorkerProcessFactory.create(dead=True)
    done = invoke("workflowdoctor")
    assert [each for each, _ in told(done, "workers")] == [level]
    assert (done.error is None) == (level == "warning")


def test_a_run_whose_workflow_no_live_worker_knows_is_a_problem(invoke: Invoke) -> None:
    worker()
    make("parked", workflow_name="a\n\x1b[31m", version="2")
    make("completed", workflow_name="ended")
    make(workflow_name=f"{NAME}:cleanup")
    ((level, words),) = told(invoke("workflowdoctor"), "unknown")
    assert level == "problem"
    assert words.startswith(r"No live worker knows the workflows of 1 active run: a\n\x1b[31m (2).")


def test_without_a_worker_the_project_itself_is_asked(invoke: Invoke) -> None:
    make("parked", workflow_name="gone")
    make("parked")
    ((level, words),) = told(invoke("workflowdoctor"), "unknown")
    assert level == "problem"
    assert words.startswith("This project does not know the workflows of 1 active run: gone.")


def test_a_queue_that_no_live_worker_serves_is_a_problem(invoke: Invoke) -> None:
    worker(queues=["default", "mail"])
    make("parked")
    assert [level for level, _ in told(invoke("workflowdoctor"), "queues")] == ["ok"]
    make("parked", queue="slow")
    ((level, words),) = told(invoke("workflowdoctor"), "queues")
    assert level == "problem"
    assert words.startswith('No live worker serves the queues of 1 active run: "slow".')


@pytest.mark.parametrize(("seconds", "level"), [(50, "ok"), (62, "problem")])
def test_a_lease_that_ran_out_two_leases_ago_is_stuck(
    seconds: float, level: str, invoke: Invoke
) -> None:
    worker()
    make("running", available_at=ago(seconds=seconds))
    assert [each for each, _ in told(invoke("workflowdoctor"), "stuck")] == [level]


@pytest.mark.parametrize(("seconds", "level"), [(52, "ok"), (61, "problem")])
def test_a_run_that_is_due_for_more_than_a_minute_beside_live_workers_is_stuck(
    seconds: float, level: str, invoke: Invoke
) -> None:
    worker()
    make(available_at=ago(seconds=seconds))
    done = invoke("workflowdoctor")
    assert [each for each, _ in told(done, "stuck")] == [level]
    assert f"due for {'5' if level == 'ok' else '1m'}" in told(done, "pending")[0][1]


def test_a_run_that_lost_a_worker_is_a_warning(invoke: Invoke) -> None:
    worker()
    make("running", crashes=1)
    make("failed", crashes=5)
    ((level, words),) = told(invoke("workflowdoctor"), "stuck")
    assert (level, words.startswith("1 run is without progress")) == ("warning", True)


def test_what_is_not_counted_to_the_end_says_so(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "MOST", 2)
    worker()
    create_many(3, available_at=ago(minutes=5))
    ((_, words),) = told(invoke("workflowdoctor"), "stuck")
    assert words.startswith("At least 2 runs are due")


def test_other_namespaces_are_not_looked_at(invoke: Invoke) -> None:
    make(available_at=ago(hours=1))
    worker()
    with override_settings(OPENWORKFLOW={"NAMESPACE": "other"}):
        done = invoke("workflowdoctor")
    assert told(done, "workers")[0][0] == "warning"
    assert done.error is None


def test_nothing_is_written(invoke: Invoke) -> None:
    run = make("expired", available_at=ago(hours=1))
    before = WorkflowRun.objects.filter(pk=run.pk).values().get()
    invoke("workflowdoctor")
    assert WorkflowRun.objects.filter(pk=run.pk).values().get() == before


def test_a_row_that_makes_no_sense_is_a_problem_and_no_traceback(invoke: Invoke) -> None:
    worker(workflows=[1, 2])
    done = invoke("workflowdoctor")
    ((level, words),) = told(done, "workers")
    assert (level, words.startswith("TypeError: ")) == ("problem", True)
    assert done.error is not None


# --- from a shell -------------------------------------------------------------------------------


def test_a_shell_gets_exit_code_0_without_a_problem_and_1_with_one(shell: Shell) -> None:
    done = shell("workflowdoctor")
    assert (done.returncode, done.stderr) == (0, "")
    make(workflow_name="gone")
    done = shell("workflowdoctor")
    assert (done.returncode, done.stderr) == (1, "CommandError: Found 2 problems.\n")


def test_a_shell_without_a_database_or_tables_gets_no_traceback(
    shell: Shell, tmp_path: Path
) -> None:
    done = shell("workflowdoctor", env={"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"})
    assert (done.returncode, done.stderr) == (1, "CommandError: Found 1 problem.\n")
    assert done.stdout.splitlines()[-1].startswith("problem  migrations")
    done = shell("workflowdoctor", env={"DATABASE_URL": "postgres://u:s3cret@127.0.0.1:1/gone"})
    assert (done.returncode, done.stderr) == (1, "CommandError: Found 1 problem.\n")
    assert done.stdout.splitlines()[-1].startswith("problem  database")
    assert "s3cret" not in done.stdout


def test_a_shell_is_told_of_a_module_that_no_other_command_starts_with(
    shell: Shell, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "workflows.py").write_text(
        "from django_openworkflow import workflow\n@workflow\ndef first(step): ...\n1 / 0\n"
    )
    (tmp_path / "with_broken.py").write_text(
        "from testproject.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'broken']\n"
    )
    env = {"DJANGO_SETTINGS_MODULE": "with_broken", "PYTHONPATH": str(tmp_path)}
    done = shell("workflowdoctor", env=env)
    assert (done.returncode, done.stderr) == (1, "CommandError: Found 1 problem.\n")
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert "broken.workflows cannot be imported: ZeroDivisionError: division by zero" in said
    assert "ZeroDivisionError" in shell("listruns", env=env).stderr  # the others fail loudly
