"""The portable store, written with the ORM: it serves every database that Django does.

PostgreSQL overrides the hot verbs. One call is one short transaction on the connection that the
calling thread has under the alias; the ledger lends it a private one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from django.db import connections
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from django_openworkflow import clock, conf
from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import ACTIVE, RunStatus
from django_openworkflow.store import histories
from django_openworkflow.store.applying import Turn
from django_openworkflow.store.levels import due_levels
from django_openworkflow.store.operations import (
    Attempt,
    ClaimedRun,
    Lease,
    Operation,
    Receipt,
    Verdict,
)
from django_openworkflow.store.suspects import crashes_below, suspect_at, with_one_suspect
from django_openworkflow.store.turns import TurnRows
from django_openworkflow.transactions import write_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from django.db.models import QuerySet

    from django_openworkflow.querysets import WorkflowRunQuerySet

_CLAIMED: Final = (
    "pk",
    "workflow_name",
    "version",
    "input",
    "context",
    "attempts",
    "crashes",
    "failures",
    "created_at",
    "started_at",
    "deadline_at",
    "cleanup_of_id",
    "cleanup_attempt_id",
    "cleanup_of__created_at",
    "cleanup_of__started_at",
    "parent_step_attempt__workflow_run_id",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a worker has room for and knows: ``queues`` None means every queue.

    ``takes_suspect``: whether a run may be among them that the next crash would fail. Never two.
    """

    worker_name: str
    limit: int
    lease_seconds: float
    workflows: Collection[tuple[str, str | None]]
    queues: Sequence[str] | None = None
    takes_suspect: bool = True

    @property
    def is_open(self) -> bool:
        """Whether there is any run that it could be answered with."""
        return self.limit > 0 and bool(self.workflows)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """What one turn of a worker's ledger has written and found.

    ``receipts`` answer the operations in their order, ``verdicts`` the leases; ``claimed`` are the
    runs it took, and ``histories`` their saved attempts and those of runs they clean up after.
    """

    receipts: list[Receipt] = field(default_factory=list)
    verdicts: dict[Lease, Verdict] = field(default_factory=dict)
    claimed: list[ClaimedRun] = field(default_factory=list)
    histories: dict[UUID, list[Attempt]] = field(default_factory=dict)


