"""Delete runs that ended long ago, and all that belongs to them, in small batches.

Each batch is a transaction of its own and a bounded number of statements, none of which walks over
rows one by one. Locks are only taken, never waited for: what somebody else holds stays for another
time, so that several of these may be at work beside the workers.
Lock order: runs, then step attempts, then signal deliveries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, models
from django.db.models import CASCADE, SET_NULL, Count

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import ACTIVE, TERMINAL
from django_openworkflow.transactions import in_write_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from django_openworkflow.querysets import WorkflowRunQuerySet

# Step attempts in one batch, give or take one run: a few runs may have very many.
MOST_ATTEMPTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction deleted. ``last``: where the next begins; None when there is none."""

    last: UUID | None
    runs: Counter[str] = field(default_factory=Counter)  # by status
    cleanup_runs: int = 0
    step_attempts: int = 0
    signal_deliveries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doomed:
    """Runs that may be deleted now, by id; ``owners`` maps their clean-up runs to them."""

    statuses: dict[UUID, str]
    owners: dict[UUID, UUID]

    def family(self) -> list[UUID]:
        """Return the ids of all runs, clean-up runs included."""
        return [*self.statuses, *self.owners]

    def without(self, kept: Collection[UUID]) -> _Doomed:
        """Leave out these runs and their clean-up runs."""
        return _Doomed(
            statuses={pk: kind for pk, kind in self.statuses.items() if pk not in kept},
            owners={pk: owner for pk, owner in self.owners.items() if owner not in kept},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Deletes runs of these statuses that ended at ``finished_before`` or earlier.

    Kept are the child of an active parent, and a run whose clean-up run is active or ended later
    than that. Clean-up runs go with the run that they clean up after, never alone: a retry of that
    run reads there what has been undone. Rows of the project's own that refer to a run are treated
    as their ``on_delete`` says if that is ``CASCADE`` or ``SET_NULL``; otherwise they keep it.
    """

    using: str
    finished_before: datetime
    statuses: Collection[str] = TERMINAL
    batch: int = 500  # runs
    dry_run: bool = False

    def batches(self) -> Iterator[Batch]:
        """Delete batch after batch, in ascending id, until all runs have been looked at once.

        Not reading on stops between two transactions. ``dry_run`` only says what would be done.
        """
        after: UUID | None = None
        while (batch := self.next_batch(after)).last is not None:
            yield batch
            after = batch.last

    def next_batch(self, after: UUID | None) -> Batch:
        """Delete the next batch above this id in a transaction of its own."""
        if self.dry_run:
            return self._batch(after)
        return in_write_transaction(self.using, lambda: self._batch(after))

    def _batch(self, after: UUID | None) -> Batch:
        picked = self._within_size(self._pick(after))
        if not picked:
            return Batch(last=None)
        doomed = self._with_cleanups(picked)
        doomed = doomed.without(self._held_back(doomed))
        doomed = doomed.without(self._referred_to(doomed))
        if not doomed.statuses:
            return Batch(last=max(picked))
        count = self._count if self.dry_run else self._delete
        return Batch(
            last=max(picked),
            runs=Counter(doomed.statuses.values()),
            cleanup_runs=len(doomed.owners),
            **count(doomed),
        )

    # --- which runs -----------------------------------------------------------------------------

    def _pick(self, after: UUID | None) -> dict[UUID, str]:
        """Lock old runs that nobody else holds; what follows keeps some of them."""
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self.using).all()
        rows: QuerySet[WorkflowRun] = runs.filter(
            status__in=self.statuses,
            finished_at__lte=self.finished_before,
            created_at__lte=self.finished_before,  # true as well, and in the index
            cleanup_of__isnull=True,
        ).order_by("pk")
        if after is not None:
            rows = rows.filter(pk__gt=after)
        if not self.dry_run:  # not "no key": nobody may begin to refer to these rows
            features = connections[self.using].features
            rows = rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        return dict(rows.values_list("pk", "status")[: self.batch])

    def _within_size(self, picked: dict[UUID, str]) -> dict[UUID, str]:
        """Keep the first runs with at most so many step attempts together, but at least one."""
        sizes = dict(
            self._attempts(picked)
            .order_by()
            .values_list("workflow_run")
            .annotate(size=Count("pk"))
            .values_list("workflow_run", "size")
        )
        total = 0
        chosen: dict[UUID, str] = {}
        for pk, status in picked.items():
            total += sizes.get(pk, 0)
            if chosen and total > MOST_ATTEMPTS:
                break
            chosen[pk] = status
        return chosen

    def _with_cleanups(self, picked: dict[UUID, str]) -> _Doomed:
        """Add clean-up runs that ended as long ago; leave out runs with another one."""
        owners: dict[UUID, UUID] = {}
        kept: set[UUID] = set()
        level = {pk: pk for pk in picked}
        while level:  # a clean-up run that was canceled itself may have one, too
            rows = self._runs.filter(cleanup_of__in=list(level))
            found = list(rows.values_list("pk", "cleanup_of_id", "status", "finished_at"))
            level = {pk: level[of] for pk, of, _, _ in found}
            owners |= level
            kept |= {
                level[pk]
                for pk, _, status, ended in found
                if status in ACTIVE or ended is None or ended > self.finished_before
            }
        return _Doomed(statuses=picked, owners=owners).without(kept)

    def _held_back(self, doomed: _Doomed) -> set[UUID]:
        """Return runs with an active parent, or with a relative whose row somebody else holds.

        From here on all rows that the deletion writes to are ours.
        """
        parents, children = self._parents(doomed.family()), self._children(doomed.family())
        relatives = {other for _, other in (*parents, *children)} | doomed.owners.keys()
        statuses = doomed.statuses | self._lock(relatives - doomed.statuses.keys())
        lost = {pk for pk, other in (*parents, *children) if other not in statuses}
        lost |= {pk for pk, parent in parents if statuses.get(parent) in ACTIVE}
        lost |= {pk for pk in doomed.owners if statuses.get(pk) not in TERMINAL}
        return {doomed.owners.get(pk, pk) for pk in lost}

    def _parents(self, family: list[UUID]) -> list[tuple[UUID, UUID]]:
        """Return pairs of a run and its parent: each of the two may name the other."""
        named_by_child = self._runs.filter(pk__in=family, parent_step_attempt__isnull=False)
        named_by_parent = StepAttempt._base_manager.using(self.using).filter(
            child_workflow_run__in=family
        )
        return [
            *named_by_child.values_list("pk", "parent_step_attempt__workflow_run"),
            *named_by_parent.values_list("child_workflow_run", "workflow_run"),
        ]

    def _children(self, family: list[UUID]) -> list[tuple[UUID, UUID]]:
        """Return pairs of a run and a child of it."""
        rows = self._runs.filter(parent_step_attempt__workflow_run__in=family)
        return list(rows.values_list("parent_step_attempt__workflow_run", "pk"))

    def _lock(self, ids: Collection[UUID]) -> dict[UUID, str]:
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self.using).all()
        if self.dry_run:
            return dict(self._runs.filter(pk__in=list(ids)).values_list("pk", "status"))
        return dict(runs.lock_runs(ids, skip_locked=True))

    def _referred_to(self, doomed: _Doomed) -> set[UUID]:
        """Return runs that rows of the project's own want to keep."""
        family = doomed.family()
        kept: set[UUID] = set()
        for relation in _project_relations():
            if relation.on_delete not in (CASCADE, SET_NULL):
                rows = self._referring(relation, family)
                kept.update(rows.values_list(relation.field.attname, flat=True))
        return {doomed.owners.get(pk, pk) for pk in kept}

    # --- what is done to them -------------------------------------------------------------------

    def _delete(self, doomed: _Doomed) -> dict[str, int]:
        """Let go of all pointers to the runs, then delete from the leaves to the root."""
        family = doomed.family()
        attempts = self._attempts(family)
        self._runs.filter(parent_step_attempt__in=attempts.values("pk")).update(
            parent_step_attempt=None, parent_step_attempt_namespace_id=None
        )
        StepAttempt._base_manager.using(self.using).filter(child_workflow_run__in=family).update(
            child_workflow_run=None, child_workflow_run_namespace_id=None
        )
        for relation in _project_relations():
            rows = self._referring(relation, family)
            if relation.on_delete is CASCADE:
                rows.delete()
            elif relation.on_delete is SET_NULL:
                rows.update(**{relation.field.name: None})
        deleted = {
            "signal_deliveries": self._deliveries(family)._raw_delete(self.using),
            "step_attempts": attempts._raw_delete(self.using),
        }
        for ids in (list(doomed.owners), list(doomed.statuses)):
            self._runs.filter(pk__in=ids)._raw_delete(self.using)
        return deleted

    def _count(self, doomed: _Doomed) -> dict[str, int]:
        family = doomed.family()
        return {
            "signal_deliveries": self._deliveries(family).count(),
            "step_attempts": self._attempts(family).count(),
        }

    # --- rows -----------------------------------------------------------------------------------

    @property
    def _runs(self) -> QuerySet[WorkflowRun]:
        return WorkflowRun._base_manager.using(self.using)

    def _attempts(self, runs: Iterable[UUID]) -> QuerySet[StepAttempt]:
        return StepAttempt._base_manager.using(self.using).filter(workflow_run__in=list(runs))

    def _deliveries(self, runs: Iterable[UUID]) -> QuerySet[SignalDelivery]:
        return SignalDelivery._base_manager.using(self.using).filter(workflow_run__in=list(runs))

    def _referring(self, relation: Any, runs: list[UUID]) -> QuerySet[Any]:
        rows: QuerySet[Any] = relation.related_model._base_manager.using(self.using)
        return rows.filter(**{f"{relation.field.name}__in": runs})


def _project_relations() -> list[Any]:
    """Return the relations to runs that models of the project's own declare."""
    ours = WorkflowRun._meta.app_config
    return [
        relation
        for relation in WorkflowRun._meta.get_fields(include_hidden=True)
        if isinstance(relation, models.ManyToOneRel)
        and relation.related_model._meta.app_config is not ours
    ]
