"""``manage.py listruns``: the newest runs, as a table or as JSON."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import CommandError

from django_openworkflow import clock
from django_openworkflow.exceptions import error_sentence
from django_openworkflow.management.arguments import MOST, positive
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.output import age, json_line, one_line, shorten, table
from django_openworkflow.management.selection import add_filters, matching
from django_openworkflow.states import TERMINAL, RunStatus

_HEADINGS: Final = ("ID", "WORKFLOW", "STATUS", "CLAIMS", "AGE", "WAITING", "NOTE")
_COLUMNS: Final = (
    "id",
    "workflow_name",
    "version",
    "status",
    "attempts",
    "worker_id",
    "available_at",
    "created_at",
    "error",
    "cancel_reason",
)
_NAME_WIDTH: Final = 40
_NOTE_WIDTH: Final = 60

Row = dict[str, Any]


class Command(WorkflowCommand):
    help = "Lists workflow runs, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_filters(parser)
        parser.add_argument(
            "--limit", type=positive, default=50, metavar="N", help="at most so many (default: 50)"
        )
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="text is a table for people; json is a list with all fields, payloads included",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        limit = options["limit"]
        if not isinstance(limit, int) or not 0 < limit <= MOST:
            message = f"--limit must be a whole number from 1 to {MOST}, not {limit!r}"
            raise CommandError(message)
        runs = matching(options["workflow"], options["status"]).order_by("-created_at", "-pk")
        if options["format"] == "json":
            rows = [{**row, "parked": _is_parked(row)} for row in runs.values()[:limit]]
            self.stdout.write(json_line(rows))
            return
        lines = [_cells(row) for row in runs.values(*_COLUMNS, now=clock.moment())[:limit]]
        self.stdout.write(table(_HEADINGS, lines) if lines else "No workflow runs.")


def _cells(row: Row) -> list[str]:
    name, version = row["workflow_name"], row["version"]
    return [
        str(row["id"]),
        shorten(name if version is None else f"{name} ({version})", _NAME_WIDTH),
        one_line(row["status"]),
        str(row["attempts"]),
        age(row["now"] - row["created_at"]),
        _waiting(row),
        shorten(_note(row), _NOTE_WIDTH),
    ]


def _waiting(row: Row) -> str:
    """Say what an active run waits for: its time, or just a worker; nothing while it is held."""
    if row["status"] in TERMINAL or row["worker_id"] is not None:
        return ""
    state = "parked" if _is_parked(row) else ""
    when = "due" if row["available_at"] <= row["now"] else f"until {_instant(row['available_at'])}"
    return f"{state} {when}".strip()


def _is_parked(row: Row) -> bool:
    holds_no_worker = row["status"] == RunStatus.RUNNING and row["worker_id"] is None
    return holds_no_worker or row["status"] == RunStatus.SLEEPING


def _note(row: Row) -> str:
    """Return why a run ended as it did, or what its last attempt failed with."""
    if row["status"] == RunStatus.CANCELED:
        return str(row["cancel_reason"])
    error = row["error"]
    if error is None:
        return ""
    return error_sentence(error) if isinstance(error, dict) else str(error)


def _instant(moment: datetime) -> str:
    if moment.tzinfo is None:  # USE_TZ is off: the project's own local time
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
