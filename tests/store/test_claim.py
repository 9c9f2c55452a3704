"""``Store.claim``: who gets which run, in which order, and at what cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_openworkflow import conf
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import StepKind
from django_openworkflow.store.base import ClaimRequest, Store
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import (
    Lease,
    RunParked,
    RunReleased,
    RunRescheduled,
    StepCompleted,
    StepStarted,
    Verdict,
)
from django_openworkflow.store.postgresql.statements import HOLD_PLANNER
from tests.factories import StepAttemptFactory, WorkflowRunFactory, create_many
from tests.races.rivals import Rival, held_open, requires_row_locks, rivals

pytestmark = pytest.mark.django_db

NAME = "process-order"
SECOND = timedelta(seconds=1)


def request(**options: Any) -> ClaimRequest:
    given: dict[str, Any] = {
        "worker_name": "worker",
        "limit": 10,
        "lease_seconds": 30,
        "workflows": [(NAME, None)],
        **options,
    }
    return ClaimRequest(**given)


def claimed_ids(store: Store, now: datetime | None = None, **options: Any) -> list[UUID]:
    return [claimed.lease.run_id for claimed in store.claim(request(**options), now=now)]


def ago(**span: float) -> datetime:
    return timezone.now() - timedelta(**span)


def expire(lease: Lease) -> None:
    WorkflowRun.objects.filter(pk=lease.run_id).update(available_at=ago(seconds=1))


# --- order --------------------------------------------------------------------------------------


class TestOrder:
    def test_higher_priority_first_then_oldest_due(self, store: Store) -> None:
        runs = {
            name: WorkflowRunFactory.create(priority=priority, available_at=ago(seconds=due))
            for name, priority, due in (
                ("young", 0, 1),
                ("old", 0, 60),
                ("low", -5, 3600),
                ("high, young", 7, 1),
                ("high, old", 7, 5),
                ("highest", 2_147_483_647, 1),
            )
        }
        wanted = ["highest", "high, old", "high, young", "old", "young", "low"]
        assert claimed_ids(store) == [runs[name].pk for name in wanted]

    def test_a_woken_run_is_not_behind_new_ones(self, store: Store) -> None:
        new = [WorkflowRunFactory.create(available_at=ago(seconds=10)) for _ in range(3)]
        woken = WorkflowRunFactory.create(parked=True, available_at=ago(seconds=20))
        crashed = WorkflowRunFactory.create(running=True, available_at=ago(seconds=30))
        assert claimed_ids(store) == [crashed.pk, woken.pk, *(run.pk for run in new)]

    def test_of_equally_old_runs_the_first_one_started(self, store: Store) -> None:
        moment = ago(seconds=5)
        runs = [WorkflowRunFactory.create(available_at=moment) for _ in range(5)]
        assert claimed_ids(store, limit=3) == [run.pk for run in runs[:3]]
        assert claimed_ids(store, limit=3) == [run.pk for run in runs[3:]]

    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 7])
    def test_no_more_than_asked_for_across_priorities(self, store: Store, limit: int) -> None:
        runs = [
            WorkflowRunFactory.create(priority=priority, available_at=ago(seconds=age))
            for priority in (2, 1, 0)
            for age in (9, 8)
        ]
        assert claimed_ids(store, limit=limit) == [run.pk for run in runs[:limit]]

    @pytest.mark.parametrize("limit", [0, -1])
    def test_nothing_for_no_free_slot(self, store: Store, limit: int) -> None:
        WorkflowRunFactory.create()
        assert claimed_ids(store, limit=limit) == []

    def test_higher_priority_first_across_queues(self, store: Store) -> None:
        runs = [
            WorkflowRunFactory.create(queue=queue, priority=priority)
            for queue, priority in (("a", 1), ("b", 3), ("c", 2))
        ]
        assert claimed_ids(store, limit=2) == [runs[1].pk, runs[2].pk]

    def test_oldest_due_first_across_queues(self, store: Store) -> None:
        """A backlog in one queue must not starve another queue of the same priority."""
        for queue in ("a", "m", "z"):
            for _ in range(3):
                WorkflowRunFactory.create(queue=queue, available_at=ago(seconds=1))
        oldest = [
            WorkflowRunFactory.create(queue=queue, available_at=ago(seconds=age))
            for queue, age in (("z", 90), ("a", 80), ("m", 70))
        ]
        assert claimed_ids(store, limit=3) == [run.pk for run in oldest]


# --- which --------------------------------------------------------------------------------------


class TestWhich:
    @pytest.mark.parametrize(
        "trait", ["scheduled", "retrying", "running", "parked", "sleeping_legacy"]
    )
    def test_not_before_it_is_due(self, store: Store, trait: str) -> None:
        run = WorkflowRunFactory.create(**{trait: True})
        assert claimed_ids(store) == []
        far = timezone.now() + timedelta(days=1)
        assert claimed_ids(store, now=far) == [run.pk]

    def test_the_moment_it_is_due(self, store: Store) -> None:
        moment = timezone.now() + timedelta(hours=1)
        run = WorkflowRunFactory.create(available_at=moment)
        assert claimed_ids(store, now=moment - timedelta(milliseconds=1)) == []
        assert claimed_ids(store, now=moment) == [run.pk]

    @pytest.mark.parametrize("trait", ["completed", "succeeded_legacy", "failed", "canceled"])
    def test_never_one_that_has_ended(self, store: Store, trait: str) -> None:
        WorkflowRunFactory.create(**{trait: True})
        assert claimed_ids(store, now=timezone.now() + timedelta(days=400)) == []

    def test_only_of_this_namespace(self, store: Store) -> None:
        WorkflowRunFactory.create(namespace_id="other")
        run = WorkflowRunFactory.create()
        assert claimed_ids(store) == [run.pk]

    def test_only_names_and_versions_that_are_registered(self, store: Store) -> None:
        runs = {
            (name, version): WorkflowRunFactory.create(workflow_name=name, version=version)
            for name in ("a", "b")
            for version in (None, "1", "2")
        }
        known = [("a", None), ("b", "2"), ("b", "3"), ("c", None)]
        assert set(claimed_ids(store, workflows=known)) == {
            runs["a", None].pk,
            runs["b", "2"].pk,
        }
        assert claimed_ids(store, workflows=known) == []
        assert claimed_ids(store, workflows=[]) == []
        assert claimed_ids(store, workflows=[("a", "1")]) == [runs["a", "1"].pk]

    def test_a_version_is_not_a_pattern(self, store: Store) -> None:
        WorkflowRunFactory.create(version="10")
        WorkflowRunFactory.create(version="")
        assert claimed_ids(store, workflows=[(NAME, "1"), (NAME, "%"), (NAME, None)]) == []

    def test_only_of_the_queues_that_are_served(self, store: Store) -> None:
        runs = {queue: WorkflowRunFactory.create(queue=queue) for queue in ("a", "b", "c")}
        assert set(claimed_ids(store, queues=["a", "c"])) == {runs["a"].pk, runs["c"].pk}
        assert claimed_ids(store, queues=["a", "unheard of"]) == []
        assert claimed_ids(store, queues=None) == [runs["b"].pk]

    def test_not_past_its_deadline(self, store: Store) -> None:
        WorkflowRunFactory.create(deadline_at=ago(seconds=1))
        run = WorkflowRunFactory.create(deadline_at=timezone.now() + timedelta(hours=1))
        assert claimed_ids(store) == [run.pk]

    def test_not_at_its_deadline(self, store: Store) -> None:
        moment = timezone.now() + timedelta(hours=1)
        run = WorkflowRunFactory.create(deadline_at=moment)
        assert claimed_ids(store, now=moment) == []
        assert claimed_ids(store, now=moment - timedelta(milliseconds=1)) == [run.pk]


# --- what is written ----------------------------------------------------------------------------


class TestWhatItWrites:
    def test_the_columns_of_the_original(self, store: Store) -> None:
        run = WorkflowRunFactory.create(retrying=True, available_at=ago(seconds=1), input=[1])
        other = WorkflowRunFactory.create(scheduled=True)
        before = WorkflowRun.objects.values().get(pk=run.pk)
        other_before = WorkflowRun.objects.values().get(pk=other.pk)
        moment = timezone.now().replace(microsecond=123_000)
        (claimed,) = store.claim(request(lease_seconds=12.5), now=moment)
        assert WorkflowRun.objects.values().get(pk=run.pk) == {
            **before,
            "status": "running",
            "attempts": before["attempts"] + 1,
            "worker_id": claimed.lease.worker_id,
            "available_at": moment + timedelta(seconds=12.5),
            "started_at": moment,
            "updated_at": moment,
        }
        assert WorkflowRun.objects.values().get(pk=other.pk) == other_before

    def test_the_first_start_stays(self, store: Store) -> None:
        run = WorkflowRunFactory.create(parked=True, available_at=ago(seconds=1))
        store.claim(request())
        assert WorkflowRun.objects.get(pk=run.pk).started_at == run.started_at

    def test_leases_by_the_clock_of_the_database(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        store.claim(request(lease_seconds=30))
        in_time = WorkflowRun.objects.filter(
            pk=run.pk,
            available_at__gt=Now() + timedelta(seconds=25),
            available_at__lte=Now() + timedelta(seconds=30),
        )
        assert in_time.exists()

    def test_what_the_worker_is_told(self, store: Store) -> None:
        parent = WorkflowRunFactory.create(parked=True)
        deadline = timezone.now() + timedelta(hours=1)
        run = WorkflowRunFactory.create(
            child=True,
            parent=parent,
            input={"order": 7},
            context={"traceContext": {"traceparent": "00-1"}},
            version="2",
            failures=3,
            deadline_at=deadline,
        )
        moment = timezone.now()
        (claimed,) = store.claim(request(workflows=[(NAME, "2")]), now=moment)
        told = {
            "lease": Lease(run_id=run.pk, worker_id=claimed.lease.worker_id),
            "workflow_name": NAME,
            "version": "2",
            "input": {"order": 7},
            "context": {"traceContext": {"traceparent": "00-1"}},
            "attempts": 1,
            "failures": 3,
            "created_at": run.created_at,
            "started_at": moment,
            "claimed_at": moment,
            "deadline_at": deadline,
            "parent_run_id": parent.pk,
            "cleanup_of_id": None,
            "is_first": True,
        }
        assert {name: getattr(claimed, name) for name in told} == told
        expire(claimed.lease)
        (again,) = store.claim(request(workflows=[(NAME, "2")]))
        assert (again.attempts, again.is_first) == (2, False)
        assert again.started_at == moment

    def test_a_rollback_gives_the_run_back(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        before = WorkflowRun.objects.values().get(pk=run.pk)
        with undone():
            assert claimed_ids(store) == [run.pk]
        assert WorkflowRun.objects.values().get(pk=run.pk) == before


class Undo(Exception):
    """Rolls a transaction back."""


@contextmanager
def undone() -> Iterator[None]:
    with suppress(Undo), transaction.atomic():
        yield
        raise Undo


# --- the fence ----------------------------------------------------------------------------------


class TestTheFence:
    def test_is_new_for_every_claim_of_one_worker(self, store: Store) -> None:
        """A worker that claims its own run again must not let its older pass write."""
        run = WorkflowRunFactory.create()
        tokens = []
        for _ in range(5):
            (claimed,) = store.claim(request())
            tokens.append(claimed.lease.worker_id)
            assert WorkflowRun.objects.get(pk=run.pk).worker_id == claimed.lease.worker_id
            assert store.apply([RunReleased(lease=claimed.lease)])[0].verdict is Verdict.ACCEPTED
        assert len(set(tokens)) == 5
        assert all(token.startswith("worker:") for token in tokens)

    def test_refuses_the_older_claim_of_the_same_worker(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        (old,) = store.claim(request())
        expire(old.lease)
        (new,) = store.claim(request())
        late = started(old.lease)
        assert store.apply([late])[0].verdict is Verdict.LOST
        assert store.extend([old.lease], 30) == {old.lease: Verdict.LOST}
        assert not StepAttempt.objects.exists()
        assert store.apply([started(new.lease)])[0].verdict is Verdict.ACCEPTED
        assert WorkflowRun.objects.get(pk=run.pk).worker_id == new.lease.worker_id


def started(lease: Lease) -> StepStarted:
    return StepStarted(lease=lease, attempt_id=uuid4(), step_name="charge", kind=StepKind.FUNCTION)


# --- crashes ------------------------------------------------------------------------------------


def counters(run: WorkflowRun) -> tuple[int, int]:
    now = WorkflowRun.objects.get(pk=run.pk)
    return (now.crashes, now.takeovers)


class TestCrashes:
    def test_a_lease_that_ran_out_counts(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        for crashes in range(4):
            (claimed,) = store.claim(request())
            assert counters(run) == (crashes, crashes)
            expire(claimed.lease)

    def test_giving_the_run_back_does_not(self, store: Store) -> None:
        run = WorkflowRunFactory.create()
        (claimed,) = store.claim(request())
        store.apply([RunReleased(lease=claimed.lease)])
        (claimed,) = store.claim(request())
        store.apply([RunParked(lease=claimed.lease, wake_at=ago(seconds=1))])
        (claimed,) = store.claim(request())
        retry = RunRescheduled(lease=claimed.lease, error="{}", delay=timedelta(0), is_failure=True)
        store.apply([retry])
        (claimed,) = store.claim(request())
        assert claimed.attempts == 4
        assert counters(run) == (0, 0)

    def test_progress_forgives_crashes_but_not_take_overs(self, store: Store) -> None:
        run = WorkflowRunFactory.create(running=True, crashes=2, takeovers=2)
        expire(Lease(run_id=run.pk, worker_id=""))
        (claimed,) = store.claim(request())
        assert counters(run) == (3, 3)
        step = started(claimed.lease)
        store.apply([step])
        assert counters(run) == (3, 3)  # a body that began is no progress: it may be what kills
        store.apply([StepCompleted(lease=claimed.lease, attempt_id=step.attempt_id)])
        assert counters(run) == (0, 3)

    def test_a_poison_pill_is_left_to_the_sweep(self, store: Store, settings: Any) -> None:
        settings.OPENWORKFLOW = {"MAX_CRASHES": 3}
        run = WorkflowRunFactory.create()
        for _ in range(3):
            (claimed,) = store.claim(request())
            expire(claimed.lease)
        assert counters(run) == (2, 2)
        assert store.claim(request()) == []
        assert WorkflowRun.objects.get(pk=run.pk).status == "running"

    def test_a_run_that_was_given_back_is_no_poison_pill(self, store: Store) -> None:
        limit = conf.get_settings().MAX_CRASHES
        run = WorkflowRunFactory.create(crashes=limit + 1)
        assert claimed_ids(store) == [run.pk]

    def test_a_claim_forgets_that_nobody_knew_the_workflow(self, store: Store) -> None:
        run = WorkflowRunFactory.create(deferrals=4)
        store.claim(request())
        assert WorkflowRun.objects.get(pk=run.pk).deferrals == 0


# --- locks --------------------------------------------------------------------------------------


@requires_row_locks
@pytest.mark.django_db(transaction=True)
class TestLockedRows:
    @pytest.fixture
    def other(self) -> Iterator[Rival]:
        with rivals("other") as (thread,):
            yield thread

    def test_are_skipped_and_not_waited_for(self, store: Store, other: Rival) -> None:
        busy, *free = (
            WorkflowRunFactory.create(available_at=ago(seconds=age)) for age in (9, 8, 7)
        )

        def lock() -> None:
            WorkflowRun.objects.select_for_update(no_key=True).get(pk=busy.pk)

        with held_open(other, lock) as held:
            assert claimed_ids(store) == [run.pk for run in free]
            held.end(commit=True)
        assert claimed_ids(store) == [busy.pk]

    def test_fill_up_with_what_is_free(self, store: Store, other: Rival) -> None:
        runs = [WorkflowRunFactory.create(available_at=ago(seconds=9 - age)) for age in range(6)]
        busy = [run.pk for run in runs[:4]]

        def lock() -> None:
            list(WorkflowRun.objects.filter(pk__in=busy).select_for_update(no_key=True))

        with held_open(other, lock):
            assert claimed_ids(store, limit=2) == [run.pk for run in runs[4:]]

    @pytest.mark.parametrize(("commit", "left"), [(True, 0), (False, 1)])
    def test_an_open_cancel_is_passed_by(
        self, store: Store, other: Rival, *, commit: bool, left: int
    ) -> None:
        canceled, free = WorkflowRunFactory.create_batch(2)

        with held_open(other, lambda: WorkflowRun.objects.cancel(canceled.pk)) as held:
            assert claimed_ids(store) == [free.pk]
            held.end(commit=commit)
        assert claimed_ids(store) == [canceled.pk][:left]

    def test_an_open_claim_is_passed_by(self, store: Store, other: Rival) -> None:
        runs = WorkflowRunFactory.create_batch(4)
        with held_open(other, lambda: claimed_ids(store_for("default"), limit=2)) as held:
            mine = claimed_ids(store)
            theirs = held.end(commit=True)
        assert sorted([*mine, *theirs]) == sorted(run.pk for run in runs)
        assert len(mine) == len(theirs) == 2


# --- cost ---------------------------------------------------------------------------------------

FINISHED, PARKED, DUE = 20_000, 5_000, 5_000
PRIORITIES = (9, 3, 0, -4)
LIMIT = 10
TABLE = "django_openworkflow_workflowrun"


@dataclass(frozen=True)
class Executed:
    """A statement that a claim has issued, and the plan by which PostgreSQL executes it."""

    sql: str
    plan: dict[str, Any]

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """All nodes of the plan, from the root on."""
        found = [self.plan]
        for node in found:
            found.extend(node.get("Plans", ()))
        return found

    @property
    def picks(self) -> list[Executed]:
        """The parts of the plan that lock rows."""
        locks = [node for node in self.nodes if node["Node Type"] == "LockRows"]
        return [Executed(self.sql, node) for node in locks]

    @property
    def rows_read(self) -> int:
        """How many rows the scans of tables and indexes have looked at, wanted or not."""
        kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        return sum(
            round(sum(node.get(kind, 0) for kind in kinds) * node["Actual Loops"])
            for node in self.nodes
            if "Relation Name" in node or "Index Name" in node
        )

    def faults(self, most_rows: int) -> list[str]:
        """Say what grows with the table, if anything does."""
        # What was picked may be sorted once more, but not what it was picked from.
        found = [
            f"a {node['Node Type']}"
            for node in self.nodes
            if "Sort" in node["Node Type"] and node["Plans"][0]["Actual Rows"] > most_rows
        ]
        found += [
            "a Seq Scan on the runs"
            for node in self.nodes
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] == TABLE
        ]
        if self.rows_read > most_rows:
            found.append(f"{self.rows_read} rows read")
        return [f"{fault} in\n{self.sql}\n{self._outline(self.plan)}" for fault in found]

    def _outline(self, node: dict[str, Any], depth: int = 0) -> str:
        told = [node["Node Type"], node.get("Index Name", ""), f"rows={node['Actual Rows']}"]
        keys = ("Index Cond", "Filter", "Rows Removed by Filter", "Sort Key")
        told.extend(f"{key}: {node[key]}" for key in keys if key in node)
        lines = ["  " * depth + " ".join(text for text in told if text)]
        lines += [self._outline(below, depth + 1) for below in node.get("Plans", ())]
        return "\n".join(lines)


def claim_and_explain(store: Store, **options: Any) -> tuple[int, list[Executed]]:
    """Claim in vain; return how many runs were claimed, and the statements with their plans."""
    with undone(), CaptureQueriesContext(connection) as captured:
        size = len(store.claim(request(**options)))
    issued = [query["sql"] for query in captured.captured_queries if TABLE in query["sql"]]
    return size, [Executed(sql, explain(sql)) for sql in issued]


def explain(sql: str) -> dict[str, Any]:
    with undone(), connection.cursor() as cursor:
        if "SKIP LOCKED" in sql:  # as the claim does before it
            cursor.execute(HOLD_PLANNER)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        value = cursor.fetchone()[0]
    plan: dict[str, Any] = (json.loads(value) if isinstance(value, str) else value)[0]["Plan"]
    return plan


def empty_the_table() -> None:
    """Begin with new files: no dead rows, no statistics. The end of the test undoes it."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"TRUNCATE {TABLE} CASCADE")
    forget_the_columns()