class Store:
    """The verbs of a worker on one database, in the configured namespace."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._namespace = conf.namespace()

    @property
    def runs(self) -> WorkflowRunQuerySet:
        """All runs of the namespace on this store's database."""
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self.using).all()
        return runs

    def _by_id(self, ids: Collection[UUID]) -> QuerySet[WorkflowRun]:
        """Return runs whose ids were found within the namespace.

        Naming the namespace again beside the ids tempts PostgreSQL, before it has statistics, to
        read a second index in full.
        """
        return self.runs.unfiltered().filter(pk__in=ids)

    # --- claim ----------------------------------------------------------------------------------

    def claim(self, request: ClaimRequest, *, now: datetime | None = None) -> list[ClaimedRun]:
        """Claim up to ``limit`` due runs: higher priority first, then oldest due first.

        Takes only names and versions that the worker knows, and rows that nobody has locked. A row
        that still names a worker is taken over from a crash; one that has crashed too often is left
        to the sweep, and of those at their last chance at most one is taken; see ``suspects``.
        Source: the original's ``claimWorkflowRun``, for the columns written.
        """
        if not request.is_open:
            return []
        with write_transaction(self.using):
            return self._claim(request, now)

    def _claim(self, request: ClaimRequest, now: datetime | None) -> list[ClaimedRun]:
        worker_id = f"{request.worker_name}:{uuid4()}"
        ids = self._pick(request, now)
        if not ids:
            return []
        self._take(ids, worker_id, timedelta(seconds=request.lease_seconds), now)
        claimed_at = now or clock.read(self.using)
        rows = {row["pk"]: row for row in self._by_id(ids).values(*_CLAIMED)}
        return [_claimed_run(rows[pk], worker_id, claimed_at) for pk in ids]

    def _pick(self, request: ClaimRequest, now: datetime | None) -> list[UUID]:
        """Lock due runs, range by range of the claim index: no range reads what is not due.

        Queues that share a priority share the slots too: the oldest due of all of them come first.
        """
        picked: list[tuple[datetime, UUID, int]] = []
        for priority, queues in due_levels(self.using, request.queues, now):
            free = request.limit - len(picked)
            due = [row for name in queues for row in self._lock_due(request, name, priority, now)]
            picked.extend(sorted(due)[:free])
            if len(picked) == request.limit:
                break
        return with_one_suspect((pk, crashes) for _, pk, crashes in picked)

    def _lock_due(
        self, request: ClaimRequest, queue: str, priority: int, now: datetime | None
    ) -> list[tuple[datetime, UUID, int]]:
        features = connections[self.using].features
        rows = (
            self._claimable(request, now)
            .filter(queue=queue, priority=priority)
            .order_by("available_at", "pk")
            .select_for_update(
                no_key=features.has_select_for_no_key_update,
                skip_locked=features.has_select_for_update_skip_locked,
            )
        )
        return list(rows.values_list("available_at", "pk", "crashes_so_far")[: request.limit])

    def _claimable(self, request: ClaimRequest, now: datetime | None) -> WorkflowRunQuerySet:
        moment = clock.moment(now)
        poisoned = Q(worker_id__isnull=False, crashes__gte=conf.get_settings().MAX_CRASHES - 1)
        due: WorkflowRunQuerySet = self.runs.due(now).annotate(crashes_so_far=_one_more("crashes"))
        return due.filter(
            ~poisoned,
            Q(crashes_so_far__lt=crashes_below(request)),
            Q(deadline_at__isnull=True) | Q(deadline_at__gt=moment),
            _knows(request.workflows),
        )

    def _take(
        self, ids: list[UUID], worker_id: str, lease: timedelta, now: datetime | None
    ) -> None:
        self._by_id(ids).update(
            status=RunStatus.RUNNING,
            attempts=F("attempts") + 1,
            worker_id=worker_id,
            available_at=clock.moment(now, plus=lease),
            started_at=Coalesce(F("started_at"), clock.moment(now)),
            updated_at=clock.moment(now),
            deferrals=0,
            crashes=_one_more("crashes"),
            takeovers=_one_more("takeovers"),
        )

    # --- the rest of a worker's life ------------------------------------------------------------

    def take_turn(
        self,
        operations: Sequence[Operation],
        *,
        claim: ClaimRequest | None = None,
        leases: Iterable[Lease] = (),
        lease_seconds: float = 0.0,
        now: datetime | None = None,
    ) -> TurnResult:
        """Write operations, extend leases and claim for free slots in one transaction.

        In this order: a run that an operation ends or parks frees its slot before the claim. Never
        waits for a row lock. See ``apply``, ``extend``, ``claim`` and ``load_history``.
        """
        wanted = list(leases)
        with write_transaction(self.using):
            receipts = self._apply(operations, wait=False) if operations else []
            verdicts = self._extend(wanted, lease_seconds, now) if wanted else {}
            claimed = self._claim(claim, now) if claim is not None and claim.is_open else []
            resumed = {run.lease.run_id for run in claimed if not run.is_first}
            originals = {run.cleanup_of_id for run in claimed if run.cleanup_of_id is not None}
            histories = self.load_history(resumed | originals) if resumed | originals else {}
        return TurnResult(
            receipts=receipts, verdicts=verdicts, claimed=claimed, histories=histories
        )

    def apply(self, operations: Sequence[Operation], *, wait: bool = False) -> list[Receipt]:
        """Write the operations of many runs in one transaction; see ``Turn``."""
        with write_transaction(self.using):
            return self._apply(operations, wait=wait)

    def _apply(self, operations: Sequence[Operation], *, wait: bool) -> list[Receipt]:
        return Turn(TurnRows(self.using), operations, wait=wait).write()

    def load_history(self, run_ids: Collection[UUID]) -> dict[UUID, list[Attempt]]:
        """Return the step attempts of these runs in replay order; see ``histories``."""
        return histories.load(self.using, run_ids)

    def is_completed(self, attempt_id: UUID) -> bool:
        """Whether an attempt has completed, by what is committed now."""
        return histories.is_completed(self.using, attempt_id)

    def was_canceled(self, run_id: UUID) -> bool:
        """Whether a run is canceled, by what is committed now."""
        return histories.was_canceled(self.using, run_id)

    def extend(
        self, leases: Iterable[Lease], lease_seconds: float, *, now: datetime | None = None
    ) -> dict[Lease, Verdict]:
        """Extend leases from now on; answer for each whether it is still held.

        ``BUSY``: held, but somebody has locked the row, so it was not extended this time.
        """
        with write_transaction(self.using):
            return self._extend(list(leases), lease_seconds, now)

    def _extend(
        self, wanted: Sequence[Lease], lease_seconds: float, now: datetime | None
    ) -> dict[Lease, Verdict]:
        ids = {lease.run_id for lease in wanted}
        locked = set(dict(self.runs.lock_runs(ids, skip_locked=True)))
        rows = self._by_id(ids).values_list("pk", "worker_id", "status")
        owners = {pk: (owner, status) for pk, owner, status in rows}
        kept = {
            lease.run_id
            for lease in wanted
            if owners.get(lease.run_id) == (lease.worker_id, RunStatus.RUNNING)
        }
        self._by_id(locked & kept).update(
            available_at=clock.moment(now, plus=timedelta(seconds=lease_seconds)),
            updated_at=clock.moment(now),
        )
        return {
            lease: verdict_of_lease(
                lease, *owners.get(lease.run_id, (None, None)), locked=lease.run_id in locked
            )
            for lease in wanted
        }

    def seconds_until_due(
        self, workflows: Collection[tuple[str, str | None]], queues: Sequence[str] | None
    ) -> float | None:
        """Return in how many seconds the next run for such a worker is due; None for never."""
        runs = self.runs if queues is None else self.runs.filter(queue__in=queues)
        due_at = (
            runs.filter(_knows(workflows), status__in=ACTIVE, worker_id__isnull=True)
            .order_by("available_at")
            .values_list("available_at", flat=True)
            .first()
        )
        return None if due_at is None else (due_at - clock.read(self.using)).total_seconds()


