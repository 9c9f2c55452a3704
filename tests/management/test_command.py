"""Every failure is one line on standard error and exit code 1, from a shell and from code."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connections
from django.test import override_settings

from django_openworkflow.exceptions import InvalidInput, OpenWorkflowError
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.commands import (
    cancelruns,
    listruns,
    pruneruns,
    retryruns,
    runworker,
    sendsignal,
    startrun,
    workflowdoctor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.management.conftest import Invoke, Shell, Spawn

    Fail = Callable[..., tuple[object, str, str]]

COMMANDS: dict[str, type[BaseCommand]] = {
    "cancelruns": cancelruns.Command,
    "listruns": listruns.Command,
    "pruneruns": pruneruns.Command,
    "retryruns": retryruns.Command,
    "runworker": runworker.Command,
    "sendsignal": sendsignal.Command,
    "startrun": startrun.Command,
    "workflowdoctor": workflowdoctor.Command,
}
# A valid call of each command, up to the database.
CALLS = [
    ["cancelruns", "--all", "--yes"],
    ["listruns"],
    ["retryruns", "--all", "--yes"],
    ["sendsignal", "go"],
    ["startrun", "greet", "--input", '"you"'],
]
UNUSABLE = r'The database "default" cannot be used: '


class Failing(WorkflowCommand):
    """Raises what it is given."""

    requires_system_checks = ()

    def __init__(self, problem: BaseException) -> None:
        super().__init__()
        self.problem = problem

    def handle(self, *_args: Any, **_options: Any) -> None:
        raise self.problem


class FailingElsewhere(Failing):
    """Takes the alias of a database."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--database")


class Greeting(WorkflowCommand):
    """Does what it is for."""

    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        self.stdout.write("hello")


@pytest.fixture(autouse=True)
def _connections_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django closes every connection after a shell's command; that of the tests is still needed."""
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Fail:
    """Run a failing command as a shell does; return its exit code and what it printed."""

    def run(problem: BaseException, *argv: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as caught:
            Failing(problem).run_from_argv(["manage.py", "failing", *argv])
        return caught.value.code, *capsys.readouterr()

    return run


def test_the_database_that_was_named_is_the_one_spoken_of() -> None:
    for options, named in (({}, "default"), ({"database": "another"}, "another")):
        with pytest.raises(CommandError, match=f'^The database "{named}" cannot be used: gone$'):
            call_command(FailingElsewhere(OperationalError("gone")), **options)


# --- from a shell -------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_missing_table_is_one_line(call: list[str], shell: Shell, tmp_path: Path) -> None:
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}
    done = shell(*call, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'CommandError: The database "default" has no workflow tables: '
        'run "manage.py migrate" first.\n'
    )


