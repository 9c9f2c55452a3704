"""What the package's claim costs on our tables: an index in its own order, and no sort."""

from __future__ import annotations

from typing import Any, Final

import pytest
from django.db import connection

from django_openworkflow.management.interop import CLAIM_INDEX
from tests.store.plans import (
    STATISTICS,
    TABLE,
    Executed,
    each_state_of_statistics,
    explain,
    prepare,
)

# Source: the original's ``backend.ts``, claimWorkflowRun.
CLAIM: Final = """
WITH expired AS (
  UPDATE openworkflow.workflow_runs
  SET "status" = 'failed',
      "error" = '{"message": "Workflow run deadline exceeded"}',
      "worker_id" = NULL,
      "available_at" = NULL,
      "finished_at" = NOW(),
      "updated_at" = NOW()
  WHERE "namespace_id" = 'default'
    AND "status" IN ('pending', 'running', 'sleeping')
    AND "deadline_at" IS NOT NULL
    AND "deadline_at" <= NOW()
  RETURNING "id"
), candidate AS (
  SELECT "id"
  FROM openworkflow.workflow_runs
  WHERE "namespace_id" = 'default'
    AND "status" IN ('pending', 'running', 'sleeping')
    AND "available_at" <= NOW()
    AND ("deadline_at" IS NULL OR "deadline_at" > NOW())
  ORDER BY CASE WHEN "status" = 'pending' THEN 0 ELSE 1 END, "available_at", "created_at"
  LIMIT 1
  FOR UPDATE SKIP LOCKED
)
UPDATE openworkflow.workflow_runs AS wr
SET "status" = 'running',
    "attempts" = "attempts" + 1,
    "worker_id" = 'somebody',
    "available_at" = NOW() + 30000 * INTERVAL '1 millisecond',
    "started_at" = COALESCE("started_at", NOW()),
    "updated_at" = NOW()
FROM candidate
WHERE wr."id" = candidate."id" AND wr."namespace_id" = 'default'
RETURNING wr.*
"""
MOST_ROWS: Final = 10
POSTGRESQL_18: Final = 180000

pytestmark = pytest.mark.usefixtures("views")


def claimed(plan: dict[str, Any]) -> float:
    rows: float = plan["Actual Rows"]
    return rows


def skip_without_statistics(statistics: str) -> None:
    """Skip where a claim reads every run now and then."""
    version: int = getattr(connection, "pg_version", 0)
    if statistics in ("none", "of an empty table") and version >= POSTGRESQL_18:
        pytest.skip("without any statistics PostgreSQL 18 may start from the other table")


# Without the one that a server leaves only for a moment: vacuumed, but not analyzed. PostgreSQL 18
# then takes the due rows to be few, and sorts them.
@pytest.mark.parametrize("statistics", [name for name in STATISTICS if name != "size only"])
def test_a_claim_from_a_backlog_reads_an_index_in_its_order(statistics: str) -> None:
    skip_without_statistics(statistics)
    prepare(statistics)
    executed = Executed(CLAIM, explain(CLAIM))
    assert claimed(executed.plan) == 1
    faults = executed.faults(most_rows=MOST_ROWS)
    assert not faults, "\n\n".join(faults)
    used = {node["Index Name"] for node in executed.nodes if "Index Name" in node}
    assert CLAIM_INDEX in used


@pytest.mark.parametrize("statistics", each_state_of_statistics())
def test_a_claim_in_vain_reads_no_row(statistics: str) -> None:
    prepare(statistics, due=0)
    executed = Executed(CLAIM, explain(CLAIM))
    assert claimed(executed.plan) == 0
    skip_without_statistics(statistics)
    assert executed.rows_read == 0
    assert not [
        node
        for node in executed.nodes
        if node.get("Relation Name") == TABLE and node["Node Type"] == "Seq Scan"
    ]
