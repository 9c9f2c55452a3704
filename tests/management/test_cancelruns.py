"""cancelruns: cancels what was asked for, nothing else, and tells the truth about each run."""

from __future__ import annotations

import getpass
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.test import override_settings
from django.utils import timezone

from django_openworkflow import signals
from django_openworkflow.management.commands import cancelruns
from django_openworkflow.models import WorkflowRun
from tests.management.conftest import make

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Outcome

ACTIVE = ("pending", "scheduled", "running", "parked", "sleeping_legacy")
ENDED = {"completed": "completed", "succeeded_legacy": "succeeded", "failed": "failed"}
UNKNOWN = "018f0000-0000-7000-8000-000000000000"

pytestmark = pytest.mark.django_db


def status(run: WorkflowRun) -> str:
    return WorkflowRun.objects.get(pk=run.pk).status


def report(done: Outcome) -> dict[str, Any]:
    assert len(done.lines) == 1
    return dict(json.loads(done.out))


# --- by id --------------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", ACTIVE)
def test_an_active_run_is_canceled(trait: str, invoke: Invoke) -> None:
    run, bystander = make(trait), make()
    done = invoke("cancelruns", run.pk, "--reason", "no longer needed")
    assert (done.error, done.err) == (None, "")
    assert done.lines == [f"Canceled workflow run {run.pk}", "Canceled 1 workflow run."]
    run.refresh_from_db()
    assert (run.status, run.cancel_reason) == ("canceled", "no longer needed")
    assert (run.cancel_source, run.cancel_actor) == ("command", getpass.getuser())
    assert status(bystander) == "pending"


def test_a_run_canceled_before_is_a_quiet_success_and_keeps_its_reason(invoke: Invoke) -> None:
    run = make("canceled")
    done = invoke("cancelruns", run.pk, "--reason", "again")
    assert (done.error, done.err) == (None, "")
    assert done.lines == [f"Workflow run {run.pk} is already canceled", "1 already canceled."]
    run.refresh_from_db()
    assert run.cancel_reason == "first reason"


