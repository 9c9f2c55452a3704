"""K15: a claim costs the same before a hundred thousand runs, and beside an old snapshot."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection

from benchmarks.reliability.arena import Arena, Findings
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import RunCompleted

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_openworkflow.store.operations import ClaimedRun

_ROUNDS: Final = 100
_FEW: Final = 2_000
_GROWTH: Final = 2.0  # a noisy machine: what grows with the backlog grows by fifty
_FILL: Final = """
INSERT INTO django_openworkflow_workflowrun
    (id, namespace_id, workflow_name, status, config, available_at)
SELECT gen_random_uuid(), 'default', 'backlog', 'pending', '{}', now() - i * interval '1 ms'
FROM generate_series(1, %s) AS i
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``churn`` runs are claimed and completed while the old snapshot is held."""

    backlog: int
    churn: int
    limit_ms: float
    limit_ms_beside_a_snapshot: float


SIZES: Final = {
    "small": Plan(backlog=20_000, churn=200, limit_ms=1e3, limit_ms_beside_a_snapshot=1e3),
    "full": Plan(backlog=100_000, churn=10_000, limit_ms=10, limit_ms_beside_a_snapshot=50),
}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Measure claims of ten, then hold a snapshot, churn, and measure again."""
    _fill(_FEW)
    among_few = statistics.median(_claim_milliseconds())
    _fill(plan.backlog)
    fresh = _claim_milliseconds()
    with psycopg.connect(arena.url) as other:
        other.execute("SET default_transaction_isolation = 'repeatable read'")
        other.commit()
        other.execute("SELECT count(*) FROM django_openworkflow_stepattempt")  # takes the snapshot
        _churn(plan.churn)
        beside_a_snapshot = _claim_milliseconds()
    return Findings(
        facts={
            "backlog": plan.backlog,
            "median_ms_among_few": round(among_few, 2),
            "median_ms": round(statistics.median(fresh), 2),
            "p99_ms": _p99(fresh),
            "churn_under_the_snapshot": plan.churn,
            "p99_ms_beside_a_snapshot": _p99(beside_a_snapshot),
        },
        wrong={"plans_that_sort_or_scan": _bad_plans()},
        late={
            "grows_with_the_backlog": int(statistics.median(fresh) > _GROWTH * among_few),
            "p99_beyond_the_limit": int(_p99(fresh) > plan.limit_ms),
            "p99_beyond_the_limit_beside_a_snapshot": int(
                _p99(beside_a_snapshot) > plan.limit_ms_beside_a_snapshot
            ),
        },
    )


def _fill(count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_FILL, [count])
        cursor.execute("ANALYZE django_openworkflow_workflowrun")


def _claim(limit: int = 10) -> list[ClaimedRun]:
    request = ClaimRequest(
        worker_name="claimer", limit=limit, lease_seconds=600, workflows=[("backlog", None)]
    )
    return store_for(DEFAULT_DB_ALIAS).claim(request)


def _claim_milliseconds() -> list[float]:
    _claim()  # the first one finds a cold cache and an unprepared statement
    found = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        _claim()
        found.append((time.perf_counter() - began) * 1000)
    return found


def _p99(milliseconds: list[float]) -> float:
    return round(sorted(milliseconds)[len(milliseconds) * 99 // 100], 2)


def _churn(count: int) -> None:
    store = store_for(DEFAULT_DB_ALIAS)
    for _ in range(0, count, 100):
        store.apply(
            [
                RunCompleted(lease=run.lease, parent_run_id=None, output=None)
                for run in _claim(limit=100)
            ]
        )


def _bad_plans() -> int:
    """Count the statements of a claim whose plan reads the whole table of runs or sorts it."""
    statements: list[tuple[Any, Any]] = []

    def note(execute: Callable[..., Any], sql: Any, params: Any, *rest: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(note):
        _claim()
    bad = 0
    for sql, params in statements:
        if "workflowrun" in str(sql) and str(sql).lstrip().startswith(("SELECT", "WITH")):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                text = "\n".join(row[0] for row in cursor.fetchall())
            bad += "Seq Scan on django_openworkflow_workflowrun" in text
    return bad
