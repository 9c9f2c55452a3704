"""Everything that the page of one run shows, from a constant number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Case, F, JSONField, Max, TextField, When
from django.db.models.functions import Cast, Length
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_openworkflow import clock
from django_openworkflow.admin import audit
from django_openworkflow.admin.badges import attempt_badge, run_badge, was_closed
from django_openworkflow.admin.columns import version_label
from django_openworkflow.admin.payloads import LARGEST_SHOWN
from django_openworkflow.admin.searching import short_id
from django_openworkflow.admin.spans import span_text
from django_openworkflow.admin.timeline import build
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.serialization import PayloadDecoder
from django_openworkflow.states import RunStatus, StepKind, StepStatus

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from django_openworkflow.admin.badges import Badge
    from django_openworkflow.admin.secrecy import Failure, PayloadRules

MOST_ATTEMPTS: Final = 1000  # of the timeline
MOST_TOLD: Final = 200  # attempts with their outputs
MOST_CHILDREN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLink:
    """Another run, to be linked to."""

    id: UUID
    short_id: str
    name: str
    badge: Badge


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCard:
    """One try of a step. ``is_too_large``: its output has a page of its own."""

    id: UUID
    step_name: str
    badge: Badge
    kind: str
    number: int
    began_at: datetime
    took: str
    notes: Sequence[str]
    is_open: bool
    output: SafeString | None
    is_too_large: bool
    error: Failure | None
    signal: SafeString | None
    child_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Reads what belongs to a run. ``rules``: what may be shown of payloads."""

    run: WorkflowRun
    request: HttpRequest
    rules: PayloadRules
    visible: QuerySet[WorkflowRun]

    def context(self) -> dict[str, Any]:
        """Return what the templates of the page need."""
        now = timezone.now() + clock.offset()
        attempts = list(self._attempts()[:MOST_ATTEMPTS])
        may_see = self.rules.has_view_payload_permission(self.request, self.run)
        run = self.run
        began_at = run.started_at or (attempts[0].started_at if attempts else None)
        compress = self.request.GET.get("waits") == "short"
        return {
            "run": run,
            "badge": run_badge(run),
            "version": version_label(run.version),
            "worker": (run.worker_id or "").rpartition(":")[0] or run.worker_id,
            "took": span_text((run.finished_at or now) - (began_at or run.created_at)),
            "is_waiting_until": run.available_at if run_is_parked(run) else None,
            "awaited": awaited(attempts),
            "error": self.rules.shown_error(self.request, run, run.error),
            "timeline": build(run, attempts, now, compress=compress),
            "is_compressed": compress,
            "may_see_payloads": may_see,
            "input": self.rules.shown_payload(self.request, run, run.input) if may_see else None,
            "output": self.rules.shown_payload(self.request, run, run.output) if may_see else None,
            "attempts": self._cards(attempts[-MOST_TOLD:], attempts, now, may_see=may_see),
            "more_attempts": max(len(attempts) - MOST_TOLD, 0),
            "parent": self._parent(),
            "cleans_up": self._link(run.cleanup_of) if run.cleanup_of_id else None,
            "children": [self._link(child) for child in self._children()],
            "audit_entries": list(audit.entries_of(run)),
        }

    # --- what is read ---------------------------------------------------------------------------

    def _attempts(self) -> QuerySet[StepAttempt]:
        """Return the tries in order; outputs that are too long to be shown stay where they are.

        They are not cut by the database: what is cut could not be redacted.
        """
        rows = StepAttempt._base_manager.using(self.visible.db).filter(workflow_run=self.run)
        size = Length(Cast("output", TextField()))
        short = Case(
            When(output_size__lte=LARGEST_SHOWN, then=F("output")),
            output_field=JSONField(decoder=PayloadDecoder),
        )
        return (
            rows.defer("output", "config")
            .annotate(output_size=size)
            .annotate(short_output=short)
            .order_by("created_at", "pk")
        )

    def _children(self) -> list[WorkflowRun]:
        """Return the visible child runs, then the clean-up runs, oldest first.

        Each has an index; one condition for both would have none.
        """
        rows = self.visible.only("pk", "workflow_name", "status", "worker_id").order_by("pk")
        children = rows.filter(parent_step_attempt__workflow_run=self.run)[:MOST_CHILDREN]
        return [*children, *rows.filter(cleanup_of=self.run)[:MOST_CHILDREN]]

    def _parent(self) -> RunLink | None:
        """Return the run that started this one, as far as it may be seen."""
        if self.run.parent_step_attempt_id is None:
            return None
        parents = self.visible.filter(step_attempts=self.run.parent_step_attempt_id)
        parent = parents.only("pk", "workflow_name", "status", "worker_id").first()
        return None if parent is None else self._link(parent)

    def _deliveries(self) -> dict[UUID, SignalDelivery]:
        rows = SignalDelivery._base_manager.using(self.visible.db).filter(workflow_run=self.run)
        return {row.step_attempt_id: row for row in rows[:MOST_ATTEMPTS]}

    # --- what is shown --------------------------------------------------------------------------

    def _link(self, run: Any) -> RunLink:
        return RunLink(
            id=run.pk, short_id=short_id(run.pk), name=run.workflow_name, badge=run_badge(run)
        )

    def _cards(
        self,
        told: Sequence[StepAttempt],
        attempts: Sequence[StepAttempt],
        now: datetime,
        *,
        may_see: bool,
    ) -> list[AttemptCard]:
        numbers = _numbers(attempts)
        deliveries = self._deliveries()
        return [
            self._card(one, numbers[one.pk], deliveries.get(one.pk), now, may_see=may_see)
            for one in told
        ]

    def _card(
        self,
        attempt: Any,
        number: int,
        delivery: SignalDelivery | None,
        now: datetime,
        *,
        may_see: bool,
    ) -> AttemptCard:
        began_at = attempt.started_at or attempt.created_at
        error = self.rules.shown_error(self.request, attempt, attempt.error)
        show = self.rules.shown_payload
        received = delivery is not None and may_see
        return AttemptCard(
            id=attempt.pk,
            step_name=attempt.step_name,
            badge=attempt_badge(attempt),
            kind="" if attempt.kind == StepKind.FUNCTION else attempt.get_kind_display(),
            number=number,
            began_at=began_at,
            took=span_text(max((attempt.finished_at or now) - began_at, timedelta())),
            notes=_notes(attempt),
            is_open=error is not None and attempt.superseded_at is None,
            output=show(self.request, attempt, attempt.short_output) if may_see else None,
            is_too_large=may_see and (attempt.output_size or 0) > LARGEST_SHOWN,
            error=error,
            signal=show(self.request, delivery, delivery.data) if received and delivery else None,
            child_id=attempt.child_workflow_run_id,
        )


