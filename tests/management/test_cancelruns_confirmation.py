"""cancelruns: nonsense cancels nothing, and a person at a terminal is asked first."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from django_openworkflow.models import WorkflowRun
from tests.management.conftest import make

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Shell, Spawn

UNKNOWN = "018f0000-0000-7000-8000-000000000000"

pytestmark = pytest.mark.django_db


def status(run: WorkflowRun) -> str:
    return WorkflowRun.objects.get(pk=run.pk).status


class Terminal(io.StringIO):
    """Standard input with somebody at the keyboard."""

    def isatty(self) -> bool:
        return True


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ([], "Say which runs: ids, --workflow, --status, --older-than, or --all."),
        (["--reason", "x", "--yes"], "Say which runs: "),
        ([UNKNOWN, "--all"], "Give ids or --all, not both."),
        ([UNKNOWN, "--workflow", "a"], "Give ids or --workflow, not both."),
        ([UNKNOWN, "--status", "pending"], "Give ids or --status, not both."),
        ([UNKNOWN, "--older-than", "0s"], "Give ids or --older-than, not both."),
        (["--all"], "Nobody can be asked here (standard input is no terminal): add --yes."),
        (["--workflow", "a", "--format", "json"], "Nobody can be asked here"),
        (["--status", "done"], "Error: argument --status: invalid choice: 'done'"),
        (["--status", "a\nb"], r"Error: argument --status: invalid choice: 'a\nb'"),
        (["--older-than", "-1h"], "Error: argument --older-than: expected one argument"),
        (["--older-than=-1h"], "Error: argument --older-than: A duration cannot be negative"),
        (["--older-than", "yesterday"], "Error: argument --older-than: Invalid duration format"),
        (["--older-than", "nan"], "Error: argument --older-than: Invalid duration format"),
        (["--older-than", "1h\x00"], r'Error: argument --older-than: Invalid duration format: "1h'),
        (["--older-than", "1001y"], "Error: argument --older-than: A duration cannot exceed"),
        (["--workflow", "a\x00b"], "Error: argument --workflow: must be text that a database"),
        (["--workflow", ""], "Error: argument --workflow: must be text that a database"),
        (["--format", "xml", "--all"], "Error: argument --format: invalid choice: 'xml'"),
        (["--all", "--yes", "--reason", "a\x00b"], "The reason of a cancel must be text"),
        (["--all", "--yes", "--reason", "\udcff"], "The reason of a cancel must be text"),
    ],
)
def test_nonsense_cancels_nothing(args: list[str], problem: str, invoke: Invoke) -> None:
    run = make(workflow_name="a")
    done = invoke("cancelruns", *args)
    assert done.out == ""
    assert done.error is not None
    assert done.error.startswith(problem)
    assert done.error.isprintable()
    assert status(run) == "pending"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"status": "done"}, "There is no status 'done'."),
        ({"older_than": "-1h"}, "A duration cannot be negative"),
        ({"older_than": 5}, "5 is not a duration"),
    ],
)
def test_nonsense_by_name_cancels_nothing(
    options: dict[str, Any], problem: str, invoke: Invoke
) -> None:
    run = make()
    error = invoke("cancelruns", yes=True, **options).error
    assert error is not None
    assert error.startswith(problem)
    assert status(run) == "pending"


# --- the question -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ("y\n", "canceled"),
        ("YES\n", "canceled"),
        (" yes ", "canceled"),
        ("n\n", "pending"),
        ("\n", "pending"),
        ("", "pending"),
        ("yesterday\n", "pending"),
        ("j\n", "pending"),
    ],
)
def test_filters_are_asked_about(
    answer: str, end: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    make("failed")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    done = invoke("cancelruns", "--all")
    assert done.err == "Cancel 1 workflow run? [y/N] "
    assert status(run) == end
    assert done.error == (None if end == "canceled" else "Not confirmed: nothing was canceled.")
    assert "Cancel 1" not in done.out


def test_the_question_mentions_what_a_cascade_does(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    [make() for _ in range(2)]
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    done = invoke("cancelruns", "--all", "--cascade")
    assert done.err == "Cancel 2 workflow runs and their child runs? [y/N] "


@pytest.mark.parametrize("args", [["--yes"], ["--dry-run"]])
def test_nobody_is_asked_who_said_it_before(
    args: list[str], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    done = invoke("cancelruns", "--all", *args)
    assert (done.err, done.error) == ("", None)


def test_nobody_is_asked_about_nothing(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert invoke("cancelruns", "--all").lines == ["Canceled 0 workflow runs."]


def test_ids_need_no_confirmation(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert invoke("cancelruns", run.pk).err == ""
    assert status(run) == "canceled"


def test_a_closed_standard_input_is_no_terminal(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    monkeypatch.setattr(sys, "stdin", None)
    assert invoke("cancelruns", "--all").error is not None
    assert status(run) == "pending"


# --- from a shell -------------------------------------------------------------------------------


def test_a_shell_gets_exit_code_1_for_one_bad_id_and_the_good_one_is_canceled(shell: Shell) -> None:
    run, unknown = make(), uuid4()
    done = shell("cancelruns", str(run.pk), str(unknown))
    assert done.returncode == 1
    assert done.stderr == f"CommandError: Workflow run {unknown} does not exist\n"
    assert done.stdout.startswith(f"Canceled workflow run {run.pk}\n")
    assert status(run) == "canceled"
    again = shell("cancelruns", str(run.pk))
    assert (again.returncode, again.stderr) == (0, "")


def test_a_shell_without_a_terminal_must_say_yes(shell: Shell) -> None:
    run = make()
    done = shell("cancelruns", "--all")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("add --yes.\n")
    assert status(run) == "pending"
    assert shell("cancelruns", "--all", "--yes").returncode == 0
    assert status(run) == "canceled"


def test_a_real_terminal_is_asked(spawn: Spawn) -> None:
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    run = make()
    keyboard, terminal = pty.openpty()
    process = spawn("cancelruns", "--all", stdin=terminal)
    os.write(keyboard, b"y\n")
    out, err = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    assert (process.returncode, out) == (0, "Canceled 1 workflow run.\n")
    assert err == "Cancel 1 workflow run? [y/N] "
    assert status(run) == "canceled"
