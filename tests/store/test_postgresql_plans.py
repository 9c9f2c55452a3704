"""The plans of a turn on PostgreSQL: look-ups by key, which no table outgrows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, transaction

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.store.base import Store
from django_openworkflow.store.factory import store_for
from tests.factories import StepAttemptFactory, create_many
from tests.store.plans import STATISTICS, empty_the_table, prepare

if connection.vendor != "postgresql" or type(store_for(DEFAULT_DB_ALIAS)) is Store:
    pytest.skip("the store of PostgreSQL is not in use", allow_module_level=True)

from django_openworkflow.packets.wire import Query
from django_openworkflow.store.postgresql import statements
from django_openworkflow.store.postgresql.claiming import CLAIM

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["django_openworkflow"])

_WRITES = (
    "START",
    "RESUME",
    "END",
    "FORGIVE",
    "RESCHEDULE",
    "RELEASE",
    "PARK",
    "WAKE_IF_IT_HAPPENED",
    "COMPLETE",
    "FAIL",
)
HOT = {name: getattr(statements, name).fenced for name in _WRITES} | {
    "CLAIM": CLAIM.fenced,
    "FENCE": statements.FENCE,
    "EXTEND": statements.EXTEND,
    "HISTORY": statements.HISTORY,
    "HISTORY_OF_CLAIMED": statements.HISTORY_OF_CLAIMED,
}
# What is looked up in an index by its first columns.
_LOOKED_UP = re.compile(
    r"^\(*(id|workflow_run_id|child_workflow_run_id|queue"
    r"|(namespace_id = \S+ AND \()?step_attempt_id)\b"
)


def planned(sql: str) -> Iterator[dict[str, Any]]:
    """Yield the nodes of the plan that a turn makes once and keeps, whatever the parameters."""
    query = Query(sql)
    nulls = ", ".join("NULL" for _ in query.names)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.PREPARE, {"is_relaxed": False})
        cursor.execute("SET LOCAL enable_hashjoin = off")
        cursor.execute(f"PREPARE hot AS {query.sql.decode()}".replace("%", "%%"), ())
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE hot{f'({nulls})' if nulls else ''}")
        (value,) = cursor.fetchone()
        cursor.execute("DEALLOCATE hot")
    nodes = [value[0]["Plan"]]
    for node in nodes:
        yield node
        nodes.extend(node.get("Plans", ()))


@pytest.mark.parametrize("statistics", ["empty", *STATISTICS])
def test_a_plan_that_is_kept_looks_rows_up_by_key(statistics: str) -> None:
    """Also one that was made when there were no rows: it is kept while the table grows."""
    if statistics != "empty":
        prepare(statistics)
    check_plans()


@pytest.mark.parametrize(("runs", "steps"), [(0, 0), (1, 0), (1, 300), (100, 3)])
def test_a_plan_made_from_a_small_table_with_fresh_statistics_does_too(
    runs: int, steps: int
) -> None:
    """Reading an index from end to end seems cheaper there, for nothing in it is running."""
    empty_the_table()
    for run in create_many(runs, completed=True):
        StepAttemptFactory.create_batch(steps, workflow_run=run, completed=True)
    with connection.cursor() as cursor:
        for model in (WorkflowRun, StepAttempt, SignalDelivery):
            cursor.execute(f"ANALYZE {model._meta.db_table}")
    check_plans()


def check_plans() -> None:
    for name, sql in HOT.items():
        for node in planned(sql):
            told = f"{name}: {node}"
            assert node["Node Type"] != "Seq Scan", told
            if "Relation Name" in node and "Index Name" in node:
                where = node.get("Index Cond", "")
                walks = node["Index Name"] == "openworkflow_run_claim"
                assert walks or _LOOKED_UP.search(where), told
            if node["Node Type"] == "LockRows" and name == "CLAIM":
                (below,) = node["Plans"]
                assert below["Index Name"] == "openworkflow_run_claim", told  # and so no sort
