"""retryruns: reopens what was asked for, nothing else, and tells the truth about each run."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from django_openworkflow import signals
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests.factories import StepAttemptFactory
from tests.management.conftest import make

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Shell

OTHERS = {
    "pending": "pending",
    "running": "running",
    "parked": "running",
    "completed": "completed",
    "succeeded_legacy": "succeeded",
}
UNKNOWN = "018f0000-0000-7000-8000-000000000000"

pytestmark = pytest.mark.django_db


def status(run: WorkflowRun) -> str:
    return WorkflowRun.objects.get(pk=run.pk).status


class Terminal(io.StringIO):
    """Standard input with somebody at the keyboard."""

    def isatty(self) -> bool:
        return True


# --- by id --------------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", ["failed", "canceled"])
def test_an_ended_run_is_pending_again_and_keeps_its_completed_steps(
    trait: str, invoke: Invoke
) -> None:
    run, bystander = make(trait), make("failed")
    kept = StepAttemptFactory.create(workflow_run=run, completed=True)
    lost = StepAttemptFactory.create(workflow_run=run, failed=True)
    done = invoke("retryruns", run.pk)
    assert (done.error, done.err) == (None, "")
    assert done.lines == [f"Retried workflow run {run.pk}", "Retried 1 workflow run."]
    run.refresh_from_db()
    assert (run.status, run.error, run.finished_at, run.cancel_reason) == (
        "pending",
        None,
        None,
        "",
    )
    in_force = StepAttempt.objects.filter(superseded_at__isnull=True)
    assert list(in_force.values_list("pk", flat=True)) == [kept.pk]
    assert lost.pk != kept.pk
    assert status(bystander) == "failed"


@pytest.mark.parametrize(("trait", "kind"), OTHERS.items())
def test_any_other_run_is_left_alone_and_named(trait: str, kind: str, invoke: Invoke) -> None:
    run = make(trait)
    done = invoke("retryruns", run.pk)
    assert done.error == f"Cannot retry workflow run {run.pk} with status {kind}"
    assert done.lines == [f"Skipped 1: 1 {kind}."]
    assert status(run) == kind


@pytest.mark.parametrize(
    ("given", "shown"),
    [(UNKNOWN, UNKNOWN), ("not-an-id", "not-an-id"), ("a\n\x1b[31m", r"a\n\x1b[31m"), ("", "")],
)
def test_an_unknown_or_malformed_id_does_not_exist(given: str, shown: str, invoke: Invoke) -> None:
    done = invoke("retryruns", "--", given)
    assert (done.out, done.error) == ("", f"Workflow run {shown} does not exist")


def test_a_run_of_another_namespace_does_not_exist(invoke: Invoke) -> None:
    run = make("failed")
    with override_settings(OPENWORKFLOW={"NAMESPACE": "other"}):
        assert invoke("retryruns", run.pk).error == f"Workflow run {run.pk} does not exist"
        assert invoke("retryruns", "--all", "--yes").lines == ["Retried 0 workflow runs."]
    assert status(run) == "failed"


def test_bad_ids_do_not_keep_the_good_ones_ended(invoke: Invoke) -> None:
    first, done_before, second = make("failed"), make("completed"), make("canceled")
    done = invoke("retryruns", first.pk, "nonsense", done_before.pk, UNKNOWN, second.pk, first.pk)
    assert done.error is not None
    assert done.error.splitlines() == [
        "3 of the 5 ids could not be retried:",
        "Workflow run nonsense does not exist",
        f"Cannot retry workflow run {done_before.pk} with status completed",
        f"Workflow run {UNKNOWN} does not exist",
    ]
    assert done.lines == [
        f"Retried workflow run {first.pk}",
        f"Retried workflow run {second.pk}",
        "Retried 2 workflow runs.",
        "Skipped 1: 1 completed.",
    ]
    assert (status(first), status(second)) == ("pending", "pending")


@pytest.mark.django_db(transaction=True)
def test_each_run_is_retried_in_a_transaction_of_its_own(invoke: Invoke) -> None:
    runs = [make("failed") for _ in range(3)]
    seen: list[tuple[int, bool]] = []

    def listen(**_facts: Any) -> None:
        pending = WorkflowRun.objects.pending().count()
        seen.append((pending, connection.in_atomic_block))

    signals.run_retried.connect(listen)
    try:
        assert invoke("retryruns", *(run.pk for run in runs)).error is None
    finally:
        signals.run_retried.disconnect(listen)
    assert seen == [(1, False), (2, False), (3, False)]


# --- clean-ups ----------------------------------------------------------------------------------


def test_a_run_whose_clean_up_is_active_stays_canceled(invoke: Invoke) -> None:
    run = make("canceled")
    make("parked", cleanup_of=run)
    done = invoke("retryruns", run.pk)
    assert done.error == f"Cannot retry workflow run {run.pk} with status canceled"
    done = invoke("retryruns", "--all", "--yes")
    assert done.error is None
    assert done.lines == [
        "Retried 0 workflow runs.",
        "Skipped 1 whose clean-up has not ended: 1 canceled.",
    ]
    assert status(run) == "canceled"


@pytest.mark.parametrize("args", [["--dry-run"], ["--yes"]])
def test_a_failed_clean_up_goes_first_and_its_run_stays_canceled(
    args: list[str], invoke: Invoke
) -> None:
    run = make("canceled")
    cleanup = make("failed", cleanup_of=run)
    done = invoke("retryruns", "--all", "--format", "json", *args)
    told = json.loads(done.out)
    assert (told["retried"], told["skipped"]) == ([str(cleanup.pk)], {str(run.pk): "canceled"})
    is_done = args == ["--yes"]
    assert (status(run), status(cleanup)) == ("canceled", "pending" if is_done else "failed")


# --- by filters ---------------------------------------------------------------------------------


def test_all_retries_what_can_be_and_touches_nothing_else(invoke: Invoke) -> None:
    runs = [make(trait) for trait in ("failed", "canceled", *OTHERS)]
    done = invoke("retryruns", "--all", "--yes")
    assert (done.error, done.err) == (None, "")
    assert done.lines == ["Retried 2 workflow runs."]
    assert [status(run) for run in runs] == ["pending", "pending", *OTHERS.values()]


def test_filters_combine(invoke: Invoke) -> None:
    old: dict[str, Any] = {"created_at": timezone.now() - timedelta(hours=2)}
    wanted = make("failed", workflow_name="a", **old)
    others = [
        make("failed", workflow_name="a"),
        make("failed", workflow_name="b", **old),
        make("canceled", workflow_name="a", **old),
    ]
    filters = ("--workflow", "a", "--status", "failed", "--older-than", "1h")
    assert invoke("retryruns", *filters, "--yes").lines == ["Retried 1 workflow run."]
    assert status(wanted) == "pending"
    assert [status(run) for run in others] == ["failed", "failed", "canceled"]


def test_a_dry_run_writes_nothing_and_names_every_run(invoke: Invoke) -> None:
    run = make("failed")
    done = invoke("retryruns", "--all", "--dry-run")
    assert done.lines == [f"Would retry workflow run {run.pk}", "Would retry 1 workflow run."]
    assert status(run) == "failed"


def test_json_names_every_run(invoke: Invoke) -> None:
    run, ended = make("failed"), make("completed")
    done = invoke("retryruns", run.pk, ended.pk, UNKNOWN, "--format", "json")
    assert json.loads(done.out) == {
        "retried": [str(run.pk)],
        "skipped": {str(ended.pk): "completed"},
        "not_found": [UNKNOWN],
        "dry_run": False,
    }
    assert done.error is not None


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ([], "Say which runs: "),
        ([UNKNOWN, "--all"], "Give ids or --all, not both."),
        (["--all"], "Nobody can be asked here (standard input is no terminal): add --yes."),
        (["--status", "completed"], "Error: argument --status: invalid choice: 'completed'"),
        (["--older-than", "soon"], "Error: argument --older-than: Invalid duration format"),
    ],
)
def test_nonsense_retries_nothing(args: list[str], problem: str, invoke: Invoke) -> None:
    run = make("failed")
    done = invoke("retryruns", *args)
    assert done.out == ""
    assert done.error is not None
    assert done.error.startswith(problem)
    assert status(run) == "failed"


def test_a_status_by_name_is_checked_too(invoke: Invoke) -> None:
    error = invoke("retryruns", status="running", yes=True).error
    assert error == "There is no status 'running'. Choose from failed, canceled."


@pytest.mark.parametrize(("answer", "end"), [("y\n", "pending"), ("n\n", "failed"), ("", "failed")])
def test_filters_are_asked_about(
    answer: str, end: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make("failed")
    make("completed")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    done = invoke("retryruns", "--all")
    assert done.err == "Retry 1 workflow run? [y/N] "
    assert status(run) == end
    assert done.error == (None if end == "pending" else "Not confirmed: nothing was retried.")


# --- from a shell -------------------------------------------------------------------------------


def test_a_shell_gets_exit_code_1_for_one_bad_id_and_the_good_one_is_retried(shell: Shell) -> None:
    run, unknown = make("failed"), uuid4()
    done = shell("retryruns", str(run.pk), str(unknown))
    assert done.returncode == 1
    assert done.stderr == f"CommandError: Workflow run {unknown} does not exist\n"
    assert status(run) == "pending"
    done = shell("retryruns", "--all", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Retried 0 workflow runs.\n", "")
