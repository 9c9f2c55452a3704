"""``Store.claim``: at what cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_openworkflow.models import WorkflowRun
from tests.factories import StepAttemptFactory, WorkflowRunFactory, create_many
from tests.races.rivals import requires_row_locks
from tests.rollbacks import undone
from tests.store.claims import request
from tests.store.plans import (
    DUE,
    LIMIT,
    PRIORITIES,
    analyze_the_table,
    claim_and_explain,
    each_state_of_statistics,
    empty_the_table,
    fill_the_table,
    prepare,
)

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

pytestmark = pytest.mark.django_db


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
