"""listruns: shows what there is, and no stored value can make it show something else."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.utils import timezone

from django_openworkflow import Step, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import RunStatus
from django_openworkflow.testing import advance, run_until_idle
from tests.management.conftest import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test.utils import CaptureQueriesContext

    from tests.management.conftest import Invoke, Shell

    Queries = Callable[[int], CaptureQueriesContext]

HOSTILE = [
    "evil\nfake-id  process-order  completed",
    "\r\x1b[2J\x1b[1;1Howned",
    "\x9b2J",
    "a\u2028b\u2029c\x85d",
    "\u202egnirts",
    "<script>alert(1)</script>",
    "'; DROP TABLE django_openworkflow_workflowrun; --",
    "%s %(x)s {0}",
    "x" * 10_000,
    "注文" * 100,
]

TRAITS = [
    *("pending", "scheduled", "running", "parked", "sleeping_legacy"),
    *("completed", "succeeded_legacy", "failed", "canceled"),
]

pytestmark = pytest.mark.django_db


def ids(invoke: Invoke, *args: str) -> list[str]:
    return [row["id"] for row in json.loads(invoke("listruns", "--format", "json", *args).out)]


def line_of(run: WorkflowRun, invoke: Invoke) -> str:
    return next(line for line in invoke("listruns").lines if line.startswith(str(run.pk)))


# --- which runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [[], ["--workflow", "x"], ["--status", "failed"]])
def test_nothing_to_list_is_said_and_is_no_error(args: list[str], invoke: Invoke) -> None:
    done = invoke("listruns", *args)
    assert (done.out, done.err, done.error) == ("No workflow runs.\n", "", None)
    assert invoke("listruns", *args, "--format", "json").out == "[]\n"


def test_the_newest_come_first_and_no_more_than_asked_for(invoke: Invoke) -> None:
    now = timezone.now()
    runs = [make(created_at=now - timedelta(hours=hour)) for hour in range(60)]
    assert ids(invoke) == [str(run.pk) for run in runs[:50]]
    assert ids(invoke, "--limit", "3") == [str(run.pk) for run in runs[:3]]
    assert [line.split()[0] for line in invoke("listruns").lines] == ["ID", *ids(invoke)]


def test_runs_of_one_moment_keep_an_order(invoke: Invoke) -> None:
    now = timezone.now()
    runs = [make(created_at=now) for _ in range(10)]
    assert ids(invoke) == sorted((str(run.pk) for run in runs), reverse=True)


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("pending", {"pending", "scheduled"}),
        ("running", {"running", "parked"}),
        ("sleeping", {"parked", "sleeping_legacy"}),
        ("completed", {"completed", "succeeded_legacy"}),
        ("succeeded", {"succeeded_legacy"}),
        ("failed", {"failed"}),
        ("canceled", {"canceled"}),
    ],
)
def test_every_status_can_be_filtered_by(status: str, found: set[str], invoke: Invoke) -> None:
    for trait in TRAITS:
        make(trait, workflow_name=trait)
    rows = json.loads(invoke("listruns", "--status", status, "--format", "json").out)
    assert {row["workflow_name"] for row in rows} == found
    by_name = json.loads(invoke("listruns", status=status, format="json").out)
    assert by_name == rows


@pytest.mark.parametrize("name", ["process-order", *HOSTILE, "percent%", "under_score", "注文"])
def test_a_workflow_is_filtered_by_its_exact_name(name: str, invoke: Invoke) -> None:
    wanted = make(workflow_name=name)
    for other in ("other", name + "x", "percentage", "underXscore"):
        make(workflow_name=other)
    assert ids(invoke, "--workflow", name) == [str(wanted.pk)]


def test_filters_combine(invoke: Invoke) -> None:
    wanted = make(workflow_name="a", failed=True)
    make(workflow_name="a")
    make(workflow_name="b", failed=True)
    assert ids(invoke, "--workflow", "a", "--status", "failed") == [str(wanted.pk)]


def test_another_namespace_is_invisible(invoke: Invoke) -> None:
    make()
    with override_settings(OPENWORKFLOW={"NAMESPACE": "other"}):
        assert invoke("listruns").out == "No workflow runs.\n"


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--limit", "0"], "argument --limit: must be a whole number from 1 to 10000, not '0'"),
        (["--limit", "-1"], "argument --limit: must be a whole number"),
        (["--limit", "1e3"], "argument --limit: must be a whole number"),
        (["--limit", "10001"], "argument --limit: must be a whole number"),
        (["--limit", ""], "argument --limit: must be a whole number"),
        (["--status", "done"], "argument --status: invalid choice: 'done'"),
        (["--status", "pending\x00"], r"argument --status: invalid choice: 'pending\x00'"),
        (["--status", ""], "argument --status: invalid choice: ''"),
        (["--workflow", ""], "argument --workflow: must be text that a database can store"),
        (["--workflow", "a\x00"], r"argument --workflow: must be text that a database can store"),
        (["--workflow", "\udcff"], "argument --workflow: must be text that a database can store"),
        (["--format", "xml"], "argument --format: invalid choice: 'xml'"),
    ],
)
def test_nonsense_is_refused_in_one_line(args: list[str], problem: str, invoke: Invoke) -> None:
    done = invoke("listruns", *args)
    assert done.out == ""
    assert done.error is not None
    assert done.error.startswith(f"Error: {problem}")
    assert done.error.isprintable()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"limit": -1}, "--limit must be a whole number from 1 to 10000, not -1"),
        ({"limit": "5\n"}, r"--limit must be a whole number from 1 to 10000, not '5\n'"),
        ({"status": "do\nne"}, r"There is no status 'do\nne'. Choose from pending, running, "),
    ],
)
def test_nonsense_by_name_is_refused(options: dict[str, Any], problem: str, invoke: Invoke) -> None:
    error = invoke("listruns", **options).error
    assert error is not None
    assert error.startswith(problem)


# --- what is shown ------------------------------------------------------------------------------


def test_the_table_says_what_each_run_waits_for_and_how_it_ended(invoke: Invoke) -> None:
    until = timezone.now().replace(microsecond=0) + timedelta(days=7)
    shown = f"until {until.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    old: dict[str, Any] = {"created_at": timezone.now() - timedelta(hours=3, minutes=5)}
    runs: list[tuple[WorkflowRun, str]] = [
        (make(**old), "process-order      pending    0       3h   due"),
        (
            make(version="2", available_at=until, **old),
            f"process-order (2)  pending    0       3h   {shown}",
        ),
        (
            make("running", attempts=7, **old),
            "process-order      running    7       3h",
        ),
        (
            make("parked", available_at=until, **old),
            f"process-order      running    1       3h   parked {shown}",
        ),
        (
            make("sleeping_legacy", available_at=timezone.now() - timedelta(seconds=1), **old),
            "process-order      sleeping   1       3h   parked due",
        ),
        (make("completed", **old), "process-order      completed  1       3h"),
        (
            make("failed", **old),
            f"process-order      failed     1       3h   {' ' * 35}ValueError: No stock",
        ),
        (
            make("canceled", cancel_reason="duplicate", error={"x": 1}, **old),
            f"process-order      canceled   1       3h   {' ' * 35}duplicate",
        ),
    ]
    heading, *lines = invoke("listruns").lines
    assert heading == (
        f"ID{' ' * 36}WORKFLOW           STATUS     CLAIMS  AGE  WAITING{' ' * 28}NOTE"
    )
    assert sorted(lines) == sorted(f"{run.pk}  {rest}".rstrip() for run, rest in runs)


@pytest.mark.parametrize(
    ("error", "note"),
    [
        ({"message": "m"}, "m"),
        ({"name": "N", "message": "a\nb"}, r"N: a\nb"),
        ({"message": {"odd": 1}}, "{'odd': 1}"),
        ({}, ""),
        ("text", "text"),
        ([1, None], "[1, None]"),
        (0, "0"),
        ({"message": "x" * 100}, "x" * 57 + "..."),
    ],
)
def test_an_error_of_any_shape_is_shown(error: object, note: str, invoke: Invoke) -> None:
    run = make("failed", error=error)
    _id, _name, _status, _claims, _age, *notes = line_of(run, invoke).split(maxsplit=5)
    assert notes == ([note] if note else [])


def test_the_clock_is_the_databases_and_the_tests(invoke: Invoke) -> None:
    @workflow("sleeper")
    def sleeper(step: Step) -> None:
        step.sleep("nap", "2d")

    run = sleeper.start().run
    run_until_idle()
    assert "parked until" in line_of(run, invoke)
    advance("2d")
    assert line_of(run, invoke).endswith("1       2d   parked due")


@override_settings(USE_TZ=False)
def test_projects_without_time_zones_are_shown_their_own_time(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("scheduled")
    assert "until 2" in invoke("listruns").out
    assert "Z" not in invoke("listruns").out


@pytest.mark.parametrize("value", HOSTILE)
def test_no_stored_text_can_forge_a_line_or_steer_the_terminal(value: str, invoke: Invoke) -> None:
    make(workflow_name=value, version=value)
    make("canceled", cancel_reason=value)
    make("failed", error={"name": value, "message": value})
    lines = invoke("listruns").lines
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 250
    out = invoke("listruns", "--format", "json").out
    assert out.count("\n") == 1
    assert out.rstrip("\n").isprintable()
    assert out.isascii()
    assert value in {row["workflow_name"] for row in json.loads(out)}


def test_json_has_every_field(invoke: Invoke) -> None:
    run = make("parked", input={"a": [1, None, "ü"]}, idempotency_key="k", version="2", priority=5)
    (row,) = json.loads(invoke("listruns", "--format", "json").out)
    assert set(row) == {"parked", *(field.attname for field in WorkflowRun._meta.concrete_fields)}
    assert row["id"] == str(run.pk)
    assert row["input"] == {"a": [1, None, "ü"]}
    assert row["created_at"] == run.created_at.isoformat()
    assert (row["version"], row["priority"], row["worker_id"]) == ("2", 5, None)
    assert (row["status"], row["parked"]) == (RunStatus.RUNNING, True)


# --- what it costs ------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["text", "json"])
def test_one_query_however_many_runs(
    format_: str, invoke: Invoke, django_assert_num_queries: Queries
) -> None:
    for count in (1, 40):
        [make() for _ in range(count)]
        with django_assert_num_queries(1):
            invoke("listruns", "--format", format_, "--status", "pending")


def test_the_table_reads_no_payloads(invoke: Invoke, django_assert_num_queries: Queries) -> None:
    with django_assert_num_queries(1) as captured:
        invoke("listruns")
    sql = captured.captured_queries[0]["sql"]
    assert '"cancel_reason"' in sql
    assert '"input"' not in sql
    assert '"output"' not in sql


# --- from a shell -------------------------------------------------------------------------------


def test_a_shell_gets_the_table(shell: Shell) -> None:
    run = make(workflow_name="größe")
    done = shell("listruns", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    heading, line = done.stdout.splitlines()
    assert heading.startswith("ID ")
    assert line.startswith(f"{run.pk}  gr\\xf6\\xdfe ")
