"""Everything that the page of one run shows, from a constant number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Max
from django.utils import timezone
from django.utils.formats import number_format

from django_openworkflow import clock
from django_openworkflow.admin import audit
from django_openworkflow.admin.attempts import Cards, open_waits, read_history
from django_openworkflow.admin.badges import run_badge
from django_openworkflow.admin.columns import version_label
from django_openworkflow.admin.pages import may_view
from django_openworkflow.admin.searching import short_id
from django_openworkflow.admin.spans import span_text
from django_openworkflow.admin.timeline import build
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind, StepStatus

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_openworkflow.admin.attempts import History
    from django_openworkflow.admin.badges import Badge
    from django_openworkflow.admin.secrecy import PayloadRules

MOST_CHILDREN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLink:
    """Another run, to be linked to."""

    id: UUID
    short_id: str
    name: str
    badge: Badge


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
        history = read_history(self.run, self.visible.db)
        run, began_at = self.run, self.run.started_at or history.began_at
        compress = self.request.GET.get("waits") == "short"
        return {
            "run": run,
            "badge": run_badge(run),
            "version": version_label(run.version),
            "worker": (run.worker_id or "").rpartition(":")[0] or run.worker_id,
            "took": _took(run, began_at, now),
            "is_waiting_until": run.available_at if run_is_parked(run) else None,
            "not_before": run.available_at if _is_scheduled(run, now) else None,
            "awaited": awaited(
                open_waits(run, self.visible.db) if history.unread else history.attempts
            ),
            "timeline": build(
                run,
                history.attempts,
                now,
                compress=compress,
                began_at=history.began_at,
                told={one.pk for one in history.told},
            ),
            "is_compressed": compress,
            "more_attempts": history.untold,
            "more_attempts_text": number_format(history.untold, force_grouping=True),
            "may_view_attempts": may_view(self.rules, self.request, StepAttempt),
            "parent": self._parent(),
            "cleans_up": self._link(run.cleanup_of) if run.cleanup_of_id else None,
            "children": [self._link(child) for child in self._children()],
            "cancel": audit.cancel_of(run),
            "audit_entries": list(audit.entries_of(run)),
            **self._payloads(history, now),
        }

    def _payloads(self, history: History, now: datetime) -> dict[str, Any]:
        run, request, rules = self.run, self.request, self.rules
        may_see = rules.has_view_payload_permission(request, run)
        cards = Cards(
            history=history,
            request=request,
            rules=rules,
            now=now,
            run_began_at=run.started_at or history.began_at or run.created_at,
            may_see=may_see,
        )
        return {
            "may_see_payloads": may_see,
            "error": rules.shown_error(request, run, run.error),
            "input": rules.shown_payload(request, run, run.input) if may_see else None,
            "output": rules.shown_payload(request, run, run.output) if may_see else None,
            "attempts": cards.told(self.visible.db),
        }

    # --- what is read ---------------------------------------------------------------------------

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

    # --- what is shown --------------------------------------------------------------------------

    def _link(self, run: Any) -> RunLink:
        return RunLink(
            id=run.pk, short_id=short_id(run.pk), name=run.workflow_name, badge=run_badge(run)
        )


def _took(run: WorkflowRun, began_at: datetime | None, now: datetime) -> str:
    """Return how long the run took so far; a dash for one that nobody has begun."""
    if began_at is None and not run.is_terminal:
        return span_text(None)
    return span_text((run.finished_at or now) - (began_at or run.created_at))


def _is_scheduled(run: WorkflowRun, now: datetime) -> bool:
    """Whether no worker may take the run yet: it was started for later, or waits for a retry."""
    is_later = run.available_at is not None and run.available_at > now
    return run.status == RunStatus.PENDING and is_later


def run_is_parked(run: WorkflowRun) -> bool:
    """Whether the run waits for a time, a signal or a child, and holds no worker."""
    is_running = run.status == RunStatus.RUNNING and run.worker_id is None
    return is_running or run.status == RunStatus.SLEEPING


def awaited(attempts: Sequence[StepAttempt]) -> list[str]:
    """Return the addresses that these attempts wait at, in order."""
    waits = (one for one in attempts if one.kind == StepKind.SIGNAL_WAIT)
    contexts = [one.context for one in waits if one.status == StepStatus.RUNNING]
    return [str(context["signal"]) for context in contexts if context and "signal" in context]


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
