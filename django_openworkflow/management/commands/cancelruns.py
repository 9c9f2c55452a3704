"""``manage.py cancelruns``: cancel runs by id, or all that match filters."""

from __future__ import annotations

import getpass
import os
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError

from django_openworkflow.durations import to_timedelta
from django_openworkflow.exceptions import RunNotCancelable, RunNotFound
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.management.arguments import MOST, duration
from django_openworkflow.management.cancellation import Cancellation, Report
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.output import count_of, json_line, one_line
from django_openworkflow.management.selection import add_filters, matching
from django_openworkflow.serialization import clean_text

if TYPE_CHECKING:
    from django_openworkflow.querysets import WorkflowRunQuerySet

_ACTOR_BYTES: Final = 200
_FILTERS: Final = ("workflow", "status", "older_than", "all")


class Command(WorkflowCommand):
    help = (
        "Cancels workflow runs: those with the ids given, or all that match every filter. "
        "Runs that have ended are left alone and reported."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "ids", nargs="*", default=[], metavar="ID", help="cancel these runs, without asking"
        )
        add_filters(parser)
        parser.add_argument(
            "--older-than", type=duration, metavar="1h", help="only runs created this long ago"
        )
        parser.add_argument("--all", action="store_true", help="no filter: every run")
        parser.add_argument("--reason", default="", help="stored with each run")
        parser.add_argument("--cascade", action="store_true", help="cancel all descendants, too")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")
        parser.add_argument(
            "--yes", action="store_true", help="do not ask; needed where nobody can be asked"
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        # One spelling per id, so that a run given twice is reported once.
        ids = list(dict.fromkeys(str(as_uuid(given) or given) for given in options["ids"]))
        _check_selection(ids, options)
        as_json = options["format"] == "json"
        request = Cancellation(
            reason=options["reason"],
            actor=_operator(),
            cascade=options["cascade"],
            named=bool(ids) or as_json,
        )
        runs = _chosen(ids, options)
        if not (ids or options["yes"] or options["dry_run"]):
            self._confirm(runs, cascade=options["cascade"])
        report = request.preview(runs) if options["dry_run"] else request.carry_out(runs)
        lines = [json_line(_as_object(report, ids))] if as_json else _lines(report, ids)
        if lines:
            self.stdout.write("\n".join(lines))
        _report_problems(report, ids)

    def _confirm(self, runs: WorkflowRunQuerySet, *, cascade: bool) -> None:
        """Ask on standard error: standard output is for the result."""
        if sys.stdin is None or not sys.stdin.isatty():
            message = "Nobody can be asked here (standard input is no terminal): add --yes."
            raise CommandError(message)
        if not (count := runs.active().count()):
            return
        others = " and their child runs" if cascade else ""
        question = f"Cancel {count_of(count, 'workflow run')}{others}? [y/N] "
        self.stderr.write(question, self.style.WARNING, ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            message = "Not confirmed: nothing was canceled."
            raise CommandError(message)


def _check_selection(ids: list[str], options: dict[str, Any]) -> None:
    """Refuse a command that does not say which runs, or says it twice."""
    filters = [name for name in _FILTERS if options[name] not in (None, False)]
    if ids and filters:
        message = f"Give ids or --{filters[0].replace('_', '-')}, not both."
    elif not ids and not filters:
        message = "Say which runs: ids, --workflow, --status, --older-than, or --all."
    elif len(ids) > MOST:
        message = f"Give at most {MOST} ids at a time, not {len(ids)}."
    else:
        return
    raise CommandError(message)


def _chosen(ids: list[str], options: dict[str, Any]) -> WorkflowRunQuerySet:
    runs = matching(options["workflow"], options["status"])
    if ids:
        return runs.filter(pk__in=[key for given in ids if (key := as_uuid(given))])
    older_than = options["older_than"]
    return runs if older_than is None else runs.older_than(to_timedelta(older_than))


def _operator() -> str:
    """Return who runs this command, as the operating system and its environment tell."""
    try:
        name = getpass.getuser()
    except (ImportError, KeyError, OSError):  # no account for this id, as in some containers
        name = f"uid {os.getuid()}" if hasattr(os, "getuid") else ""
    return one_line(clean_text(name, _ACTOR_BYTES))


def _lines(report: Report, ids: list[str]) -> list[str]:
    """Tell each success by its id, where ids were given or nothing is done, and then the counts."""
    verb = "Would cancel" if report.dry_run else "Canceled"
    lines = []
    if ids or report.dry_run:
        lines += [f"{verb} workflow run {pk}" for pk in report.canceled]
    if ids:
        lines += [f"Workflow run {pk} is already canceled" for pk in report.already_canceled]
    if report.canceled or not ids:
        lines.append(f"{verb} {count_of(len(report.canceled), 'workflow run')}.")
    if count := report.already_count():
        lines.append(f"{count} already canceled.")
    if counts := report.skipped_counts():
        kinds = ", ".join(f"{count} {status}" for status, count in counts.items())
        skipped = "Would skip" if report.dry_run else "Skipped"
        lines.append(f"{skipped} {sum(counts.values())} already finished: {kinds}.")
    if report.children_canceled:
        also = "Would also cancel" if report.dry_run else "Also canceled"
        lines.append(f"{also} {count_of(len(report.children_canceled), 'child run')}.")
    return lines


def _as_object(report: Report, ids: list[str]) -> dict[str, Any]:
    named = report.named()
    return {
        "canceled": report.canceled,
        "already_canceled": report.already_canceled,
        "skipped": {str(pk): status for pk, status in report.skipped.items()},
        "children_canceled": report.children_canceled,
        "not_found": [given for given in ids if as_uuid(given) not in named],
        "dry_run": report.dry_run,
    }


def _report_problems(report: Report, ids: list[str]) -> None:
    """Raise ``CommandError`` with a line for each id that does not exist or cannot be canceled."""
    named = report.named()
    problems: list[str] = []
    for given in ids:
        key = as_uuid(given)
        if key in report.skipped:
            problems.append(str(RunNotCancelable(key, report.skipped[key])))
        elif key not in named:
            problems.append(one_line(str(RunNotFound(given))))
    if len(problems) > 1:
        problems.insert(0, f"{len(problems)} of the {len(ids)} ids could not be canceled:")
    if problems:
        raise CommandError("\n".join(problems))
