"""How long the admin's pages ask the database, with millions of runs.

    DATABASE_URL=postgres://… python -m benchmarks.admin --runs 2000000

Makes the runs in a scratch schema of the database (kept with ``--keep``, found again by the next
call), opens each page as a superuser, and prints the number of queries and the time that the
database took for them: the median of several visits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

import django

SCHEMA: Final = "openworkflow_benchmark_admin"
GOAL_MS: Final = 200.0
VISITS: Final = 5

# Runs of ten workflows over thirty days: most ended well, a twentieth did not, a twentieth sleeps.
_FILL: Final = """
INSERT INTO django_openworkflow_workflowrun
       (id, namespace_id, workflow_name, version, status, config, input, output, attempts,
        worker_id, available_at, started_at, finished_at, created_at, updated_at, idempotency_key)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
         || lpad(to_hex(n %% 4096), 3, '0') || '8' || substr(md5(n::text), 1, 15))::uuid,
       'default', 'workflow-' || (n %% 10), 'v' || (n %% 3), status, '{}', '{"order": 1}',
       CASE WHEN status = 'completed' THEN '{"ok": true}'::jsonb END, 1,
       CASE WHEN status = 'completed' OR (status = 'running' AND n %% 1000 = 7) THEN 'w:' || n END,
       CASE WHEN status IN ('pending', 'running') THEN now() + interval '1 hour' END,
       at, CASE WHEN status NOT IN ('pending', 'running') THEN at + interval '2 seconds' END,
       at, at, 'key-' || n
  FROM (SELECT n, now() - n * (interval '30 days' / %(runs)s) AS at,
               CASE WHEN n %% 20 = 3 THEN 'failed' WHEN n %% 50 = 4 THEN 'canceled'
                    WHEN n %% 20 = 7 THEN 'running' WHEN n %% 500 = 9 THEN 'pending'
                    ELSE 'completed' END AS status
          FROM generate_series(1, %(runs)s) AS n) AS made
"""
_CHILDREN: Final = """
WITH parents AS (
    SELECT id FROM django_openworkflow_workflowrun ORDER BY created_at LIMIT 1000
), steps AS (
    INSERT INTO django_openworkflow_stepattempt
           (id, namespace_id, workflow_run_id, step_name, kind, status, config)
    SELECT gen_random_uuid(), 'default', id, 'child', 'workflow', 'running', '{}' FROM parents
    RETURNING id
)
UPDATE django_openworkflow_workflowrun AS run
   SET parent_step_attempt_id = pair.step, parent_step_attempt_namespace_id = 'default'
  FROM (SELECT s.id AS step, r.id AS run
          FROM (SELECT id, row_number() OVER () AS n FROM steps) AS s
          JOIN (SELECT id, row_number() OVER () AS n
                  FROM (SELECT id FROM django_openworkflow_workflowrun
                         ORDER BY created_at OFFSET 2000 LIMIT 1000) AS later) AS r USING (n)
       ) AS pair
 WHERE run.id = pair.run
"""


def main() -> int:
    """Fill the tables if need be, measure, and print; 1 when a page misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000_000)
    parser.add_argument("--keep", action="store_true", help="leave the rows for the next call")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    from django.conf import settings

    database = settings.DATABASES["default"]
    if "postgresql" not in database["ENGINE"]:
        sys.exit("This benchmark needs PostgreSQL: set DATABASE_URL.")
    database["OPTIONS"]["options"] = f"-c search_path={SCHEMA}"
    settings.ALLOWED_HOSTS = ["testserver"]
    with schema(keep=options.keep):
        fill(options.runs)
        slow = measure()
    return 1 if slow else 0


