"""``manage.py startrun``: start a run of a registered workflow."""

from __future__ import annotations

from argparse import ArgumentParser
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError, CommandParser

from django_openworkflow.durations import to_timedelta
from django_openworkflow.exceptions import WorkflowCanceled, WorkflowNotRegistered
from django_openworkflow.handles import DEFAULT_TIMEOUT_SECONDS, RunHandle
from django_openworkflow.management.arguments import duration, parse_json
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.output import json_line, one_line
from django_openworkflow.registry import registry

if TYPE_CHECKING:
    from django_openworkflow.workflows import Workflow

_NAMES_SHOWN: Final = 20


class Command(WorkflowCommand):
    help = "Starts a run of a registered workflow and prints the run's id."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Let ``--version`` mean the workflow's, not Django's."""
        kwargs.setdefault("conflict_handler", "resolve")
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the workflow")
        parser.add_argument(
            "--version",
            metavar="V",
            help="its version; may be left out when there is only one, '' means unversioned",
        )
        parser.add_argument(
            "--input",
            metavar="JSON",
            help="an object with the arguments by name; anything else is the single argument",
        )
        parser.add_argument(
            "--key",
            help="idempotency key: within 24 hours the same key prints the id of the same run",
        )
        parser.add_argument(
            "--available-at", type=duration, metavar="5m", help="begin this long from now"
        )
        parser.add_argument(
            "--deadline",
            type=duration,
            metavar="1h",
            help="fail unless ended this long from now",
        )
        parser.add_argument(
            "--priority", type=int, default=0, metavar="N", help="higher first (default: 0)"
        )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="wait for the end and print the output as JSON; exit 1 unless it completed",
        )
        parser.add_argument(
            "--timeout",
            type=duration,
            metavar="5m",
            help="how long --wait waits (default: 5m); the run goes on afterwards",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        timeout = options["timeout"]
        if timeout is not None:
            if not options["wait"]:
                message = "--timeout says how long --wait waits: add --wait."
                raise CommandError(message)
            timeout = to_timedelta(timeout)
        handle = self._start(options)
        self.stdout.write(str(handle.id))
        self.stdout.flush()
        if options["wait"]:
            self.stdout.write(json_line(_result(handle, timeout)))

    def _start(self, options: dict[str, Any]) -> RunHandle[Any]:
        workflow = _find(options["name"], options["version"])
        given = options["input"]
        return workflow.using(
            available_at=options["available_at"],
            deadline_at=options["deadline"],
            idempotency_key=options["key"],
            priority=options["priority"],
        ).start_input(parse_json(given, "--input") if isinstance(given, str) else given)


def _result(handle: RunHandle[Any], timeout: Any) -> Any:
    try:
        return handle.result(timeout=DEFAULT_TIMEOUT_SECONDS if timeout is None else timeout)
    except WorkflowCanceled as error:
        message = f"{error}: {error.reason}" if error.reason else str(error)
        raise CommandError(one_line(message)) from error


def _find(name: str, version: str | None) -> Workflow[Any, Any]:
    """Return the definition that is meant, or say which ones there are."""
    versions = registry.versions(name)
    if not versions:
        raise CommandError(_unknown(name))
    wanted = versions[0] if version is None else version or None
    if wanted not in versions:
        message = f"{WorkflowNotRegistered(name, wanted)}. Registered: {_listed(versions)}."
        raise CommandError(one_line(message))
    if version is None and len(versions) > 1:
        message = f'Workflow "{name}" has several versions: {_listed(versions)}. Add --version.'
        raise CommandError(message)
    return registry.find(name, wanted)


def _unknown(name: str) -> str:
    known = sorted({known for known, _ in registry.definitions()})
    problem = one_line(str(WorkflowNotRegistered(name, None)))
    if not known:
        return f"{problem}, nor is any other: is there a workflows.py in an installed app?"
    if close := get_close_matches(name, known):
        return f"{problem}. Did you mean {' or '.join(close)}?"
    more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
    return f"{problem}. Registered: {', '.join(known[:_NAMES_SHOWN])}{more}."


def _listed(versions: list[str | None]) -> str:
    return ", ".join("'' (unversioned)" if version is None else version for version in versions)