@pytest.mark.parametrize(("trait", "kind"), ENDED.items())
def test_a_run_that_ended_cannot_be_canceled(trait: str, kind: str, invoke: Invoke) -> None:
    run = make(trait)
    done = invoke("cancelruns", run.pk)
    assert done.error == f"Cannot cancel workflow run {run.pk} with status {kind}"
    assert done.out == f"Skipped 1 already finished: 1 {kind}.\n"
    assert status(run) == kind


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (UNKNOWN, UNKNOWN),
        (UNKNOWN.replace("-", "").upper(), UNKNOWN),
        ("7", "7"),
        ("-1", "-1"),
        ("", ""),
        ("not-an-id", "not-an-id"),
        ("a\x00\nb\x1b[31m", r"a\x00\nb\x1b[31m"),
        ("\udcff", r"\udcff"),
        ("' OR 1=1 --", "' OR 1=1 --"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_an_unknown_or_malformed_id_does_not_exist(given: str, shown: str, invoke: Invoke) -> None:
    bystander = make()
    done = invoke("cancelruns", "--", given)
    assert (done.out, done.error) == ("", f"Workflow run {shown} does not exist")
    assert status(bystander) == "pending"


def test_a_run_of_another_namespace_does_not_exist(invoke: Invoke) -> None:
    run = make()
    with override_settings(OPENWORKFLOW={"NAMESPACE": "other"}):
        assert invoke("cancelruns", run.pk).error == f"Workflow run {run.pk} does not exist"
    assert status(run) == "pending"


def test_bad_ids_do_not_keep_the_good_ones_alive(invoke: Invoke) -> None:
    first, gone, ended, second = make(), make("canceled"), make("failed"), make("parked")
    done = invoke("cancelruns", first.pk, "nonsense", gone.pk, ended.pk, UNKNOWN, second.pk)
    assert done.error is not None
    assert done.error.splitlines() == [
        "3 of the 6 ids could not be canceled:",
        "Workflow run nonsense does not exist",
        f"Cannot cancel workflow run {ended.pk} with status failed",
        f"Workflow run {UNKNOWN} does not exist",
    ]
    assert done.lines == [
        f"Canceled workflow run {first.pk}",
        f"Canceled workflow run {second.pk}",
        f"Workflow run {gone.pk} is already canceled",
        "Canceled 2 workflow runs.",
        "1 already canceled.",
        "Skipped 1 already finished: 1 failed.",
    ]
    assert (status(first), status(second)) == ("canceled", "canceled")


def test_a_run_given_twice_is_reported_once(invoke: Invoke) -> None:
    run = make()
    done = invoke("cancelruns", str(run.pk), run.pk.hex, f"{{{run.pk}}}", str(run.pk).upper())
    assert done.error is None
    assert done.lines[-1] == "Canceled 1 workflow run."


def test_code_may_give_ids_by_name(invoke: Invoke) -> None:
    run = make()
    assert invoke("cancelruns", ids=[run.pk]).error is None
    assert status(run) == "canceled"


def test_too_many_ids_are_refused_before_the_database_refuses(invoke: Invoke) -> None:
    done = invoke("cancelruns", *(str(UUID(int=number)) for number in range(10_001)))
    assert done.error == "Give at most 10000 ids at a time, not 10001."


def test_ten_thousand_ids_fit(invoke: Invoke) -> None:
    run = make()
    done = invoke("cancelruns", run.pk, *(str(UUID(int=number)) for number in range(9999)))
    assert done.error is not None
    assert done.error.startswith("9999 of the 10000 ids could not be canceled:\n")
    assert status(run) == "canceled"


# --- by filters ---------------------------------------------------------------------------------


def test_all_cancels_what_is_active_and_counts_the_rest(invoke: Invoke) -> None:
    runs = [make(trait) for trait in (*ACTIVE, "canceled", *ENDED, "failed")]
    done = invoke("cancelruns", "--all", "--yes")
    assert (done.error, done.err) == (None, "")
    assert done.lines == [
        "Canceled 5 workflow runs.",
        "1 already canceled.",
        "Skipped 4 already finished: 1 completed, 1 succeeded, 2 failed.",
    ]
    assert [status(run) for run in runs] == [*["canceled"] * 6, *ENDED.values(), "failed"]


@pytest.mark.parametrize("args", [["--all"], ["--workflow", "x"], ["--status", "pending"]])
def test_nothing_to_cancel_is_no_error(args: list[str], invoke: Invoke) -> None:
    done = invoke("cancelruns", *args, "--yes")
    assert (done.out, done.error) == ("Canceled 0 workflow runs.\n", None)


def test_filters_combine(invoke: Invoke) -> None:
    old: dict[str, Any] = {"created_at": timezone.now() - timedelta(hours=2)}
    wanted = make(workflow_name="a", **old)
    others = [
        make(workflow_name="a"),
        make(workflow_name="b", **old),
        make("parked", workflow_name="a", **old),
    ]
    filters = ("--workflow", "a", "--status", "pending", "--older-than", "1h")
    assert invoke("cancelruns", *filters, "--all", "--yes").lines == ["Canceled 1 workflow run."]
    assert status(wanted) == "canceled"
    assert [status(run) for run in others] == ["pending", "pending", "running"]


@pytest.mark.parametrize(
    ("wanted", "canceled"),
    [
        ("pending", {"pending", "scheduled"}),
        ("running", {"running", "parked"}),
        ("sleeping", {"parked", "sleeping_legacy"}),
        ("completed", set()),
        ("canceled", set()),
    ],
)
def test_a_status_limits_the_cancel(wanted: str, canceled: set[str], invoke: Invoke) -> None:
    for trait in (*ACTIVE, *ENDED):
        make(trait, workflow_name=trait)
    assert invoke("cancelruns", "--status", wanted, "--yes").error is None
    assert set(WorkflowRun.objects.canceled().values_list("workflow_name", flat=True)) == canceled


@pytest.mark.parametrize("older_than", ["90m", "5400s", timedelta(minutes=90)])
def test_age_limits_the_cancel(older_than: object, invoke: Invoke) -> None:
    now = timezone.now()
    old, young = (make(created_at=now - timedelta(minutes=minutes)) for minutes in (95, 85))
    assert invoke("cancelruns", older_than=older_than, yes=True).error is None
    assert (status(old), status(young)) == ("canceled", "pending")


@pytest.mark.parametrize("age", ["0s", "1000y"])
def test_the_limits_of_age_are_possible(age: str, invoke: Invoke) -> None:
    run = make(created_at=timezone.now() - timedelta(days=1))
    done = invoke("cancelruns", "--older-than", age, "--yes")
    assert done.error is None
    assert status(run) == ("canceled" if age == "0s" else "pending")


@pytest.mark.parametrize(
    "name", ["' OR ''='", "a\nb", "注文", "%", "_", "x" * 5000, "--all", "\x1b[31m"]
)
def test_a_hostile_workflow_name_matches_only_itself(name: str, invoke: Invoke) -> None:
    run, bystander = make(workflow_name=name), make(workflow_name="a")
    done = invoke("cancelruns", f"--workflow={name}", "--yes")
    assert done.lines == ["Canceled 1 workflow run."]
    assert (status(run), status(bystander)) == ("canceled", "pending")


@pytest.mark.parametrize("reason", ["", "a\nb\x1b[31m", "注文", "x" * 100_000, "'; --", "--yes"])
def test_any_reason_that_can_be_stored_is(reason: str, invoke: Invoke) -> None:
    run = make()
    assert invoke("cancelruns", run.pk, f"--reason={reason}").error is None
    run.refresh_from_db()
    assert run.cancel_reason == reason


# --- who ----------------------------------------------------------------------------------------


def test_receivers_learn_who_and_why(
    invoke: Invoke, django_capture_on_commit_callbacks: Any
) -> None:
    run, heard = make(), []

    def listen(**facts: Any) -> None:
        heard.append((facts["run"].pk, facts["reason"], facts["actor"], facts["source"]))

    signals.run_canceled.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            invoke("cancelruns", run.pk, "--reason", "why")
    finally:
        signals.run_canceled.disconnect(listen)
    assert heard == [(run.pk, "why", getpass.getuser(), "command")]


@pytest.mark.parametrize("problem", [KeyError("uid"), OSError("no user"), ImportError("pwd")])
def test_a_user_without_an_account_can_cancel(
    problem: Exception, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getuser() -> str:
        raise problem

    monkeypatch.setattr(getpass, "getuser", getuser)
    run = make()
    assert invoke("cancelruns", run.pk).error is None
    run.refresh_from_db()
    assert run.cancel_actor == f"uid {os.getuid()}"
    monkeypatch.delattr(os, "getuid")
    assert cancelruns._operator() == ""


def test_a_hostile_environment_cannot_forge_the_actor(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "al\nice\x1b[31m\udcff" + "x" * 1000)
    run = make()
    assert invoke("cancelruns", run.pk).error is None
    run.refresh_from_db()
    assert run.cancel_actor.startswith(r"al\nice\x1b[31m")
    assert run.cancel_actor.isprintable()
    assert len(run.cancel_actor) < 250


# --- as JSON ------------------------------------------------------------------------------------


def test_json_names_every_run_given(invoke: Invoke) -> None:
    run, gone, ended = make(), make("canceled"), make("completed")
    done = invoke("cancelruns", run.pk, gone.pk, ended.pk, UNKNOWN, "x\n", "--format", "json")
    assert report(done) == {
        "canceled": [str(run.pk)],
        "already_canceled": [str(gone.pk)],
        "skipped": {str(ended.pk): "completed"},
        "children_canceled": [],
        "not_found": [UNKNOWN, "x\n"],
        "dry_run": False,
    }
    assert done.error is not None
    assert done.error.startswith("3 of the 5 ids could not be canceled:")


def test_json_names_every_run_that_filters_match(invoke: Invoke) -> None:
    run, gone, ended = make(), make("canceled"), make("failed")
    done = invoke("cancelruns", "--all", "--yes", "--format", "json")
    assert report(done) == {
        "canceled": [str(run.pk)],
        "already_canceled": [str(gone.pk)],
        "skipped": {str(ended.pk): "failed"},
        "children_canceled": [],
        "not_found": [],
        "dry_run": False,
    }
    assert done.error is None
