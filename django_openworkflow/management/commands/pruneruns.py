"""``manage.py pruneruns``: delete runs that ended long ago, in small committed batches."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.management.base import CommandError

from django_openworkflow import clock, conf
from django_openworkflow.durations import to_timedelta
from django_openworkflow.management.arguments import MOST, duration, positive
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.interruption import Interruption, interruptible
from django_openworkflow.management.output import count_of, json_line
from django_openworkflow.management.selection import check_status
from django_openworkflow.states import SUCCESSFUL, TERMINAL, RunStatus
from django_openworkflow.store.retention import Batch, Retention

_SIGNAL_BASE: Final = 128  # shells report death by a signal as this and its number
_TALKATIVE: Final = 2  # --verbosity at which progress is told where nobody seems to watch


@dataclass(slots=True, kw_only=True)
class Total:
    """What all batches deleted together, or would."""

    dry_run: bool
    batches: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    cleanup_runs: int = 0
    step_attempts: int = 0
    signal_deliveries: int = 0

    def add(self, batch: Batch) -> None:
        """Count one more batch."""
        self.batches += 1
        self.runs += batch.runs
        self.cleanup_runs += batch.cleanup_runs
        self.step_attempts += batch.step_attempts
        self.signal_deliveries += batch.signal_deliveries


class Command(WorkflowCommand):
    help = (
        "Deletes completed, failed and canceled workflow runs that ended long ago, with their "
        "steps and signals, in small batches. Children of active runs are kept, and so are runs "
        "whose clean-up has not ended as long ago."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than",
            type=duration,
            metavar="30d",
            help="runs that ended at least this long ago; required",
        )
        parser.add_argument(
            "--status",
            choices=[status.value for status in TERMINAL],
            metavar="S",
            help="only runs with this status: %(choices)s; completed includes succeeded",
        )
        parser.add_argument(
            "--batch",
            type=positive,
            default=500,
            metavar="N",
            help="at most so many runs in one transaction (default: 500)",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        retention = _retention(options)
        total = Total(dry_run=options["dry_run"])
        with interruptible() as interruption:
            try:
                for batch in retention.batches():
                    total.add(batch)
                    self._show_progress(total, options)
                    if interruption:
                        break
            except BaseException:  # what was committed before is told, too
                if total.batches:
                    self._tell(total, interruption, options)
                raise
        self._tell(total, interruption, options)
        if interruption.number is not None:
            message = "Interrupted: runs that are old enough may be left."
            raise CommandError(message, returncode=_SIGNAL_BASE + interruption.number)

    def _show_progress(self, total: Total, options: dict[str, Any]) -> None:
        """Tell it on standard error, for standard output is for the result."""
        is_watched = options["verbosity"] and self.stderr.isatty()
        if options["verbosity"] >= _TALKATIVE or is_watched:
            self.stderr.write(_progress(total), str)

    def _tell(self, total: Total, interruption: Interruption, options: dict[str, Any]) -> None:
        as_json = options["format"] == "json"
        report = json_line(_as_object(total, interruption)) if as_json else _summary(total)
        self.stdout.write(report)


def _retention(options: dict[str, Any]) -> Retention:
    if options["older_than"] is None:
        message = "Say how long ago the runs must have ended: --older-than 30d."
        raise CommandError(message)
    batch, status = options["batch"], options["status"]
    if not isinstance(batch, int) or not 0 < batch <= MOST:
        message = f"--batch must be a whole number from 1 to {MOST}, not {batch!r}"
        raise CommandError(message)
    check_status(status, TERMINAL)
    statuses = TERMINAL if status is None else (RunStatus(status),)
    using = conf.get_settings().DATABASE
    return Retention(
        using=using,
        finished_before=clock.read(using) - to_timedelta(options["older_than"]),
        statuses=SUCCESSFUL if status == RunStatus.COMPLETED else statuses,
        batch=batch,
        dry_run=options["dry_run"],
    )


def _progress(total: Total) -> str:
    verb = "to delete" if total.dry_run else "deleted"
    return f"Batch {total.batches}: {count_of(total.runs.total(), 'workflow run')} {verb} so far"


def _summary(total: Total) -> str:
    verb = "Would delete" if total.dry_run else "Deleted"
    count = count_of(total.runs.total(), "workflow run")
    if not total.runs.total():
        return f"{verb} {count}."
    kinds = ", ".join(f"{count} {status}" for status, count in sorted(total.runs.items()) if count)
    cleanups = count_of(total.cleanup_runs, "clean-up run")
    attempts = count_of(total.step_attempts, "step attempt")
    signals = count_of(total.signal_deliveries, "received signal")
    return f"{verb} {count} ({kinds}), with {cleanups}, {attempts} and {signals}."


def _as_object(total: Total, interruption: Interruption) -> dict[str, Any]:
    return {
        "workflow_runs": dict(total.runs),
        "cleanup_runs": total.cleanup_runs,
        "step_attempts": total.step_attempts,
        "signal_deliveries": total.signal_deliveries,
        "batches": total.batches,
        "interrupted": bool(interruption),
        "dry_run": total.dry_run,
    }
