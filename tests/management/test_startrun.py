"""startrun: starts exactly what was asked for, or nothing and says why in one line."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from django_openworkflow import RunHandle, Step, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Outcome, Shell, Spawn


@pytest.fixture(autouse=True)
def _definitions() -> None:
    @workflow("greet")
    def greet(step: Step, name: Any = "world", *, polite: bool = False) -> dict[str, Any]:
        return {"hello": name, "polite": polite}

    @workflow("process-order", version="1")
    def first(step: Step) -> None: ...

    @workflow("process-order", version="2")
    def second(step: Step) -> None: ...

    @workflow("process-order")
    def unversioned(step: Step) -> None: ...

    @workflow("only-version-7", version="7")
    def seventh(step: Step) -> None: ...

    @workflow("crash")
    def crash(step: Step, words: str) -> None:
        raise ValueError(words)


def started(done: Outcome) -> WorkflowRun:
    assert done.error is None
    assert done.err == ""
    return RunHandle.get(UUID(done.lines[0])).run


# --- what is started ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_prints_nothing_but_the_id(invoke: Invoke) -> None:
    done = invoke("startrun", "greet")
    assert done.out == f"{WorkflowRun.objects.get().pk}\n"
    run = started(done)
    assert (run.workflow_name, run.version, run.status, run.input) == (
        "greet",
        None,
        "pending",
        None,
    )
    assert (run.priority, run.deadline_at, run.idempotency_key) == (0, None, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ('{"name": "you", "polite": true}', {"name": "you", "polite": True}),
        ('"you"', {"name": "you"}),
        ("[1, 2.5, null]", {"name": [1, 2.5, None]}),
        ("0", {"name": 0}),
        ("null", None),
        ("{}", None),
        ('"\\u0041\\n\\u001b"', {"name": "A\n\x1b"}),
    ],
)
def test_the_input_is_one_json_value(given: str, stored: object, invoke: Invoke) -> None:
    assert started(invoke("startrun", "greet", "--input", given)).input == stored


@pytest.mark.django_db
def test_code_may_give_the_input_as_a_value(invoke: Invoke) -> None:
    assert started(invoke("startrun", "greet", input={"name": "you"})).input == {"name": "you"}


@pytest.mark.django_db
def test_the_only_version_is_taken_when_none_is_named(invoke: Invoke) -> None:
    assert started(invoke("startrun", "only-version-7")).version == "7"


@pytest.mark.django_db
@pytest.mark.parametrize(("given", "stored"), [("1", "1"), ("2", "2"), ("", None)])
def test_a_named_version_is_taken(given: str, stored: str | None, invoke: Invoke) -> None:
    assert started(invoke("startrun", "process-order", "--version", given)).version == stored
    assert started(invoke("startrun", "process-order", version=given)).version == stored


@pytest.mark.django_db
def test_options_reach_the_run(invoke: Invoke) -> None:
    run = started(
        invoke(
            "startrun",
            "greet",
            *("--key", "order-7", "--priority", "-5", "--available-at", "5m", "--deadline", "1h"),
        )
    )
    assert (run.idempotency_key, run.priority) == ("order-7", -5)
    assert run.available_at is not None
    assert run.deadline_at is not None
    assert timedelta(minutes=4) < run.available_at - run.created_at < timedelta(minutes=6)
    assert timedelta(minutes=59) < run.deadline_at - run.created_at < timedelta(minutes=61)


@pytest.mark.django_db
def test_options_by_name_take_texts_as_well(invoke: Invoke) -> None:
    run = started(invoke("startrun", "greet", available_at="5m", deadline="1h", key="k"))
    assert run.available_at is not None
    assert run.available_at > run.created_at + timedelta(minutes=4)
    assert run.deadline_at is not None


@pytest.mark.django_db
def test_the_same_key_prints_the_same_id(invoke: Invoke) -> None:
    first = invoke("startrun", "greet", "--key", "once")
    again = invoke("startrun", "greet", "--key", "once", "--input", '"other"')
    assert first.out == again.out
    assert WorkflowRun.objects.count() == 1


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["greet", "--input", '{"name": }'], "--input is not valid JSON: Expecting value at line"),
        (["greet", "--input", ""], "--input is not valid JSON: Expecting value at line 1, column"),
        (["greet", "--input", "NaN"], "--input is not valid JSON: NaN is not a JSON number at"),
        (["greet", "--input=-Infinity"], "--input is not valid JSON: -Infinity is not a JSON"),
        (["greet", "--input", "[" * 99_999], "--input is not valid JSON: "),
        (["greet", "--input", "1e999"], 'The input of workflow "greet" cannot be stored: $.name:'),
        (["greet", "--input", "9007199254740993"], 'The input of workflow "greet" cannot be'),
        (["greet", "--input", '"\\u0000"'], 'The input of workflow "greet" cannot be stored'),
        (["greet", "--input", '"\\ud800"'], 'The input of workflow "greet" cannot be stored'),
        (["greet", "--input", '"\udcff"'], 'The input of workflow "greet" cannot be stored'),
        (["greet", "--input", f'"{"x" * 1_048_576}"'], 'The input of workflow "greet" cannot be'),
        (["greet", "--input", '{"nam\\ne": 1}'], 'The input does not fit workflow "greet": '),
        (["only-version-7", "--input", "1"], 'The input does not fit workflow "only-version-7": '),
        (["greet", "--key", ""], "idempotency_key must be printable text"),
        (["greet", "--key", "a\x00b"], "idempotency_key must be printable text"),
        (["greet", "--key", "a\nb"], "idempotency_key must be printable text"),
        (["greet", "--priority", "x"], "Error: argument --priority: invalid int value: 'x'"),
        (["greet", "--priority", "1.5"], "Error: argument --priority: invalid int value: '1.5'"),
        (["greet", "--priority", "2147483648"], "priority must "),
        (["greet", "--available-at", "-5m"], "Error: argument --available-at: expected one arg"),
        (["greet", "--available-at=-5m"], "Error: argument --available-at: A duration cannot be"),
        (["greet", "--available-at", "soon"], "Error: argument --available-at: Invalid duration"),
        (["greet", "--deadline", "1h\x00"], "Error: argument --deadline: Invalid duration format"),
        (["greet", "--deadline", "nan"], "Error: argument --deadline: Invalid duration format"),
        (["greet", "--timeout", "5m"], "--timeout says how long --wait waits: add --wait."),
        (["greet", "--wait", "--timeout", "5q"], "Error: argument --timeout: Invalid duration"),
        ([], "Error: the following arguments are required: NAME"),
        (["process-order"], 'Workflow "process-order" has several versions: '),
    ],
)
def test_nonsense_starts_nothing(args: list[str], problem: str, invoke: Invoke) -> None:
    done = invoke("startrun", *args)
    assert done.error is not None
    assert done.error.startswith(problem)
    assert done.error.isprintable()
    assert done.out == ""
    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"wait": True, "timeout": "5q"}, 'Invalid duration format: "5q"'),
        ({"deadline": "5q"}, 'Invalid duration format: "5q"'),
        ({"priority": "high"}, "priority must "),
        ({"input": {"name": float("nan")}}, 'The input of workflow "greet" cannot be stored: '),
    ],
)
def test_nonsense_by_name_starts_nothing(
    options: dict[str, Any], problem: str, invoke: Invoke
) -> None:
    done = invoke("startrun", "greet", **options)
    assert done.error is not None
    assert done.error.startswith(problem)
    assert not WorkflowRun.objects.exists()


def test_several_versions_are_listed_instead_of_guessed(invoke: Invoke) -> None:
    assert invoke("startrun", "process-order").error == (
        "Workflow \"process-order\" has several versions: '' (unversioned), 1, 2. Add --version."
    )


def test_an_unknown_version_lists_the_known_ones(invoke: Invoke) -> None:
    assert invoke("startrun", "only-version-7", "--version", "8\n").error == (
        r'Workflow "only-version-7" (version: 8\n) is not registered. Registered: 7.'
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("proces-order", "Did you mean process-order?"),
        ("process_order", "Did you mean process-order?"),
        ("os.system", "Registered: crash, "),
        ("", "Registered: crash, "),
        ("'; DROP TABLE django_openworkflow_workflowrun; --", "Registered: crash, "),
        ("evil\n\x1b[31mname\x00", "Registered: crash, "),
        ("x" * 100_000, "Registered: crash, "),
    ],
)
def test_an_unknown_workflow_names_what_is_meant_or_known(
    name: str, hint: str, invoke: Invoke
) -> None:
    error = invoke("startrun", name).error
    assert error is not None
    assert error.startswith('Workflow "')
    assert f'" is not registered. {hint}' in error
    assert error.isprintable()


def test_many_known_workflows_do_not_flood_the_line(invoke: Invoke) -> None:
    for number in range(50):
        workflow(f"bulk-{number}")(lambda step: None)
    error = invoke("startrun", "zzz").error
    assert error is not None
    assert f"and {len({name for name, _ in registry.definitions()}) - 20} more." in error


def test_an_empty_registry_is_told(invoke: Invoke) -> None:
    registry._workflows.clear()
    assert invoke("startrun", "greet").error == (
        'Workflow "greet" is not registered, nor is any other: '
        "is there a workflows.py in an installed app?"
    )


# --- waiting ------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("timeout", [[], ["--timeout", "0s"], ["--timeout", "10s"]])
def test_wait_prints_the_output_as_json_after_the_id(timeout: list[str], invoke: Invoke) -> None:
    args = ("startrun", "greet", "--key", "k", "--input", '"a\\n\\u001b[31mb"')
    run = started(invoke(*args))
    run_until_idle()
    done = invoke(*args, "--wait", *timeout)
    assert done.lines[0] == str(run.pk)
    assert len(done.lines) == 2
    assert json.loads(done.lines[1]) == {"hello": "a\n\x1b[31mb", "polite": False}
    assert "\x1b" not in done.out


@pytest.mark.django_db
def test_wait_reports_a_failure_in_one_line(invoke: Invoke) -> None:
    args = ("startrun", "crash", "--key", "k", "--input", '"two\\nlines \\u001b[31m"')
    run = started(invoke(*args))
    run_until_idle()
    done = invoke(*args, "--wait")
    assert done.out == f"{run.pk}\n"
    assert done.error == r"Workflow crash failed: ValueError: two\nlines \x1b[31m"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("", "Workflow greet was canceled"),
        ("a\nb\x1b[2J", r"Workflow greet was canceled: a\nb\x1b[2J"),
    ],
)
def test_wait_reports_a_cancel_in_one_line(reason: str, line: str, invoke: Invoke) -> None:
    started(invoke("startrun", "greet", "--key", "k")).cancel(reason=reason)
    assert invoke("startrun", "greet", "--key", "k", "--wait").error == line


@pytest.mark.django_db
def test_wait_ends_in_time_and_leaves_the_run_alone(invoke: Invoke) -> None:
    done = invoke("startrun", "greet", "--wait", timeout="50ms")
    run = WorkflowRun.objects.get()
    assert done.out == f"{run.pk}\n"
    assert done.error == f"Workflow run {run.pk} did not end within 0.05 seconds"
    assert run.status == "pending"


# --- from a shell -------------------------------------------------------------------------------


def test_a_shell_reads_the_id_at_once_and_the_output_at_the_end(spawn: Spawn) -> None:
    process = spawn("startrun", "greet", "--input", '{"name": "ü"}', "--wait", "--timeout", "50s")
    assert process.stdout is not None
    pk = process.stdout.readline().rstrip()
    assert RunHandle.get(pk).status == "pending"
    run_until_idle()
    output, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert RunHandle.get(pk).status == "completed"
    assert json.loads(output) == {"hello": "ü", "polite": False}


@pytest.mark.parametrize(
    "call",
    [
        ["startrun", "greeet"],
        ["startrun", "greet", "--input", "{]"],
        ["startrun", "greet", "--input", '"x"', "--wait", "--timeout", "10ms"],
    ],
)
def test_a_shell_gets_one_line_and_exit_code_1(call: list[str], shell: Shell) -> None:
    done = shell(*call)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: ")
    assert done.stderr.count("\n") == 1
