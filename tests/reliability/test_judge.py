"""The judge of the storm must see what it looks for: each law is broken once, by hand."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from benchmarks.reliability.effects import ENVIRONMENT, Body, Effects, note
from benchmarks.reliability.judge import Hits, Terminal, judge
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests.factories import StepAttemptFactory, WorkflowRunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Effects:
    path = tmp_path / "effects"
    monkeypatch.setenv(ENVIRONMENT, str(path))
    return Effects(path)


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def run(effects: Effects) -> WorkflowRun:
    """A run that went well: each body once, each step completed once, its row booked once."""
    run = WorkflowRunFactory.create(
        completed=True, workflow_name="chaos-transaction", output=["a", "book", "b"]
    )
    for name in ("a", "book", "b"):
        StepAttemptFactory.create(workflow_run=run, step_name=name, completed=True)
        note("enter", run.pk, name)
        note("leave", run.pk, name)
    Group.objects.create(name=f"{run.pk} book")
    return run


def wrong(effects: Effects, terminal: Terminal, hits: Hits | None = None) -> dict[str, int]:
    found = judge(effects, hits or Hits(), terminal)
    return {law: count for law, count in found.items() if count}


def test_all_is_well(run: WorkflowRun, effects: Effects, terminal: Terminal) -> None:
    assert wrong(effects, terminal) == {}
    assert WorkflowRun.objects.get() == run


@pytest.mark.parametrize("trait", ["scheduled", "running", "parked", "failed"])
def test_a_run_that_did_not_get_to_its_end_is_lost(
    trait: str, run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    WorkflowRunFactory.create(**{trait: True})
    assert wrong(effects, terminal) == {"lost_runs": 1}


@pytest.mark.parametrize(("fate", "lost"), [("canceled", {}), ("completed", {"lost_runs": 1})])
def test_a_parent_may_fail_because_its_child_was_canceled(
    fate: str, lost: dict[str, int], run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    parent = WorkflowRunFactory.create(failed=True)
    child = WorkflowRunFactory.create(**{fate: True})
    StepAttemptFactory.create(
        workflow_run=parent,
        kind="workflow",
        failed=True,
        child_workflow_run=child,
        child_workflow_run_namespace_id="default",
    )
    assert wrong(effects, terminal) == lost


def test_a_wrong_output(run: WorkflowRun, effects: Effects, terminal: Terminal) -> None:
    WorkflowRun.objects.filter(pk=run.pk).update(output=["a", "b"])
    assert wrong(effects, terminal) == {"wrong_outputs": 1}


@pytest.fixture
def without_the_constraint(run: WorkflowRun) -> None:
    """Let a step complete twice, until the test's transaction ends: the database refuses it."""
    (constraint,) = (
        item
        for item in StepAttempt._meta.constraints
        if item.name == "openworkflow_step_completed_once"
    )
    statement = constraint.remove_sql(StepAttempt, connection.schema_editor())
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(str(statement))


def test_a_step_completed_twice(
    without_the_constraint: None, run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    StepAttemptFactory.create(workflow_run=run, step_name="a", completed=True)
    assert wrong(effects, terminal) == {"steps_completed_twice": 1}


@pytest.mark.parametrize("change", [{"output": None}, {"cancel_reason": "x"}, {"attempts": 9}])
def test_a_terminal_row_that_changes(
    change: dict[str, Any], run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    other = WorkflowRunFactory.create(completed=True, output={"kept": True})
    terminal.look()
    WorkflowRun.objects.filter(pk=other.pk).update(**change)
    assert wrong(effects, terminal) == {"changed_terminal_rows": 1}


def test_a_terminal_row_that_vanishes(
    run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    other = WorkflowRunFactory.create(completed=True)
    terminal.look()
    other.delete()
    assert wrong(effects, terminal) == {"changed_terminal_rows": 1}


def test_a_step_that_began_after_the_cancel(
    run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    canceled = WorkflowRunFactory.create(running=True).cancel()
    step = StepAttemptFactory.create(workflow_run=canceled)
    assert canceled.finished_at is not None
    later = canceled.finished_at + timedelta(milliseconds=1)
    StepAttempt.objects.filter(pk=step.pk).update(created_at=later)
    assert wrong(effects, terminal) == {"steps_started_after_the_cancel": 1}


@pytest.mark.parametrize("rows", [0, 2])
def test_a_transaction_that_took_effect_not_once(
    rows: int, run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    Group.objects.all().delete()
    Group.objects.bulk_create(
        Group(name=f"{run.pk} book{'' if n == 0 else n}") for n in range(rows)
    )
    assert wrong(effects, terminal) == {"transactions_not_exactly_once": 1}


def test_a_transaction_that_took_effect_though_its_step_did_not(
    run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    canceled = WorkflowRunFactory.create(canceled=True)
    Group.objects.create(name=f"{canceled.pk} book")
    assert wrong(effects, terminal) == {"transactions_not_exactly_once": 1}


def test_a_body_that_ran_twice_without_a_kill(
    run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    note("enter", run.pk, "a")
    assert wrong(effects, terminal) == {
        "unhit_runs_with_more_or_less_than_one_entry": 1,
        "entries_that_no_kill_explains": 1,
    }


def test_a_body_that_never_ran(run: WorkflowRun, effects: Effects, terminal: Terminal) -> None:
    effects.path.write_text("")
    note("enter", run.pk, "a")
    note("enter", run.pk, "book")
    assert wrong(effects, terminal) == {"unhit_runs_with_more_or_less_than_one_entry": 1}


def test_a_kill_explains_one_more_entry_and_no_third(
    run: WorkflowRun, effects: Effects, terminal: Terminal
) -> None:
    hits = Hits()
    hits.runs[str(run.pk)] = 1
    note("enter", run.pk, "a")
    assert wrong(effects, terminal, hits) == {}
    note("enter", run.pk, "a")
    assert wrong(effects, terminal, hits) == {"entries_that_no_kill_explains": 1}


def test_the_bodies_of_a_process_are_those_it_has_not_left(effects: Effects) -> None:
    note("enter", "run", "a")
    note("enter", "run", "b")
    note("leave", "run", "a")
    effects.read()
    effects.read()
    assert effects.bodies_of(os.getpid()) == [Body("run", "b", os.getpid())]
    assert effects.entries == {("run", "a"): 1, ("run", "b"): 1}
    effects.forget(os.getpid())
    assert effects.bodies_of(os.getpid()) == []


def test_a_line_that_is_only_half_written_waits(effects: Effects) -> None:
    effects.path.write_text("enter run a 1\nenter run b")
    effects.read()
    assert effects.entries == {("run", "a"): 1}
    effects.path.write_text("enter run a 1\nenter run b 2\n")
    effects.read()
    assert effects.entries == {("run", "a"): 1, ("run", "b"): 1}