@contextmanager
def schema(*, keep: bool) -> Iterator[None]:
    """Provide the tables, and take them away again."""
    from django.core.management import call_command
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    call_command("migrate", verbosity=0)
    try:
        yield
    finally:
        if not keep:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def fill(runs: int) -> None:
    """Insert the rows, unless an earlier call has left as many."""
    from django.db import connection, transaction

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_openworkflow_workflowrun")
        if cursor.fetchone()[0] == runs:
            return
        print(f"Inserting {runs:,} runs", flush=True)  # noqa: T201
        with transaction.atomic():
            cursor.execute("TRUNCATE django_openworkflow_workflowrun CASCADE")
            cursor.execute(_FILL, {"runs": runs})
            cursor.execute(_CHILDREN)
        cursor.execute("VACUUM ANALYZE")


def measure() -> list[str]:
    """Visit each page and print what it took; return the pages that took too long."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    users = get_user_model().objects
    user = users.filter(username="bench").first() or users.create_superuser("bench")
    client = Client()
    client.force_login(user)
    slow = []
    print(f"{'page':<34}{'queries':>8}{'database ms':>13}{'slowest query ms':>18}")  # noqa: T201
    for name, address in pages().items():
        counts, totals, slowest = zip(*(visit(client, address) for _ in range(VISITS)), strict=True)
        total = statistics.median(totals)
        is_slow = total > GOAL_MS
        mark = "  SLOW" if is_slow else ""
        print(  # noqa: T201
            f"{name:<34}{counts[-1]:>8}{total:>13.1f}{statistics.median(slowest):>18.1f}{mark}",
            flush=True,
        )
        slow += [name] if is_slow else []
    return slow


def visit(client: Any, address: str) -> tuple[int, float, float]:
    """Open a page; return how many queries it made and what they took."""
    from django.db import connection

    took: list[tuple[float, str]] = []

    def timed(execute: Any, sql: str, *rest: Any) -> Any:
        began = perf_counter()
        try:
            return execute(sql, *rest)
        finally:
            took.append((1000 * (perf_counter() - began), sql))

    with connection.execute_wrapper(timed):
        response = client.get(address)
    if response.status_code != 200:
        sys.exit(f"{address} answered {response.status_code}")
    if os.environ.get("SHOW_SQL"):
        print(max(took)[1][:2000], flush=True)  # noqa: T201
    return len(took), sum(span for span, _ in took), max(took)[0]


def pages() -> dict[str, str]:
    """Return the pages by name."""
    from django.urls import reverse

    from django_openworkflow.models import WorkflowRun

    runs = WorkflowRun.objects.order_by("-created_at")
    newest, middle = runs[0], runs[runs.count() // 2]
    base = "admin:django_openworkflow_workflowrun_"
    listed = reverse(f"{base}changelist")
    queries = {
        "": "list",
        "?p=200": "list, last page",
        **{f"?status={state}": f"status {state}" for state in _STATES},
        "?workflow=workflow-3": "workflow",
        "?version=v1": "version",
        "?workflow=workflow-3&version=v1": "workflow and version",
        "?workflow=workflow-3&status=failed": "workflow and status",
        "?created=24h": "created in 24 hours",
        "?created=7d&status=failed": "failed in 7 days",
        "?parent=yes": "child runs",
        "?parent=no": "without a parent",
        f"?q={str(middle.pk)[:8]}": "search: first 8 characters",
        f"?q={middle.pk}": "search: id",
        "?q=key-4711": "search: key",
        "?q=workflow-": "search: beginning of all names",
        "?q=workflow-7": "search: name",
        "?q=nothing-like-it": "search: nothing",
        "?workflow=none": "workflow without runs",
    }
    return {
        **{name: listed + query for query, name in queries.items()},
        "run": reverse(f"{base}change", args=[newest.pk]),
        "overview, 6 h": reverse(f"{base}overview"),
        "overview, 24 h": reverse(f"{base}overview") + "?window=24h",
        "start a run": reverse(f"{base}start_run"),
        "attempts": reverse("admin:django_openworkflow_stepattempt_changelist"),
    }


_STATES: Final = ("pending", "running", "sleeping", "completed", "failed", "canceled")

if __name__ == "__main__":
    sys.exit(main())
