"""Which runs a command is about: the options that filter them, and the queryset they mean."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Final

from django.core.management.base import CommandError

from django_openworkflow.management.arguments import stored_text
from django_openworkflow.states import RunStatus

if TYPE_CHECKING:
    from django_openworkflow.querysets import WorkflowRunQuerySet

_STATUS_HELP: Final = (
    "only runs with this status: %(choices)s. A parked run, which waits for a time, a signal or a "
    "child, counts as running; sleeping means the parked ones alone. completed includes succeeded, "
    "as older rows of other clients have it"
)


def add_filters(parser: ArgumentParser) -> None:
    """Declare ``--workflow`` and ``--status``."""
    parser.add_argument(
        "--workflow",
        type=stored_text,
        metavar="NAME",
        help="only runs of this workflow, in all its versions",
    )
    parser.add_argument("--status", choices=RunStatus.values, metavar="S", help=_STATUS_HELP)


def matching(workflow: str | None, status: str | None) -> WorkflowRunQuerySet:
    """Return the runs that both filters keep; None keeps all."""
    from django_openworkflow.models import WorkflowRun

    runs: WorkflowRunQuerySet = WorkflowRun.objects.all()
    if workflow is not None:
        runs = runs.for_workflow(workflow)
    return runs if status is None else _with_status(runs, status)


def _with_status(runs: WorkflowRunQuerySet, status: str) -> WorkflowRunQuerySet:
    if status not in RunStatus.values:  # argparse has not seen what call_command() is given by name
        message = f"There is no status {status!r}. Choose from {', '.join(RunStatus.values)}."
        raise CommandError(message)
    if status == RunStatus.SLEEPING:
        return runs.parked()
    return runs.completed() if status == RunStatus.COMPLETED else runs.filter(status=status)
