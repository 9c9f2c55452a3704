"""Dry runs promise what the cancel does, and a race with the workers loses no outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_openworkflow import cancelling
from django_openworkflow.models import WorkflowRun
from django_openworkflow.querysets import CancelOutcome, WorkflowRunQuerySet
from django_openworkflow.transitions import TransitionQuerySet
from tests.management.conftest import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.management.conftest import Invoke

pytestmark = pytest.mark.django_db


def family() -> dict[str, WorkflowRun]:
    """One run of each kind, and below three of them children and a grandchild."""
    runs: dict[str, WorkflowRun] = {
        trait: make(trait, workflow_name="top")
        for trait in ("parked", "canceled", "completed", "failed", "succeeded_legacy")
    }
    runs["pending"] = make(workflow_name="top")
    for name, parent, trait in (
        ("child", "parked", "parked"),
        ("ended child", "parked", "failed"),
        ("child of canceled", "canceled", "running"),
        ("child of completed", "completed", "running"),
        ("grandchild", "child", "scheduled"),
    ):
        runs[name] = make(trait, workflow_name="below", child=True, parent=runs[parent])
    # A child that the filter matches itself is no "child" of the report.
    runs["chosen child"] = make(workflow_name="top", child=True, parent=runs["child"])
    return runs


def report(invoke: Invoke, *args: object) -> dict[str, Any]:
    return dict(json.loads(invoke("cancelruns", *args, "--format", "json").out))


def snapshot() -> list[dict[str, Any]]:
    return list(WorkflowRun.objects.order_by("pk").values())


# --- dry runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cascade", [[], ["--cascade"]])
@pytest.mark.parametrize(
    "filters", [["--all"], ["--workflow", "top"], ["--status", "running"], ["--status", "canceled"]]
)
def test_a_dry_run_promises_what_the_cancel_then_does(
    filters: list[str], cascade: list[str], invoke: Invoke
) -> None:
    family()
    promised = report(invoke, *filters, *cascade, "--dry-run")
    assert promised.pop("dry_run") is True
    done = report(invoke, *filters, *cascade, "--yes")
    assert done.pop("dry_run") is False
    for names in (*promised.values(), *done.values()):
        if isinstance(names, list):
            names.sort()
    assert promised == done


@pytest.mark.parametrize("cascade", [[], ["--cascade"]])
def test_counts_are_the_same_with_and_without_names(cascade: list[str], invoke: Invoke) -> None:
    family()
    named = report(invoke, "--workflow", "top", *cascade, "--dry-run")
    lines = invoke("cancelruns", "--workflow", "top", *cascade, "--dry-run").lines
    assert [line.split()[-1] for line in lines[:3]] == sorted(named["canceled"])
    children = ["Would also cancel 3 child runs."] if cascade else []
    assert lines[3:] == [
        "Would cancel 3 workflow runs.",
        "1 already canceled.",
        "Would skip 3 already finished: 1 completed, 1 succeeded, 1 failed.",
        *children,
    ]
    assert len(named["canceled"]) == 3
    assert len(named["already_canceled"]) == 1
    assert len(named["skipped"]) == 3
    assert len(named["children_canceled"]) == len(children) * 3


def test_a_cascade_cancels_and_counts_descendants_of_canceled_runs_too(invoke: Invoke) -> None:
    runs = family()
    lines = invoke("cancelruns", "--workflow", "top", "--cascade", "--yes").lines
    assert lines == [
        "Canceled 3 workflow runs.",
        "1 already canceled.",
        "Skipped 3 already finished: 1 completed, 1 succeeded, 1 failed.",
        "Also canceled 3 child runs.",
    ]
    canceled = set(WorkflowRun.objects.canceled().values_list("pk", flat=True))
    alive = {name for name, run in runs.items() if run.pk not in canceled}
    assert alive == {
        "completed",
        "failed",
        "succeeded_legacy",
        "ended child",
        "child of completed",
    }
    child = WorkflowRun.objects.get(pk=runs["grandchild"].pk)
    assert child.cancel_source == "cascade"


def test_an_id_can_be_cascaded(invoke: Invoke) -> None:
    runs = family()
    done = invoke("cancelruns", runs["canceled"].pk, "--cascade")
    assert done.lines[-1] == "Also canceled 1 child run."
    assert WorkflowRun.objects.get(pk=runs["child of canceled"].pk).status == "canceled"


def test_a_dry_run_of_ids_fails_as_the_cancel_would(invoke: Invoke) -> None:
    run, ended = make(), make("completed")
    done = invoke("cancelruns", run.pk, ended.pk, "--dry-run")
    assert done.error == f"Cannot cancel workflow run {ended.pk} with status completed"
    assert done.lines == [
        f"Would cancel workflow run {run.pk}",
        "Would cancel 1 workflow run.",
        "Would skip 1 already finished: 1 completed.",
    ]


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_dry_run_takes_no_lock_and_writes_nothing(format_: str, invoke: Invoke) -> None:
    runs = family()
    before = snapshot()
    with CaptureQueriesContext(connection) as captured:
        invoke("cancelruns", "--all", "--cascade", "--dry-run", "--format", format_)
        invoke("cancelruns", runs["parked"].pk, "--cascade", "--dry-run", "--format", format_)
    statements = [query["sql"] for query in captured.captured_queries]
    assert statements
    assert all(sql.startswith("SELECT") and "FOR " not in sql for sql in statements)
    assert snapshot() == before


# --- what a cancel costs ------------------------------------------------------------------------


def test_the_history_is_not_locked(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: set[Any] = set()
    lock_runs = TransitionQuerySet.lock_runs

    def record(self: Any, ids: Any, **options: Any) -> Any:
        locked.update(ids)
        return lock_runs(self, ids, **options)

    def record_chosen(runs: Any) -> cancelling.LockedRuns:
        found = lock_chosen(runs)
        locked.update(found.chosen)
        return found

    lock_chosen = cancelling.lock_chosen
    monkeypatch.setattr(TransitionQuerySet, "lock_runs", record)
    monkeypatch.setattr(cancelling, "lock_chosen", record_chosen)
    run = make()
    for trait in ("completed", "failed", "canceled"):
        make(trait)
    assert invoke("cancelruns", "--all", "--yes").error is None
    assert locked == {run.pk}


def test_the_number_of_statements_does_not_grow_with_the_runs(invoke: Invoke) -> None:
    counts = []
    for number in (2, 30):
        [make() for _ in range(number)]
        [make("failed") for _ in range(number)]
        with CaptureQueriesContext(connection) as captured:
            invoke("cancelruns", "--all", "--yes")
        counts.append(len(captured))
    assert counts[0] == counts[1]


# --- races --------------------------------------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen after the runs were looked up, before they are locked."""
    cancel_active = WorkflowRunQuerySet.cancel_active

    def arrange(event: Callable[[], object]) -> None:
        def later(self: WorkflowRunQuerySet, **options: Any) -> CancelOutcome:
            event()
            return cancel_active(self, **options)

        monkeypatch.setattr(WorkflowRunQuerySet, "cancel_active", later)

    return arrange