def run_is_parked(run: WorkflowRun) -> bool:
    """Whether the run waits for a time, a signal or a child, and holds no worker."""
    is_running = run.status == RunStatus.RUNNING and run.worker_id is None
    return is_running or run.status == RunStatus.SLEEPING


def awaited(attempts: Sequence[StepAttempt]) -> list[str]:
    """Return the addresses that these attempts wait at, in order."""
    waits = (one for one in attempts if one.kind == StepKind.SIGNAL_WAIT)
    contexts = [one.context for one in waits if one.status == StepStatus.RUNNING]
    return [str(context["signal"]) for context in contexts if context and "signal" in context]


def _numbers(attempts: Sequence[StepAttempt]) -> dict[UUID, int]:
    """Number the tries of each step."""
    counts: dict[str, int] = {}
    numbers = {}
    for one in attempts:
        numbers[one.pk] = counts[one.step_name] = counts.get(one.step_name, 0) + 1
    return numbers


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


def fingerprint(run: WorkflowRun, now: datetime) -> str:
    """Return a text that changes when the page of a run would look different.

    Of an active run the timeline grows with time: by about half a percent of its width at once.
    """
    attempts = StepAttempt._base_manager.using(run._state.db).filter(workflow_run=run)
    seen = attempts.aggregate(latest=Max("updated_at"), count=Max("created_at"))
    children = WorkflowRun._base_manager.using(run._state.db).filter(
        parent_step_attempt__workflow_run=run
    )
    below = children.aggregate(latest=Max("updated_at"))
    parts = [run.updated_at, run.status, run.worker_id, *seen.values(), *below.values()]
    if not run.is_terminal:
        grain = max((now - run.created_at) / 200, timedelta(seconds=2))
        parts.append(int((now - run.created_at) / grain))
    return "|".join(map(str, parts))
