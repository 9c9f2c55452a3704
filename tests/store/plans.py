"""Tables of every size with statistics of every age, and what PostgreSQL makes of a claim there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_openworkflow.store.postgresql.statements import HOLD_PLANNER
from tests.rollbacks import undone
from tests.store.claims import request

if TYPE_CHECKING:
    from django_openworkflow.store.base import Store

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
    return size, [Executed(sql, explain(sql, is_claim="SKIP LOCKED" in sql)) for sql in issued]


def explain(sql: str, *, is_claim: bool = False) -> dict[str, Any]:
    """Execute a statement and return its plan; a claim of ours holds the planner before it."""
    with undone(), connection.cursor() as cursor:
        if is_claim:
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
