"""What a cancel by an operator did, or would do, to the runs that were chosen.

Shared by the command line and the admin: both may be given millions of runs that ended long ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Case, Count, F, When

from django_openworkflow.states import ACTIVE, TERMINAL, CancelSource, RunStatus
from django_openworkflow.transitions import chunks

if TYPE_CHECKING:
    from django_openworkflow.querysets import CancelOutcome, WorkflowRunQuerySet


@dataclass(slots=True, kw_only=True)
class Report:
    """The outcome for each run; ``ended`` counts by status those that need not be named."""

    dry_run: bool
    canceled: list[UUID] = field(default_factory=list)
    already_canceled: list[UUID] = field(default_factory=list)
    skipped: dict[UUID, str] = field(default_factory=dict)
    children_canceled: list[UUID] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)

    def add(self, pk: UUID | None, status: str, count: int = 1) -> None:
        """File ``count`` runs of this status that were not canceled, or one by its id."""
        if pk is None:
            self.ended[status] += count
        elif status == RunStatus.CANCELED:
            self.already_canceled.append(pk)
        else:
            self.skipped[pk] = status

    def add_outcome(self, outcome: CancelOutcome) -> None:
        """File what ``cancel_active`` did."""
        self.canceled += outcome.canceled
        self.already_canceled += outcome.already_canceled
        self.skipped |= outcome.skipped
        self.children_canceled += outcome.children_canceled

    def named(self) -> set[UUID]:
        """Return the ids of all chosen runs whose outcome is known."""
        return {*self.canceled, *self.already_canceled, *self.skipped}

    def already_count(self) -> int:
        """Return how many chosen runs had been canceled before."""
        return len(self.already_canceled) + self.ended[RunStatus.CANCELED]

    def skipped_counts(self) -> dict[str, int]:
        """Return how many chosen runs had ended otherwise, by status, as far as there are any."""
        counts = Counter(self.skipped.values()) + self.ended
        kinds = [kind for kind in TERMINAL if kind != RunStatus.CANCELED]
        return {kind.value: counts[kind] for kind in kinds if counts[kind]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """A cancel as it was asked for. ``named``: report runs that ended long ago by id, too."""

    reason: str
    actor: object
    cascade: bool
    named: bool
    source: CancelSource = CancelSource.COMMAND

    def preview(self, runs: WorkflowRunQuerySet) -> Report:
        """Say what ``carry_out`` would do, without a lock and without a write."""
        report = Report(dry_run=True)
        for pk, status, count in self._survey(runs):
            if status in ACTIVE and pk is not None:
                report.canceled.append(pk)
            else:
                report.add(pk, status, count)
        report.canceled.sort()
        if self.cascade:
            roots = {*report.canceled, *report.already_canceled}
            below = _statuses(runs, runs.descendant_ids(roots))
            report.children_canceled += [pk for pk, status in below if status in ACTIVE]
        return report

    def carry_out(self, runs: WorkflowRunQuerySet) -> Report:
        """Cancel, in one transaction.

        Only runs that a cancel can touch are locked, not the history: its runs are looked up in
        one statement before. A run that ends between the two is looked up again.
        """
        survey = self._survey(runs)
        outcome = runs.filter(status__in=self._touched()).cancel_active(
            reason=self.reason, actor=self.actor, cascade=self.cascade, source=self.source
        )
        report = Report(dry_run=False)
        report.add_outcome(outcome)
        locked = report.named()
        missed = []
        for pk, status, count in survey:
            if pk in locked:
                continue
            if status in ACTIVE and pk is not None:
                missed.append(pk)
            else:
                report.add(pk, status, count)
        for pk, status in _statuses(runs, missed):
            if status in TERMINAL:
                report.add(pk, status)
        return report

    def _survey(self, runs: WorkflowRunQuerySet) -> list[tuple[UUID | None, str, int]]:
        """Read (id, status, 1) of the runs to be named and (None, status, count) of the others.

        One statement, so that each run is seen once and in one state.
        """
        key = F("pk") if self.named else Case(When(status__in=self._touched(), then=F("pk")))
        return list(
            runs.order_by()
            .annotate(named_id=key)
            .values_list("named_id", "status")
            .annotate(count=Count("pk"))
        )

    def _touched(self) -> tuple[RunStatus, ...]:
        """Return the statuses that matter: a cascade starts at canceled runs as well."""
        return (*ACTIVE, RunStatus.CANCELED) if self.cascade else ACTIVE


def _statuses(runs: WorkflowRunQuerySet, ids: Iterable[UUID]) -> Iterable[tuple[UUID, str]]:
    for chunk in chunks(sorted(ids)):
        yield from runs.unfiltered().filter(pk__in=chunk).order_by("pk").values_list("pk", "status")
