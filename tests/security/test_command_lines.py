"""Whatever is typed behind a command: it does its work, or says why not in one line."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand, CommandError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_openworkflow.management.output import one_line
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.worker.worker import Worker
from django_openworkflow.workflows import workflow
from tests.factories import WorkflowRunFactory

if TYPE_CHECKING:
    from argparse import Action
    from collections.abc import Iterator

    from django_openworkflow import Step

pytestmark = pytest.mark.django_db

COMMANDS = (
    "startrun",
    "cancelruns",
    "retryruns",
    "sendsignal",
    "listruns",
    "pruneruns",
    "workflowdoctor",
    "runworker",
)
# Django's own, and what would take the process over or start others.
NOT_FUZZED = {
    "help",
    "reload",
    "settings",
    "pythonpath",
    "traceback",
    "verbosity",
    "metrics_port",
    "processes",
}
HOSTILE = (
    "",
    " ",
    "-1",
    "0",
    "1e999",
    "NaN",
    "9" * 5000,
    "'; DROP TABLE django_openworkflow_workflowrun; --",
    '"',
    "%s %(x)s {0}",
    "\n",
    "a\nb\r\x1b[31m",
    "\udcff",
    "\u202e",
    "../../etc/passwd",
    "[" * 5000,
    '{"a":' * 500,
    "x" * 100_000,
    "7d",
    "1h",
    "null",
    "[1]",
    '{"name": "x"}',
    "greet",
    "pending",
    "canceled",
    "00000000-0000-0000-0000-000000000000",
    "default",
    "json",
)
# A shell passes no NUL; bytes that are no text arrive as lone surrogates.
words = st.sampled_from(HOSTILE) | st.text(
    alphabet=st.characters(blacklist_characters="\0"), max_size=30
)


@pytest.fixture(autouse=True)
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run, a workflow, and workers that end before they begin."""
    monkeypatch.setattr(Worker, "run", lambda worker, **_options: worker._listener.stop())
    with registry.isolated():

        @workflow("greet")
        def greet(step: Step, name: str = "") -> str:
            return name

        yield


@st.composite
def command_lines(draw: st.DrawFn, name: str) -> list[str]:
    """Some of the options of a command, and its arguments, each with a value or without."""
    parser = load(name).create_parser("manage.py", name)
    line: list[str] = []
    for action in parser._actions:
        if action.dest not in NOT_FUZZED and draw(st.booleans()):
            line += draw(_typed(action))
    if "--wait" in line:
        line += ["--timeout", "0s"]
    return line


def _typed(action: Action) -> st.SearchStrategy[list[str]]:
    flags = list(action.option_strings[-1:])
    if action.nargs == 0:
        return st.just(flags)
    return st.lists(words, min_size=1, max_size=2 if action.nargs else 1).map(flags.__add__)


def load(name: str) -> BaseCommand:
    command = load_command_class("django_openworkflow", name)
    command.stdout._out = StringIO()  # type: ignore[attr-defined]
    command.stderr._out = StringIO()  # type: ignore[attr-defined]
    return command


def call(name: str, line: list[str]) -> str | None:
    """Run a command; return its complaint, if it has one."""
    command = load(name)
    try:
        options: dict[str, Any] = vars(command.create_parser("manage.py", name).parse_args(line))
        args = options.pop("args", ())
        command.execute(*args, **{**options, "no_color": True, "force_color": False})
    except CommandError as error:
        return str(error).removeprefix("Error: ") if error.returncode == 1 else ""
    except SystemExit as end:  # "--version" has been answered
        return None if end.code == 0 else ""
    return None


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_words_are_understood_or_refused_in_one_line(name: str, data: st.DataObject) -> None:
    line = data.draw(command_lines(name), label="line")
    complaint = call(name, line)
    if complaint is not None:
        shown = one_line(complaint)
        assert shown
        assert shown.isprintable()
        assert "Traceback" not in shown


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "runworker"])
@pytest.mark.parametrize("word", HOSTILE)
def test_no_hostile_word_harms_the_rows(name: str, word: str) -> None:
    run = WorkflowRunFactory.create()
    call(name, [word])
    assert WorkflowRun.objects.filter(pk=run.pk).exists()
