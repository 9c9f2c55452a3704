"""Call commands as code does, and as a shell does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from django_openworkflow.registry import registry
from django_openworkflow.testing import reset_clock
from tests.factories import WorkflowRunFactory

if TYPE_CHECKING:
    from django_openworkflow.models import WorkflowRun

_FACTORY: Any = WorkflowRunFactory  # says that it is typed, but is not

ROOT = Path(__file__).resolve().parents[2]

# A manage.py that knows one workflow.
PROGRAM = """
import sys, django
django.setup()
from django.core.management import execute_from_command_line
from django_openworkflow import workflow
@workflow("greet")
def greet(step, name):
    return {"hello": name}
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command printed, and the ``CommandError`` that it raised."""

    out: str
    err: str
    error: str | None

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def make(trait: str = "pending", **columns: Any) -> WorkflowRun:
    """Make a run in the state that the factory's trait names."""
    traits = {} if trait == "pending" else {trait: True}
    run: WorkflowRun = _FACTORY(**traits, **columns)
    return run


Invoke = Callable[..., Outcome]
Shell = Callable[..., "subprocess.CompletedProcess[str]"]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with registry.isolated():
        yield
    reset_clock()


@pytest.fixture
def invoke() -> Invoke:
    """Call a command with the arguments of a shell, or with options by name."""

    def call(name: str, *args: object, **options: Any) -> Outcome:
        out, err, error = StringIO(), StringIO(), None
        try:
            call_command(name, *args, stdout=out, stderr=err, **options)
        except CommandError as raised:
            error = str(raised)
        return Outcome(out=out.getvalue(), err=err.getvalue(), error=error)

    return call


@pytest.fixture
def spawn(transactional_db: None) -> Iterator[Spawn]:
    """Begin a command in a process of its own, on the database of the tests."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*args: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *args]
        settings = {"DJANGO_SETTINGS_MODULE": "testproject.settings", "DATABASE_URL": _url()}
        env = {**os.environ, **settings, **options.pop("env", {})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)  # noqa: S603 - our own program
        begun.append(process)
        return process

    yield begin
    for process in begun:  # a test that failed may have left one running
        process.kill()
        process.communicate()


@pytest.fixture
def shell(spawn: Spawn) -> Shell:
    """Run a command to its end in a process of its own; standard input is no terminal."""

    def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        process = spawn(*args, **{"stdin": subprocess.DEVNULL, **options})
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run


def _url() -> str:
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    names = {"USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    given = {name: settings[key] for key, name in names.items() if settings[key]}
    return f"postgres:///{settings['NAME']}?{urlencode(given)}"