def fill_the_table(
    priorities: Sequence[int] = PRIORITIES,
    *,
    finished: int = FINISHED,
    parked: int = PARKED,
    due: int = DUE,
) -> None:
    """Insert a long history, a crowd that waits, and a backlog, as fast as the database can."""
    values = ", ".join(f"({priority})" for priority in priorities)
    groups = (
        (finished, "'completed', now() - i * interval '1 second', NULL, now()"),
        (parked, "'running', now() - i * interval '1 second', now() + i * interval '1 hour', NULL"),
        (due, "'pending', now() - i * interval '1 hour', now() - i * interval '1 second', NULL"),
    )
    with connection.cursor() as cursor:
        for size, columns in groups:
            cursor.execute(
                f"""
                INSERT INTO {TABLE}
                    (id, workflow_name, priority, status, created_at, available_at, finished_at)
                SELECT gen_random_uuid(), 'process-order', priority, {columns}
                FROM (VALUES {values}) AS used (priority),
                     generate_series(1, {size // len(priorities)}) AS i
                """,  # noqa: S608 - numbers and texts of this file
            )


def forget_the_columns() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM pg_statistic WHERE starelid = %s::regclass", [TABLE])


def analyze_the_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {TABLE}")


STATISTICS = ("none", "of an empty table", "of a small table", "size only", "fresh")


