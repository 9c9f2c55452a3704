"""Which runs a command is about: the options that filter them, and the queryset they mean."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError

from django_openworkflow.durations import to_timedelta
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.management.arguments import MOST, duration, stored_text
from django_openworkflow.states import RunStatus

if TYPE_CHECKING:
    from django_openworkflow.querysets import WorkflowRunQuerySet

_STATUS_HELP: Final = (
    "only runs with this status: %(choices)s. A parked run, which waits for a time, a signal or a "
    "child, counts as running; sleeping means the parked ones alone. completed includes succeeded, "
    "as older rows of other clients have it"
)

_SHORT_STATUS_HELP: Final = "only runs with this status: %(choices)s"
_FILTERS: Final = ("workflow", "status", "older_than", "all")


def add_filters(parser: ArgumentParser, statuses: Sequence[RunStatus] = tuple(RunStatus)) -> None:
    """Declare ``--workflow`` and ``--status``, which takes one of these statuses."""
    parser.add_argument(
        "--workflow",
        type=stored_text,
        metavar="NAME",
        help="only runs of this workflow, in all its versions",
    )
    parser.add_argument(
        "--status",
        choices=[status.value for status in statuses],
        metavar="S",
        help=_STATUS_HELP if RunStatus.RUNNING in statuses else _SHORT_STATUS_HELP,
    )


def add_selection(
    parser: ArgumentParser, verb: str, statuses: Sequence[RunStatus] = tuple(RunStatus)
) -> None:
    """Declare what a command that changes runs needs: ids, filters, and leave to go on."""
    parser.add_argument(
        "ids", nargs="*", default=[], metavar="ID", help=f"{verb} these runs, without asking"
    )
    add_filters(parser, statuses)
    parser.add_argument(
        "--older-than", type=duration, metavar="1h", help="only runs created at least this long ago"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"no filter: {verb} every run that one can {verb}"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; needed where nobody can be asked"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def given_ids(options: dict[str, Any]) -> list[str]:
    """Return the ids given, each in one spelling, so that a run given twice is reported once.

    Raises ``CommandError`` for a command that does not say which runs, or says it twice.
    """
    ids = list(dict.fromkeys(str(as_uuid(given) or given) for given in options["ids"]))
    filters = [name for name in _FILTERS if options[name] not in (None, False)]
    if ids and filters:
        message = f"Give ids or --{filters[0].replace('_', '-')}, not both."
    elif not ids and not filters:
        message = "Say which runs: ids, --workflow, --status, --older-than, or --all."
    elif len(ids) > MOST:
        message = f"Give at most {MOST} ids at a time, not {len(ids)}."
    else:
        return ids
    raise CommandError(message)


def chosen(ids: list[str], options: dict[str, Any]) -> WorkflowRunQuerySet:
    """Return the runs with these ids or, without any, those that every filter keeps."""
    runs = matching(options["workflow"], options["status"])
    if ids:
        return runs.filter(pk__in=[key for given in ids if (key := as_uuid(given))])
    older_than = options["older_than"]
    return runs if older_than is None else runs.older_than(to_timedelta(older_than))


def raise_problems(problems: Sequence[str], ids: list[str], verb: str) -> None:
    """Raise ``CommandError`` with a line for each id that nothing could be done with."""
    if not problems:
        return
    summary = f"{len(problems)} of the {len(ids)} ids could not be {verb}:"
    raise CommandError("\n".join([summary, *problems] if len(problems) > 1 else problems))


def matching(workflow: str | None, status: str | None) -> WorkflowRunQuerySet:
    """Return the runs that both filters keep; None keeps all."""
    from django_openworkflow.models import WorkflowRun

    runs: WorkflowRunQuerySet = WorkflowRun.objects.all()
    if workflow is not None:
        runs = runs.for_workflow(workflow)
    return runs if status is None else _with_status(runs, status)


def check_status(status: str | None, choices: Iterable[str]) -> None:
    """Refuse what argparse has not seen: ``call_command`` takes options by name."""
    if status is not None and status not in (known := [str(choice) for choice in choices]):
        message = f"There is no status {status!r}. Choose from {', '.join(known)}."
        raise CommandError(message)


def _with_status(runs: WorkflowRunQuerySet, status: str) -> WorkflowRunQuerySet:
    check_status(status, RunStatus.values)
    if status == RunStatus.SLEEPING:
        return runs.parked()
    return runs.completed() if status == RunStatus.COMPLETED else runs.filter(status=status)
