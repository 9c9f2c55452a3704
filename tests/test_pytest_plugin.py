"""The pytest plugin: loaded by being installed, a worker in the test's process, a fresh clock."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from django_openworkflow import AsyncStep, Step, clock, workflow
from django_openworkflow.exceptions import ResultTimeout, WorkflowFailed

if TYPE_CHECKING:
    from django_openworkflow.testing import WorkflowWorker

ROOT = Path(__file__).resolve().parents[1]

PROJECT_TESTS = """
import pytest
from django_openworkflow import clock, workflow
from django_openworkflow.models import WorkflowRun


@workflow("order")
def order(step):
    step.sleep("pause", "1h")
    return step.run("pay", lambda: "paid")


@pytest.mark.parametrize("number", [1, 2])
def test_order(workflow_worker, number):
    assert clock.offset().total_seconds() == 0
    assert WorkflowRun.objects.count() == 0
    handle = order.start()
    assert workflow_worker.run_until_idle() == 1
    workflow_worker.advance("1h")
    assert workflow_worker.result(handle) == "paid"


def test_the_clock_is_as_it_was(db):
    assert clock.offset().total_seconds() == 0


def test_without_a_database():
    assert clock.offset().total_seconds() == 0
"""


def test_the_plugin_is_an_entry_point_of_the_package() -> None:
    (plugin,) = entry_points(group="pytest11", name="django_openworkflow")

    assert plugin.value == "django_openworkflow.pytest_plugin"


def test_the_tests_of_a_project_get_the_fixture_by_installing_the_package(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(PROJECT_TESTS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    database = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    environment = {
        **os.environ,
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-q"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_the_worker_executes_what_is_due_in_the_transaction_of_the_test(
    workflow_worker: WorkflowWorker,
) -> None:
    inside: list[bool] = []

    @workflow("order")
    def order(step: Step) -> str:
        step.run("look", lambda: inside.append(connection.in_atomic_block))
        step.sleep("pause", "1h")
        return "done"

    handle = order.start()
    assert workflow_worker.run_until_idle() == 1
    with pytest.raises(ResultTimeout):
        workflow_worker.result(handle)
    workflow_worker.advance("30m")
    workflow_worker.advance(timedelta(minutes=30))

    assert workflow_worker.result(handle) == "done"
    assert inside == [True]


def test_the_worker_executes_async_workflows_too(workflow_worker: WorkflowWorker) -> None:
    @workflow("order")
    async def order(step: AsyncStep) -> str:
        await step.sleep("pause", "1h")
        return await step.run("pay", lambda: "paid")

    handle = order.start()
    workflow_worker.run_until_idle()
    workflow_worker.advance("1h")

    assert workflow_worker.result(handle) == "paid"


def test_a_result_raises_as_the_handle_does(workflow_worker: WorkflowWorker) -> None:
    @workflow("failing")
    def failing(step: Step) -> None:
        message = "no stock"
        raise LookupError(message)

    with pytest.raises(WorkflowFailed, match=r"^Workflow failing failed: LookupError: no stock$"):
        workflow_worker.result(failing.start())


def test_a_workflow_that_never_ends_is_reported(workflow_worker: WorkflowWorker) -> None:
    @workflow("chain")
    def chain(step: Step) -> None:
        step.run("next", lambda: str(chain.start().id))

    chain.start()
    with pytest.raises(TimeoutError):
        workflow_worker.run_until_idle(max_seconds=0.05)


@pytest.mark.parametrize("number", [1, 2])
def test_every_test_finds_the_clock_unmoved(workflow_worker: WorkflowWorker, number: int) -> None:
    assert clock.offset() == timedelta()
    workflow_worker.advance(f"{number}h")

    assert clock.offset() == timedelta(hours=number)