def _one_more(column: str) -> Case:
    """Count a run that still names a worker: it has lost it."""
    return Case(When(worker_id__isnull=False, then=F(column) + 1), default=F(column))


def _knows(workflows: Collection[tuple[str, str | None]]) -> Q:
    """Match the names and versions a worker has registered."""
    versions: dict[str | None, list[str]] = {}
    for name, version in sorted(workflows, key=str):
        versions.setdefault(version, []).append(name)
    known = Q(Value(value=False)) if not versions else Q()
    for version, names in versions.items():
        same = Q(version__isnull=True) if version is None else Q(version=version)
        known |= same & Q(workflow_name__in=names)
    return known


def _claimed_run(row: dict[str, Any], worker_id: str, claimed_at: datetime) -> ClaimedRun:
    return ClaimedRun(
        lease=Lease(run_id=row["pk"], worker_id=worker_id),
        workflow_name=row["workflow_name"],
        version=row["version"],
        input=row["input"],
        context=row["context"],
        attempts=row["attempts"],
        failures=row["failures"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        claimed_at=claimed_at,
        deadline_at=row["deadline_at"],
        parent_run_id=row["parent_step_attempt__workflow_run_id"],
        cleanup_of_id=row["cleanup_of_id"],
        cleanup_attempt_id=row["cleanup_attempt_id"],
        original_created_at=row["cleanup_of__created_at"],
        original_started_at=row["cleanup_of__started_at"],
        is_first=row["attempts"] == 1,
        is_suspect=row["crashes"] >= suspect_at(),
    )


def verdict_of_lease(
    lease: Lease, owner: str | None, status: str | None, *, locked: bool
) -> Verdict:
    """Judge a lease by its run's row; without the row's lock it was not extended."""
    if (owner, status) == (lease.worker_id, RunStatus.RUNNING):
        return Verdict.ACCEPTED if locked else Verdict.BUSY
    return Verdict.CANCELED if status == RunStatus.CANCELED else Verdict.LOST
