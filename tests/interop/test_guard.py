"""Workers that do not know each other's workflows leave each other's runs alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from django_openworkflow.management.interop import InteropViews
from django_openworkflow.models import WorkerProcess, WorkflowRun
from django_openworkflow.store import sweeps
from tests.interop import scripts
from tests.interop.conftest import make_due

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store
    from tests.interop.node import Node
    from tests.interop.test_runs import Sides, Start


@pytest.fixture(autouse=True)
def _nothing_hidden(views: None, _python_worker_is_alive: None) -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM openworkflow.hidden_workflows")


def test_what_typescript_does_not_know_stays_due(start: Start, node: Node) -> None:
    handle = start("py", "py-script", ["return", "a", 1])
    before: dict[str, Any] = {**WorkflowRun.objects.values().get(pk=handle.id)}
    node.call("drain")
    after: dict[str, Any] = {**WorkflowRun.objects.values().get(pk=handle.id)}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"available_at", "updated_at"}
    assert WorkflowRun.objects.due().filter(pk=handle.id).exists()


def test_a_run_that_slept_keeps_what_it_had(start: Start, sides: Sides, node: Node) -> None:
    handle = start("py", "py-script", ["return", "a", 1], ["sleep", "nap", "1h"])
    sides["py"]()
    make_due(handle)
    before = handle.run
    node.call("drain")
    after = handle.run
    assert (after.attempts, after.error, after.started_at) == (1, None, before.started_at)
    assert (after.status, after.worker_id) == ("pending", None)
    handle.run.step_attempts.filter(kind="sleep").update(
        context={"kind": "sleep", "resumeAt": "2020-01-01T00:00:00.000Z"}
    )
    sides["py"]()
    assert handle.result(timeout=10) == [1, None]


def test_typescript_is_not_held_up_by_a_crowd_it_does_not_know(
    start: Start, sides: Sides, node: Node
) -> None:
    scripts.SPECS["py-script"].start_many([{"steps": []}] * 50)
    handle = start("py", "ts-script", ["return", "a", 1])
    node.call("tick")  # learns that nobody here knows the name
    node.call("tick")
    assert handle.status == "completed"
    assert node.call("counts")["pending"] == 50, "hidden from claims alone"
    sides["py"]()
    assert node.call("counts")["completed"] == 51


def test_without_a_python_worker_the_package_does_as_ever(start: Start, node: Node) -> None:
    WorkerProcess.objects.all().delete()
    handle = start("py", "py-script", ["return", "a", 1])
    node.call("tick")
    run = handle.run
    assert run.error == {"message": 'Workflow "py-script" is not registered'}
    assert run.attempts == 1
    assert not WorkflowRun.objects.due().exists()


def test_another_version_is_another_workflow(start: Start, node: Node) -> None:
    handle = start("py", "py-script", ["return", "a", 1])
    WorkflowRun.objects.filter(pk=handle.id).update(version="7")
    node.call("tick")
    assert handle.run.error == {"message": 'Workflow "py-script" (version: 7) is not registered'}


def test_the_guard_can_be_switched_off_and_on(start: Start, node: Node) -> None:
    call_command("createinteropviews", "--no-guard", verbosity=0)
    handle = start("py", "py-script", ["return", "a", 1])
    node.call("tick")
    assert (handle.run.attempts, handle.run.error is None) == (1, False)
    call_command("createinteropviews", verbosity=0)
    make_due(handle)
    node.call("tick")
    assert handle.run.attempts == 1


def test_the_words_that_mark_a_claim_are_in_the_packages_own(node: Node) -> None:
    """The guard knows a claim by its text: a package that changes it must be noticed here."""
    statements = InteropViews(home="public").create_statements()
    assert any("LIKE '%FOR UPDATE SKIP LOCKED%'" in each for each in statements)
    scripts.SPECS["py-script"].start(steps=[])
    node.call("tick")
    node.call("tick")
    claimed = node.call("claim", workerId="somebody")
    assert claimed is None


def test_python_leaves_alone_what_only_typescript_knows(
    start: Start, store: Store, node: Node
) -> None:
    handle = start("py", "ts-script", ["return", "a", 1])
    before = WorkflowRun.objects.values().get(pk=handle.id)
    assert sweeps.put_back_unknown(store, []) == []
    assert WorkflowRun.objects.values().get(pk=handle.id) == before
    node.call("drain")
    assert handle.result(timeout=10) == [1]


def test_the_doctor_does_not_call_it_a_problem(start: Start) -> None:
    WorkerProcess.objects.all().delete()
    start("py", "ts-script")
    with_views = findings()
    call_command("createinteropviews", "--drop", verbosity=0)
    without = findings()
    call_command("createinteropviews", verbosity=0)
    assert (with_views["level"], without["level"]) == ("warning", "problem")
    assert "ts-script" in with_views["message"]
    assert "client in another language" in with_views["hint"]


def findings() -> dict[str, str]:
    out = StringIO()
    with suppress(CommandError):
        call_command("workflowdoctor", "--format", "json", stdout=out)
    (found,) = [
        each for each in json.loads(out.getvalue())["findings"] if each["check"] == "unknown"
    ]
    return {key: str(value) for key, value in found.items()}
