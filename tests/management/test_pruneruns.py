"""pruneruns: deletes what ended long ago with all its rows, and nothing that is needed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.store import retention
from django_openworkflow.testing import advance
from tests.factories import StepAttemptFactory
from tests.management.conftest import make
from tests.management.pruning import child_of, ended, fill, left, month_ago

if TYPE_CHECKING:
    from tests.management.conftest import Invoke

ACTIVE = ("pending", "scheduled", "running", "expired", "parked", "sleeping_legacy")
ENDED = ("completed", "succeeded_legacy", "failed", "canceled")

pytestmark = pytest.mark.django_db


# --- which runs ---------------------------------------------------------------------------------


def test_old_runs_go_with_all_their_rows(invoke: Invoke) -> None:
    gone, kept = [ended(31, trait) for trait in ENDED], [ended(29, trait) for trait in ENDED]
    for run in (*gone, *kept):
        fill(run)
    done = invoke("pruneruns", "--older-than", "30d")
    assert (done.error, done.err) == (None, "")
    assert done.out == (
        "Deleted 4 workflow runs (1 canceled, 1 completed, 1 failed, 1 succeeded), "
        "with 0 clean-up runs, 12 step attempts and 4 received signals.\n"
    )
    assert left() == {run.pk for run in kept}
    assert (StepAttempt.objects.count(), SignalDelivery.objects.count()) == (12, 4)


@pytest.mark.parametrize("trait", ACTIVE)
def test_an_active_run_is_never_deleted_however_old(trait: str, invoke: Invoke) -> None:
    run = ended(4000, trait)
    assert invoke("pruneruns", "--older-than", "0s").lines == ["Deleted 0 workflow runs."]
    assert left() == {run.pk}


def test_age_counts_from_the_end_not_from_the_beginning(invoke: Invoke) -> None:
    run = ended(1, created_at=ended(400).created_at)
    invoke("pruneruns", "--older-than", "30d")
    assert left() == {run.pk}


def test_age_follows_the_clock_of_the_database(invoke: Invoke) -> None:
    run = ended(2)
    invoke("pruneruns", "--older-than", "30d")
    assert left() == {run.pk}
    advance("29d")
    assert invoke("pruneruns", older_than=timedelta(days=30)).error is None
    assert left() == set()


@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        ("completed", {"completed", "succeeded"}),
        ("succeeded", {"succeeded"}),
        ("failed", {"failed"}),
        ("canceled", {"canceled"}),
    ],
)
def test_a_status_limits_the_deletion(wanted: str, gone: set[str], invoke: Invoke) -> None:
    for trait in ENDED:
        ended(31, trait)
    assert invoke("pruneruns", "--older-than", "30d", "--status", wanted).error is None
    statuses = set(WorkflowRun.objects.values_list("status", flat=True))
    assert statuses == {"completed", "succeeded", "failed", "canceled"} - gone


def test_other_namespaces_keep_their_runs(invoke: Invoke) -> None:
    run = ended(31)
    with override_settings(OPENWORKFLOW={"NAMESPACE": "other"}):
        assert invoke("pruneruns", "--older-than", "0s").lines == ["Deleted 0 workflow runs."]
    assert left() == {run.pk}


# --- families -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", ACTIVE)
def test_a_child_that_a_live_parent_still_needs_is_kept(trait: str, invoke: Invoke) -> None:
    parent = ended(50, trait)
    child = child_of(parent, 40)
    done = invoke("pruneruns", "--older-than", "0s")
    assert done.lines == ["Deleted 0 workflow runs."]
    assert left() == {parent.pk, child.pk}
    attempt = StepAttempt.objects.get()
    assert attempt.child_workflow_run_id == child.pk


@pytest.mark.parametrize("end", ["child", "parent"])
def test_one_pointer_between_child_and_live_parent_is_enough(end: str, invoke: Invoke) -> None:
    parent = ended(50, "parked")
    child = child_of(parent, 40)
    if end == "child":
        StepAttempt.objects.update(child_workflow_run=None)
    else:
        WorkflowRun.objects.filter(pk=child.pk).update(parent_step_attempt=None)
    invoke("pruneruns", "--older-than", "0s")
    assert left() == {parent.pk, child.pk}


def test_a_family_that_ended_long_ago_goes_as_a_whole(invoke: Invoke) -> None:
    parent = ended(50)
    child = child_of(parent, 50)
    child_of(child, 50, "failed")
    assert invoke("pruneruns", "--older-than", "30d").error is None
    assert left() == set()
    assert not StepAttempt.objects.exists()


@pytest.mark.parametrize("size", [1, 500])
def test_a_child_outlives_its_parent_without_pointing_to_nothing(size: int, invoke: Invoke) -> None:
    parent = ended(50, "canceled")
    young, alive = child_of(parent, 1), child_of(parent, 50, "parked")
    invoke("pruneruns", "--older-than", "30d", "--batch", size)
    assert left() == {young.pk, alive.pk}
    for run in (young, alive):
        run.refresh_from_db()
        assert (run.parent_step_attempt_id, run.parent_step_attempt_namespace_id) == (None, None)
    assert alive.status == "running"


def test_an_ended_parent_outlives_its_child_without_pointing_to_nothing(invoke: Invoke) -> None:
    parent = ended(1)
    child_of(parent, 50)
    invoke("pruneruns", "--older-than", "30d")
    assert left() == {parent.pk}
    attempt = StepAttempt.objects.get()
    assert (attempt.child_workflow_run_id, attempt.child_workflow_run_namespace_id) == (None, None)


# --- clean-ups ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", ACTIVE)
def test_a_run_that_is_being_cleaned_up_is_kept(trait: str, invoke: Invoke) -> None:
    run = ended(50, "canceled")
    fill(run)
    cleanup = ended(50, trait, cleanup_of=run)
    assert invoke("pruneruns", "--older-than", "0s").lines == ["Deleted 0 workflow runs."]
    assert left() == {run.pk, cleanup.pk}
    assert StepAttempt.objects.count() == 3


def test_an_ended_clean_up_goes_with_its_run(invoke: Invoke) -> None:
    run = ended(50, "canceled")
    cleanup = ended(50, cleanup_of=run)
    second = ended(50, cleanup_of=cleanup)
    for each in (run, cleanup, second):
        fill(each)
    done = invoke("pruneruns", "--older-than", "30d", "--status", "canceled")
    assert "Deleted 1 workflow run (1 canceled), with 2 clean-up runs" in done.out
    assert left() == set()
    assert not StepAttempt.objects.exists()


def test_a_clean_up_that_ended_lately_keeps_its_run(invoke: Invoke) -> None:
    run = ended(50, "canceled")
    cleanup = ended(1, cleanup_of=run)
    invoke("pruneruns", "--older-than", "30d")
    assert left() == {run.pk, cleanup.pk}


def test_what_a_clean_up_has_undone_is_never_forgotten_before_its_run(invoke: Invoke) -> None:
    """A retry of the run would take undone steps for done, had the clean-up gone alone."""
    run = ended(50, "canceled")
    cleanup = ended(50, cleanup_of=run)
    StepAttemptFactory.create(workflow_run=run, completed=True, step_name="charge", has_undo=True)
    StepAttemptFactory.create(workflow_run=cleanup, completed=True, step_name="undo:charge")
    invoke("pruneruns", "--older-than", "30d", "--status", "completed")
    assert left() == {run.pk, cleanup.pk}
    run.retry()
    charge = StepAttempt.objects.get(step_name="charge")
    assert charge.superseded_at is not None


# --- batches ------------------------------------------------------------------------------------


def sizes(**options: Any) -> list[int]:
    given = {"using": "default", "finished_before": month_ago(), **options}
    return [batch.runs.total() for batch in retention.Retention(**given).batches()]


def test_batches_are_as_small_as_asked_for_and_go_on_behind_what_is_kept() -> None:
    parent = ended(90, "parked")
    kept = {parent.pk, *(child_of(parent, 80).pk for _ in range(5))}
    for _ in range(5):
        ended(60)
    assert sizes(batch=2) == [0, 0, 1, 2, 2]
    assert left() == kept


def test_few_runs_with_very_many_steps_are_small_batches_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "MOST_ATTEMPTS", 5)
    for steps in (2, 1, 9, 1):  # and one more each
        fill(ended(60), steps)
    assert sizes() == [2, 1, 1]


def test_a_batch_is_a_bounded_number_of_statements(invoke: Invoke) -> None:
    def statements(runs: int) -> int:
        for _ in range(runs):
            run = ended(60, "canceled")
            fill(run)
            fill(child_of(run, 60))
            ended(60, cleanup_of=run)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert invoke("pruneruns", "--older-than", "30d").error is None
        return len(queries)

    few = statements(1)
    assert statements(25) == few
    assert few < 30


# --- what is said -------------------------------------------------------------------------------


def test_a_dry_run_deletes_nothing_and_foretells_the_truth(invoke: Invoke) -> None:
    run, parent = ended(50, "canceled"), ended(50, "parked")
    kept = {run.pk, parent.pk, child_of(parent, 40).pk, ended(50, cleanup_of=run).pk}
    fill(run)
    told = invoke("pruneruns", "--older-than", "30d", "--dry-run").out
    assert told.startswith("Would delete 1 workflow run (1 canceled), with 1 clean-up run, 3 step")
    assert left() == kept
    done = invoke("pruneruns", "--older-than", "30d").out
    assert done == told.replace("Would delete", "Deleted")


def test_json_is_one_object(invoke: Invoke) -> None:
    fill(ended(50))
    done = invoke("pruneruns", "--older-than", "30d", "--format", "json")
    assert len(done.lines) == 1
    assert json.loads(done.out) == {
        "workflow_runs": {"completed": 1},
        "cleanup_runs": 0,
        "step_attempts": 3,
        "signal_deliveries": 1,
        "batches": 1,
        "interrupted": False,
        "dry_run": False,
    }


def test_progress_is_told_on_wish_and_apart_from_the_result(invoke: Invoke) -> None:
    for _ in range(3):
        ended(50)
    done = invoke("pruneruns", "--older-than", "30d", "--batch", "2", "--verbosity", "2")
    assert done.err.splitlines() == [
        "Batch 1: 2 workflow runs deleted so far",
        "Batch 2: 3 workflow runs deleted so far",
    ]
    assert len(done.lines) == 1


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ([], "Say how long ago the runs must have ended: --older-than 30d."),
        (["--older-than", "soon"], "Error: argument --older-than: Invalid duration format"),
        (["--older-than=-1d"], "Error: argument --older-than: A duration cannot be negative"),
        (["--older-than", "1d", "--status", "running"], "Error: argument --status: invalid choice"),
        (["--older-than", "1d", "--batch", "0"], "Error: argument --batch: must be a whole number"),
        (["--older-than", "1d", "extra"], "Error: unrecognized arguments: extra"),
    ],
)
def test_nonsense_deletes_nothing(args: list[str], problem: str, invoke: Invoke) -> None:
    run = ended(4000)
    done = invoke("pruneruns", *args)
    assert done.out == ""
    assert done.error is not None
    assert done.error.startswith(problem)
    assert left() == {run.pk}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"older_than": 5}, "5 is not a duration"),
        ({"older_than": "1d", "batch": -1}, "--batch must be a whole number from 1 to 10000"),
        ({"older_than": "1d", "status": "pending"}, "There is no status 'pending'."),
    ],
)
def test_nonsense_by_name_deletes_nothing(
    options: dict[str, Any], problem: str, invoke: Invoke
) -> None:
    run = ended(4000)
    error = invoke("pruneruns", **options).error
    assert error is not None
    assert error.startswith(problem)
    assert left() == {run.pk}


@pytest.mark.parametrize("age", ["0s", "1000y"])
def test_the_limits_of_age_are_possible(age: str, invoke: Invoke) -> None:
    ended(1)
    make("pending")
    assert invoke("pruneruns", "--older-than", age).error is None
    assert len(left()) == (1 if age == "0s" else 2)