@pytest.mark.parametrize("call", CALLS)
def test_an_unreachable_database_is_one_line(call: list[str], shell: Shell) -> None:
    done = shell(*call, env={"DATABASE_URL": "postgres://user:s3cret@127.0.0.1:1/gone"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"CommandError: {UNUSABLE}")
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (["startrun"], "the following arguments are required: NAME"),
        (["listruns", "--limit", "-3"], "argument --limit: must be a whole number from 1 to"),
        (["listruns", "a\nb\x1b[31m"], r"unrecognized arguments: a\nb\x1b[31m"),
        (["cancelruns", "--no-such-option"], "unrecognized arguments: --no-such-option"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_1(
    call: list[str], problem: str, shell: Shell
) -> None:
    done = shell(*call)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"CommandError: {problem}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("call", [["listruns", "--limit", "x"], ["cancelruns"]])
def test_traceback_shows_where_an_error_came_from(call: list[str], shell: Shell) -> None:
    done = shell(*call, "--traceback")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")


def test_a_name_that_the_terminal_cannot_show_is_escaped(shell: Shell) -> None:
    done = shell("startrun", "--help", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    done = shell("startrun", "注文", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (1, "")
    assert r"\u6ce8\u6587" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(spawn: Spawn) -> None:
    process = spawn("listruns")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 1


# --- inside of one process ----------------------------------------------------------------------


def test_a_reader_that_goes_away_ends_the_command_quietly(
    fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        code, _, err = fail(BrokenPipeError())
        stdout.write("goes nowhere")
    assert (code, err) == (1, "")


def test_success_ends_without_an_exit(capsys: pytest.CaptureFixture[str]) -> None:
    Greeting().run_from_argv(["manage.py", "greeting"])
    assert capsys.readouterr() == ("hello\n", "")


def test_any_object_that_can_be_written_to_serves_as_standard_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out := StringIO())
        Greeting().run_from_argv(["manage.py", "greeting"])
    assert out.getvalue() == "hello\n"


def test_ctrl_c_is_no_traceback(fail: Fail) -> None:
    assert fail(KeyboardInterrupt()) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (CommandError("Said plainly."), "Said plainly."),
        (InvalidInput("two\nlines\x1b[2J"), r"two\nlines\x1b[2J"),
        (OpenWorkflowError("wide 注文"), "wide 注文"),
        (ImproperlyConfigured("Set\nENGINE"), "Set ENGINE"),
        (OperationalError("refused\n\tIs it\x00 up?"), UNUSABLE + r"refused Is it\x00 up?"),
        (InterfaceError("connection already closed"), UNUSABLE + "connection already closed"),
    ],
)
def test_every_known_failure_is_one_line(problem: Exception, line: str, fail: Fail) -> None:
    assert fail(problem) == (1, "", f"CommandError: {line}\n")


def test_missing_tables_are_told_from_other_trouble(
    fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections["default"].introspection, "table_names", list)
    _, _, err = fail(OperationalError("no such table: x"))
    assert 'has no workflow tables: run "manage.py migrate" first.' in err


def test_a_failing_look_at_the_tables_does_not_hide_the_problem(
    fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def table_names() -> None:
        message = "still gone"
        raise OperationalError(message)

    monkeypatch.setattr(connections["default"].introspection, "table_names", table_names)
    assert fail(OperationalError("gone")) == (1, "", f"CommandError: {UNUSABLE}gone\n")


def test_a_bug_is_not_disguised() -> None:
    with pytest.raises(ZeroDivisionError):
        call_command(Failing(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["a\nb"], r"unrecognized arguments: a\nb"),
        (["--verbosity", "9"], "argument -v/--verbosity: invalid choice: 9 (choose from "),
    ],
)
def test_a_parsers_error_is_one_line(argv: list[str], line: str, fail: Fail) -> None:
    code, out, err = fail(AssertionError("not reached"), *argv)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"CommandError: {line}")


def test_traceback_raises_a_parsers_error() -> None:
    with pytest.raises(CommandError, match="unrecognized arguments: x"):
        Failing(AssertionError("not reached")).run_from_argv(["manage.py", "f", "x", "--traceback"])


@pytest.mark.parametrize("name", COMMANDS)
def test_code_gets_a_command_error_and_no_exit_for_wrong_arguments(
    name: str, invoke: Invoke
) -> None:
    assert invoke(name, "--no-such-option").error is not None


@pytest.mark.parametrize(
    "call",
    [
        ["listruns"],
        ["cancelruns", "--all", "--yes"],
        ["pruneruns", "--older-than", "1d"],
        ["retryruns", "--all", "--yes"],
        ["runworker"],
        ["sendsignal", "go"],
    ],
)
@pytest.mark.parametrize(
    "settings", [{"DATABASE": "elsewhere"}, {"NO_SUCH_KEY": 1}, {"NAMESPACE": "two\nlines"}]
)
def test_a_wrong_setting_is_one_line(
    settings: dict[str, object], call: list[str], invoke: Invoke
) -> None:
    with override_settings(OPENWORKFLOW=settings):
        error = invoke(*call).error
    assert error is not None
    assert error.startswith("OPENWORKFLOW")
    assert error.isprintable()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_help_can_be_shown(command: type[BaseCommand], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command().run_from_argv(["manage.py", "any", "--help"])
    assert caught.value.code == 0
    assert command.help.split(",")[0] in capsys.readouterr().out.replace("\n", " ")