def end(run: WorkflowRun, status: str) -> None:
    WorkflowRun.objects.filter(pk=run.pk).update(
        status=status, finished_at=run.created_at, available_at=None, worker_id=None
    )


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_run_that_completes_at_that_moment_is_reported_as_it_is(
    format_: str, invoke: Invoke, meanwhile: Any
) -> None:
    run, other = make("running"), make("running")
    gone = make("running")

    def event() -> None:
        end(run, "completed")
        end(gone, "canceled")

    meanwhile(event)
    done = invoke("cancelruns", "--all", "--yes", "--format", format_)
    if format_ == "json":
        result = json.loads(done.out)
        assert result["canceled"] == [str(other.pk)]
        assert result["already_canceled"] == [str(gone.pk)]
        assert result["skipped"] == {str(run.pk): "completed"}
    else:
        assert done.lines == [
            "Canceled 1 workflow run.",
            "1 already canceled.",
            "Skipped 1 already finished: 1 completed.",
        ]


def test_an_id_whose_run_completes_at_that_moment_is_an_error(
    invoke: Invoke, meanwhile: Any
) -> None:
    run = make("running")
    meanwhile(lambda: end(run, "completed"))
    error = invoke("cancelruns", run.pk).error
    assert error == f"Cannot cancel workflow run {run.pk} with status completed"


def test_an_id_whose_run_is_deleted_at_that_moment_does_not_exist(
    invoke: Invoke, meanwhile: Any
) -> None:
    run = make()
    meanwhile(lambda: WorkflowRun.objects.filter(pk=run.pk).delete())
    assert invoke("cancelruns", run.pk).error == f"Workflow run {run.pk} does not exist"


def test_a_run_that_leaves_the_filter_alive_is_left_alone(invoke: Invoke, meanwhile: Any) -> None:
    run = make()
    claim = {"status": "running", "worker_id": "worker"}
    meanwhile(lambda: WorkflowRun.objects.filter(pk=run.pk).update(**claim))
    result = report(invoke, "--status", "pending", "--yes")
    assert (result["canceled"], result["skipped"]) == ([], {})
    assert WorkflowRun.objects.get(pk=run.pk).status == "running"


def test_a_failed_run_that_is_retried_at_that_moment_is_not_named_twice(
    invoke: Invoke, meanwhile: Any
) -> None:
    run = make("failed")
    back = {"status": "pending", "finished_at": None, "available_at": run.created_at}
    meanwhile(lambda: WorkflowRun.objects.filter(pk=run.pk).update(**back))
    result = report(invoke, "--all", "--yes")
    assert result["canceled"] == [str(run.pk)]
    assert result["skipped"] == {}
