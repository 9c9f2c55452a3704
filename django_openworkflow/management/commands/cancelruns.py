"""``manage.py cancelruns``: cancel runs by id, or all that match filters."""

from __future__ import annotations

import getpass
import os
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow.cancellation import Cancellation, Report
from django_openworkflow.exceptions import RunNotCancelable, RunNotFound
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.management.command import WorkflowCommand, check_terminal
from django_openworkflow.management.output import count_of, json_line, one_line
from django_openworkflow.management.selection import (
    add_selection,
    chosen,
    given_ids,
    raise_problems,
)
from django_openworkflow.serialization import clean_text

if TYPE_CHECKING:
    from django_openworkflow.querysets import WorkflowRunQuerySet

_ACTOR_BYTES: Final = 200


class Command(WorkflowCommand):
    help = (
        "Cancels workflow runs: those with the ids given, or all that match every filter. "
        "Runs that have ended are left alone and reported."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_selection(parser, "cancel")
        parser.add_argument("--reason", default="", help="stored with each run")
        parser.add_argument("--cascade", action="store_true", help="cancel all descendants, too")

    def handle(self, *args: Any, **options: Any) -> None:
        ids = given_ids(options)
        as_json = options["format"] == "json"
        request = Cancellation(
            reason=options["reason"],
            actor=_operator(),
            cascade=options["cascade"],
            named=bool(ids) or as_json,
        )
        runs = chosen(ids, options)
        if not (ids or options["yes"] or options["dry_run"]):
            self._confirm(runs, cascade=options["cascade"])
        report = request.preview(runs) if options["dry_run"] else request.carry_out(runs)
        lines = [json_line(_as_object(report, ids))] if as_json else _lines(report, ids)
        if lines:
            self.stdout.write("\n".join(lines))
        _report_problems(report, ids)

    def _confirm(self, runs: WorkflowRunQuerySet, *, cascade: bool) -> None:
        check_terminal()
        if count := runs.active().count():
            others = " and their child runs" if cascade else ""
            question = f"Cancel {count_of(count, 'workflow run')}{others}?"
            self.confirm(question, "nothing was canceled")


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
    raise_problems(problems, ids, "canceled")