def prepare(statistics: str, *, due: int = DUE) -> None:
    """Fill the table, and let the planner know this much of it.

    "none": never vacuumed nor analyzed, as after a bulk load or an upgrade of the server. "size
    only": vacuumed, but not analyzed. The others: analyzed, now or before the table grew.
    """
    empty_the_table()
    if statistics == "of an empty table":
        analyze_the_table()
    if statistics == "of a small table":
        fill_the_table(finished=40, parked=40, due=min(due, 40))
        analyze_the_table()
    fill_the_table(due=due)
    if statistics in ("fresh", "size only"):
        analyze_the_table()
    if statistics == "size only":
        forget_the_columns()


def each_state_of_statistics() -> list[Any]:
    """Every knowledge that the planner may have of the table, good or bad."""
    return [pytest.param(name) for name in STATISTICS]


@requires_row_locks
class TestCost:
    """Promise: claiming among any number of other rows costs the same as in an empty table."""

    @pytest.mark.parametrize("statistics", each_state_of_statistics())
    @pytest.mark.parametrize("queues", [None, ["default"]], ids=["all queues", "one queue"])
    def test_reads_what_it_takes_and_no_more(
        self, store: Store, queues: list[str] | None, statistics: str
    ) -> None:
        prepare(statistics)
        size, executed = claim_and_explain(store, queues=queues, limit=LIMIT)
        assert size == LIMIT
        faults = [fault for each in executed for fault in each.faults(most_rows=8 * LIMIT)]
        assert not faults, "\n\n".join(faults)
        (pick,) = [pick for each in executed for pick in each.picks]
        assert not any("Sort" in node["Node Type"] for node in pick.nodes)
        used = {node["Index Name"] for node in pick.nodes if "Index Name" in node}
        assert used == {"openworkflow_run_claim"}
        assert pick.rows_read == LIMIT

    @pytest.mark.parametrize("statistics", each_state_of_statistics())
    def test_an_idle_worker_reads_nothing_of_those_who_wait(
        self, store: Store, statistics: str
    ) -> None:
        prepare(statistics, due=0)
        size, executed = claim_and_explain(store, limit=LIMIT)
        assert size == 0
        looks = 4 * len(PRIORITIES)  # for each priority at its first run, and at the next priority
        faults = [fault for each in executed for fault in each.faults(most_rows=looks)]
        assert not faults, "\n\n".join(faults)

    @pytest.mark.parametrize("due", [DUE, 0], ids=["backlog", "idle"])
    def test_takes_few_statements_at_any_number_of_priorities(self, store: Store, due: int) -> None:
        counts = []
        for priorities in (range(2), range(200)):
            empty_the_table()
            fill_the_table(priorities, due=due)
            analyze_the_table()
            with undone(), CaptureQueriesContext(connection) as captured:
                assert len(store.claim(request(limit=LIMIT))) == min(LIMIT, due)
            counts.append(len(captured))
        assert counts[1] <= counts[0] + 5


def test_a_claim_takes_a_few_statements_on_every_database(store: Store) -> None:
    counts = []
    for size in (3, 300):
        create_many(size)
        with undone(), CaptureQueriesContext(connection) as captured:
            assert len(store.claim(request(limit=size))) == size
        counts.append(len(captured))
        WorkflowRun.objects.all().delete()
    assert counts[0] == counts[1]
    assert counts[0] <= 12


def test_the_history_of_many_runs_is_one_statement(
    store: Store, django_assert_num_queries: Callable[[int], Any]
) -> None:
    runs = WorkflowRunFactory.create_batch(3, running=True)
    for run in runs:
        StepAttemptFactory.create_batch(2, workflow_run=run, completed=True)
    with django_assert_num_queries(1):
        histories = store.load_history([run.pk for run in runs])
    assert {pk: len(history) for pk, history in histories.items()} == {run.pk: 2 for run in runs}
