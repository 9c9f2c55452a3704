"""Who did what to a run: one ``LogEntry`` for each run that an action changed, with the reason.

Its messages are stored in English, as Django stores its own: readers have their own languages.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.utils.translation import gettext_lazy as _

from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import CancelSource, RunStatus
from django_openworkflow.transitions import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest

MOST_SHOWN: Final = 50
# What is said of a cancel by where it came from: with nobody named, and with somebody.
_CANCELED: Final = {
    CancelSource.API: (_("Canceled through code."), _("Canceled through code by %(actor)s.")),
    CancelSource.ADMIN: (_("Canceled in the admin."), _("Canceled in the admin by %(actor)s.")),
    CancelSource.COMMAND: (
        _("Canceled from the command line."),
        _("Canceled from the command line by %(actor)s."),
    ),
    CancelSource.CASCADE: (
        _("Canceled with its parent run."),
        _("Canceled with its parent run by %(actor)s."),
    ),
    CancelSource.CLIENT: (
        _("Canceled through a client in another language."),
        _("Canceled through a client in another language by %(actor)s."),
    ),
}
_CANCELED_SOMEHOW: Final = (_("Canceled."), _("Canceled by %(actor)s."))


@contextmanager
def recorded(using: str) -> Iterator[None]:
    """Let an action and its record stand or fall together, also when they have two databases."""
    with transaction.atomic(using=using), transaction.atomic(using=router.db_for_write(LogEntry)):
        yield


def record_runs(request: HttpRequest, ids: Iterable[UUID], message: str, *, using: str) -> None:
    """Write an entry for each of these runs, in bulk."""
    for chunk in chunks(sorted(ids)):
        rows = WorkflowRun._base_manager.using(using).filter(pk__in=chunk)
        record(request, rows.only("pk", "workflow_name"), message)


def record(
    request: HttpRequest, runs: Iterable[WorkflowRun], message: str, *, is_new: bool = False
) -> None:
    """Write an entry for each of these runs."""
    entries: Any = LogEntry.objects
    entries.log_actions(
        user_id=request.user.pk,
        queryset=list(runs),
        action_flag=ADDITION if is_new else CHANGE,
        change_message=message,
    )


def with_reason(what: str, reason: str) -> str:
    """Return a message that names the reason, if there is one."""
    return f"{what} Reason: {reason}" if reason else what


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """That a run was canceled, in a sentence. ``at``: when it ended so."""

    sentence: str
    at: datetime | None
    reason: str


def cancel_of(run: WorkflowRun) -> Cancel | None:
    """Return what is kept of the cancel of a run; None when it was not canceled."""
    if not run.cancel_source:
        return None
    source: Any = run.cancel_source
    nobody, somebody = _CANCELED.get(source, _CANCELED_SOMEHOW)
    return Cancel(
        sentence=somebody % {"actor": run.cancel_actor} if run.cancel_actor else str(nobody),
        at=run.finished_at if run.status == RunStatus.CANCELED else None,
        reason=run.cancel_reason,
    )


def entries_of(run: WorkflowRun) -> QuerySet[LogEntry]:
    """Return the latest entries of a run."""
    kind = ContentType.objects.get_for_model(WorkflowRun)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(run.pk))
    return entries.select_related("user").order_by("-action_time", "-pk")[:MOST_SHOWN]
