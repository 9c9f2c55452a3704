"""The base of commands that fail with one clear line on standard error and exit code 1."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connections

from django_openworkflow import conf
from django_openworkflow.exceptions import OpenWorkflowError
from django_openworkflow.management.output import flatten, one_line

_INTERRUPTED: Final = 130  # what shells report for SIGINT


class WorkflowCommand(BaseCommand):
    """Turns whatever a person or the database can do wrong into one ``CommandError``.

    From a shell that is a line and exit code 1, also where argparse would print its usage and exit
    with 2. ``call_command`` raises it. ``--traceback`` shows where it came from, as in Django.
    """

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, which raises ``CommandError`` from a shell too."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.called_from_command_line = False
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as a shell's command: report in one line, end quietly when nobody reads on."""
        # A value that the terminal's encoding lacks is shown escaped instead of failing.
        if callable(reconfigure := getattr(sys.stdout, "reconfigure", None)):
            reconfigure(errors="backslashreplace")
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except CommandError as error:  # the parser's: Django reports those of execute() itself
            if "--traceback" in argv:
                raise
            self.stderr.write(f"CommandError: {one_line(str(error).removeprefix('Error: '))}")
            sys.exit(error.returncode)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            sys.exit(_INTERRUPTED)
        except BrokenPipeError:  # the reader has seen enough, as "head" has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run ``handle``; raises ``CommandError`` for every failure that has a known cause."""
        try:
            return super().execute(*args, **options)
        except OpenWorkflowError as error:
            raise CommandError(one_line(str(error))) from error
        except ImproperlyConfigured as error:
            raise CommandError(flatten(str(error))) from error
        except Error as error:
            using = options.get("database") or conf.get_settings().DATABASE
            raise CommandError(_database_problem(error, using)) from error

    def confirm(self, question: str, refusal: str) -> None:
        """Ask on standard error, for standard output is for the result; raise unless yes."""
        check_terminal()
        self.stderr.write(f"{question} [y/N] ", self.style.WARNING, ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            message = f"Not confirmed: {refusal}."
            raise CommandError(message)


def check_terminal() -> None:
    """Raise ``CommandError`` where nobody can be asked."""
    if sys.stdin is None or not sys.stdin.isatty():
        message = "Nobody can be asked here (standard input is no terminal): add --yes."
        raise CommandError(message)


def _database_problem(error: Exception, using: str) -> str:
    if _lacks_tables(using):
        return f'The database "{using}" has no workflow tables: run "manage.py migrate" first.'
    return f'The database "{using}" cannot be used: {flatten(str(error))}'


def _lacks_tables(using: str) -> bool:
    """Whether the database answers but has not been migrated, as far as it can be told."""
    from django_openworkflow.models import WorkflowRun

    try:
        tables = connections[using].introspection.table_names()
    except Exception:  # whatever stopped the command stops this look, too
        return False
    return WorkflowRun._meta.db_table not in tables
