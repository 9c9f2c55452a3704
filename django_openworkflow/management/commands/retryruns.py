"""``manage.py retryruns``: put failed and canceled runs back to pending."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django_openworkflow.exceptions import RunNotFound, RunNotRetryable
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.management.command import WorkflowCommand, check_terminal
from django_openworkflow.management.output import count_of, json_line, one_line
from django_openworkflow.management.selection import (
    add_selection,
    check_status,
    chosen,
    given_ids,
    raise_problems,
)
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import ACTIVE, RETRYABLE

if TYPE_CHECKING:
    from django_openworkflow.querysets import WorkflowRunQuerySet


@dataclass(slots=True, kw_only=True)
class Report:
    """What was done, or would be: ``skipped`` tells the status that stood in the way."""

    dry_run: bool
    retried: list[UUID] = field(default_factory=list)
    skipped: dict[UUID, str] = field(default_factory=dict)

    def named(self) -> set[UUID]:
        """Return the ids of all runs whose outcome is known."""
        return {*self.retried, *self.skipped}


class Command(WorkflowCommand):
    help = (
        "Puts failed and canceled workflow runs back to pending, keeping their completed steps: "
        "those with the ids given, or all that match every filter."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_selection(parser, "retry", RETRYABLE)

    def handle(self, *args: Any, **options: Any) -> None:
        check_status(options["status"], RETRYABLE)
        ids = given_ids(options)
        runs = chosen(ids, options)
        if not ids:
            runs = runs.filter(status__in=RETRYABLE)
            if not (options["yes"] or options["dry_run"]):
                self._confirm(runs)
        report = Report(dry_run=options["dry_run"])
        try:
            _carry_out(runs, report)
        except BaseException:  # what was done before is told, too
            if report.retried:
                self._tell(report, ids, options)
            raise
        self._tell(report, ids, options)
        raise_problems(list(_problems(report, ids)), ids, "retried")

    def _tell(self, report: Report, ids: list[str], options: dict[str, Any]) -> None:
        as_json = options["format"] == "json"
        lines = [json_line(_as_object(report, ids))] if as_json else _lines(report, ids)
        if lines:
            self.stdout.write("\n".join(lines))

    def _confirm(self, runs: WorkflowRunQuerySet) -> None:
        check_terminal()
        if count := runs.count():
            self.confirm(f"Retry {count_of(count, 'workflow run')}?", "nothing was retried")


def _carry_out(runs: WorkflowRunQuerySet, report: Report) -> None:
    """Retry each run in a transaction of its own.

    Clean-up runs come first: while one of them is active, its run stays canceled.
    """
    if report.dry_run:
        _preview(runs, report)
        return
    for pk, _, _ in _in_order(runs):
        try:
            WorkflowRun.objects.retry(pk)
        except RunNotRetryable as error:
            report.skipped[pk] = error.status
        except RunNotFound:
            continue  # deleted in between: an id that was given is reported
        else:
            report.retried.append(pk)


def _preview(runs: WorkflowRunQuerySet, report: Report) -> None:
    """Say what would be done, without a lock and without a write."""
    active = runs.unfiltered().filter(cleanup_of__isnull=False, status__in=ACTIVE)
    held = set(active.values_list("cleanup_of", flat=True))
    for pk, status, cleanup_of in _in_order(runs):
        if status not in RETRYABLE or pk in held:
            report.skipped[pk] = status
        else:
            report.retried.append(pk)
            held.add(cleanup_of)


def _in_order(runs: WorkflowRunQuerySet) -> list[tuple[UUID, str, UUID | None]]:
    rows = runs.order_by().values_list("pk", "status", "cleanup_of_id")
    return sorted(rows, key=lambda row: (row[2] is None, row[0]))


def _lines(report: Report, ids: list[str]) -> list[str]:
    """Tell each success by its id, where ids were given or nothing is done, and then the counts."""
    verb = "Would retry" if report.dry_run else "Retried"
    lines = []
    if ids or report.dry_run:
        lines += [f"{verb} workflow run {pk}" for pk in report.retried]
    if report.retried or not ids:
        lines.append(f"{verb} {count_of(len(report.retried), 'workflow run')}.")
    if counts := Counter(report.skipped.values()):
        kinds = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        why = "" if ids else " whose clean-up has not ended"
        skipped = "Would skip" if report.dry_run else "Skipped"
        lines.append(f"{skipped} {counts.total()}{why}: {kinds}.")
    return lines


def _as_object(report: Report, ids: list[str]) -> dict[str, Any]:
    return {
        "retried": report.retried,
        "skipped": {str(pk): status for pk, status in report.skipped.items()},
        "not_found": [given for given in ids if as_uuid(given) not in report.named()],
        "dry_run": report.dry_run,
    }


def _problems(report: Report, ids: list[str]) -> Iterator[str]:
    """Yield a sentence for each id that does not exist or cannot be retried."""
    named = report.named()
    for given in ids:
        key = as_uuid(given)
        if key in report.skipped:
            yield str(RunNotRetryable(key, report.skipped[key]))
        elif key not in named:
            yield one_line(str(RunNotFound(given)))
