"""The tries of a run's steps, as far as its page reads them: the latest, and how many came before.

Of a long history the end is what matters: where the run stands, or why it failed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Case, Count, F, JSONField, Min, TextField, When
from django.db.models.functions import Cast, Coalesce, Length
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_openworkflow.admin.badges import attempt_badge, was_closed
from django_openworkflow.admin.payloads import LARGEST_SHOWN
from django_openworkflow.admin.spans import span_text
from django_openworkflow.models import SignalDelivery, StepAttempt
from django_openworkflow.serialization import PayloadDecoder
from django_openworkflow.states import StepKind, StepStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from django_openworkflow.admin.badges import Badge
    from django_openworkflow.admin.secrecy import Failure, PayloadRules
    from django_openworkflow.models import WorkflowRun

MOST_ATTEMPTS: Final = 1000  # of the timeline
MOST_TOLD: Final = 200  # attempts with their outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCard:
    """One try of a step. ``is_too_large``: its output has a page of its own.

    ``is_other_day``: it began on another day than the run, so that its time alone does not tell.
    """

    id: UUID
    step_name: str
    badge: Badge
    kind: str
    number: int
    began_at: datetime
    is_other_day: bool
    took: str
    notes: Sequence[str]
    is_open: bool
    output: SafeString | None
    is_too_large: bool
    error: Failure | None
    signal: SafeString | None
    child_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The latest tries in order. ``unread``: how many came before, ``began_at``: the very first.

    ``unread_of``: how many of them belong to the steps that are told.
    """

    attempts: Sequence[StepAttempt]
    began_at: datetime | None
    unread: int = 0
    unread_of: Mapping[str, int] = field(default_factory=dict)

    @property
    def told(self) -> Sequence[StepAttempt]:
        """The tries that have a card."""
        return self.attempts[-MOST_TOLD:]

    @property
    def untold(self) -> int:
        """How many have none."""
        return self.unread + len(self.attempts) - len(self.told)

    def numbers(self) -> dict[UUID, int]:
        """Number the tries of each step."""
        counts = dict(self.unread_of)
        numbers = {}
        for one in self.attempts:
            numbers[one.pk] = counts[one.step_name] = counts.get(one.step_name, 0) + 1
        return numbers


def read_history(run: WorkflowRun, using: str) -> History:
    """Return the end of a run's history; outputs that are too long to be shown stay where they are.

    They are not cut by the database: what is cut could not be redacted.
    """
    rows = StepAttempt._base_manager.using(using).filter(workflow_run=run)
    short = Case(
        When(output_size__lte=LARGEST_SHOWN, then=F("output")),
        output_field=JSONField(decoder=PayloadDecoder),
    )
    latest = (
        rows.defer("output", "config")
        .annotate(output_size=Length(Cast("output", TextField())))
        .annotate(short_output=short)
        .order_by("-created_at", "-pk")
    )
    attempts: Sequence[StepAttempt] = list(latest[:MOST_ATTEMPTS])[::-1]
    if len(attempts) >= MOST_ATTEMPTS:
        return _with_earlier(rows, attempts)
    first = attempts[0] if attempts else None
    began_at = None if first is None else first.started_at or first.created_at
    return History(attempts=attempts, began_at=began_at)


def open_waits(run: WorkflowRun, using: str) -> Sequence[StepAttempt]:
    """Return the waits for signals that are open, however long ago they began."""
    rows = StepAttempt._base_manager.using(using).filter(
        workflow_run=run, kind=StepKind.SIGNAL_WAIT, status=StepStatus.RUNNING
    )
    return list(rows.only("kind", "status", "context").order_by("created_at", "pk"))


def _with_earlier(rows: QuerySet[StepAttempt], attempts: Sequence[StepAttempt]) -> History:
    """Count what was not read, as a whole and of the steps that are told."""
    seen = rows.aggregate(count=Count("pk"), began_at=Min(Coalesce("started_at", "created_at")))
    read = Counter(one.step_name for one in attempts)
    names = {one.step_name for one in attempts[-MOST_TOLD:]}
    by_name = rows.filter(step_name__in=names).order_by().values_list("step_name")
    return History(
        attempts=attempts,
        began_at=seen["began_at"],
        unread=max(seen["count"] - len(attempts), 0),
        unread_of={
            name: max(count - read[name], 0) for name, count in by_name.annotate(count=Count("pk"))
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """Tells the latest tries of a history. ``may_see``: whether payloads are shown."""

    history: History
    request: HttpRequest
    rules: PayloadRules
    now: datetime
    run_began_at: datetime
    may_see: bool

    def told(self, using: str) -> list[AttemptCard]:
        """Return the cards, in order."""
        told, numbers = self.history.told, self.history.numbers()
        rows = SignalDelivery._base_manager.using(using).filter(
            step_attempt__in=[one.pk for one in told]
        )
        deliveries = {row.step_attempt_id: row for row in rows}
        return [self._card(one, numbers[one.pk], deliveries.get(one.pk)) for one in told]

    def _card(self, attempt: Any, number: int, delivery: SignalDelivery | None) -> AttemptCard:
        began_at = attempt.started_at or attempt.created_at
        error = self.rules.shown_error(self.request, attempt, attempt.error)
        may_see, show = self.may_see, self.rules.shown_payload
        received = delivery is not None and may_see
        return AttemptCard(
            id=attempt.pk,
            step_name=attempt.step_name,
            badge=attempt_badge(attempt),
            kind="" if attempt.kind == StepKind.FUNCTION else attempt.get_kind_display(),
            number=number,
            began_at=began_at,
            is_other_day=_day(began_at) != _day(self.run_began_at),
            took=span_text(max((attempt.finished_at or self.now) - began_at, timedelta())),
            notes=_notes(attempt),
            is_open=error is not None and attempt.superseded_at is None,
            output=show(self.request, attempt, attempt.short_output) if may_see else None,
            is_too_large=may_see and (attempt.output_size or 0) > LARGEST_SHOWN,
            error=error,
            signal=show(self.request, delivery, delivery.data) if received and delivery else None,
            child_id=attempt.child_workflow_run_id,
        )


def _day(moment: datetime) -> date:
    return timezone.localtime(moment).date()


def _notes(attempt: StepAttempt) -> list[str]:
    notes = []
    if attempt.interruptions:
        text = ngettext("interrupted once", "interrupted %(count)d times", attempt.interruptions)
        notes.append(text % {"count": attempt.interruptions})
    if attempt.is_late:
        notes.append(_("ended after the cancel"))
    if was_closed(attempt):
        notes.append(_("closed when the run ended"))
    elif attempt.superseded_at is not None:
        notes.append(_("set aside by a retry"))
    return notes
