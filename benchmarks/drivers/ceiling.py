"""The ceiling: what raw psycopg reaches on the same server, with no product around it.

``five``: each thread claims one run, writes three steps and completes it, in five commits (L5).
``wave``: one connection takes fifty runs at a time and writes each of their steps with one
statement (Lw): what shared commits could reach if Python cost nothing.
Prints runs per second, and fails unless every run was completed with its three steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import Any, Final

import psycopg

_TABLES: Final = """
DROP TABLE IF EXISTS step;
DROP TABLE IF EXISTS run;
CREATE TABLE run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    status smallint NOT NULL DEFAULT 0,
    worker text,
    input jsonb,
    output jsonb,
    available_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX run_claim ON run (available_at, id) WHERE status IN (0, 1);
CREATE TABLE step (
    run_id bigint NOT NULL,
    name text NOT NULL,
    output jsonb,
    started_at timestamptz,
    finished_at timestamptz DEFAULT now(),
    PRIMARY KEY (run_id, name)
);
"""
_FILL: Final = """
INSERT INTO run (name, input) SELECT 'three', '{"v": 1}' FROM generate_series(1, %s)
"""
_CLAIM: Final = """
UPDATE run SET status = 1, worker = %s, available_at = now() + interval '30 s'
 WHERE id = ANY(ARRAY(
       SELECT id FROM run WHERE status IN (0, 1) AND available_at <= now()
        ORDER BY available_at, id LIMIT %s FOR UPDATE SKIP LOCKED))
RETURNING id
"""
_STEP: Final = """
INSERT INTO step (run_id, name, output, started_at)
SELECT id, %s, '{"v": 1}', now() FROM run WHERE id = %s AND worker = %s AND status = 1
"""
_COMPLETE: Final = """
UPDATE run SET status = 2, output = '{"v": 1}', finished_at = now(), worker = NULL
 WHERE id = %s AND worker = %s AND status = 1
"""
_STEPS: Final = """
INSERT INTO step (run_id, name, output, started_at)
SELECT run.id, %s, '{"v": 1}', now() FROM run
 WHERE run.id = ANY(%s) AND worker = %s AND status = 1
"""
_COMPLETE_ALL: Final = """
WITH last AS (
    INSERT INTO step (run_id, name, output, started_at)
    SELECT run.id, 'c', '{"v": 1}', now() FROM run
     WHERE run.id = ANY(%s) AND worker = %s AND status = 1
    RETURNING run_id
)
UPDATE run SET status = 2, output = '{"v": 1}', finished_at = now(), worker = NULL
  FROM last WHERE run.id = last.run_id
"""
_COUNT: Final = """
SELECT (SELECT count(*) FROM run WHERE status = 2), (SELECT count(*) FROM step)
"""
_WAVE: Final = 50


def main() -> int:
    """Measure one way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=["five", "wave"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=1)
    options = parser.parse_args()
    with psycopg.connect(options.url, autocommit=True) as connection:
        connection.execute(_TABLES)
        connection.execute(_FILL, [options.size])
        connection.execute("VACUUM ANALYZE run")
        work = {"five": _five, "wave": _wave}[options.way]
        threads = [
            threading.Thread(target=work, args=(options.url, f"worker-{number}"))
            for number in range(options.concurrency)
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        counted = connection.execute(_COUNT).fetchone()
    if counted != (options.size, 3 * options.size):
        sys.stderr.write(f"of {options.size} runs, completed and steps: {counted}\n")
        return 1
    sys.stdout.write(json.dumps({"per_second": options.size / seconds}) + "\n")
    return 0


def _connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url, autocommit=True, prepare_threshold=1)


def _five(url: str, worker: str) -> None:
    with _connect(url) as connection:
        while row := connection.execute(_CLAIM, [worker, 1]).fetchone():
            for name in "abc":
                connection.execute(_STEP, [name, row[0], worker])
            connection.execute(_COMPLETE, [row[0], worker])


def _wave(url: str, worker: str) -> None:
    with _connect(url) as connection:
        while rows := connection.execute(_CLAIM, [worker, _WAVE]).fetchall():
            ids = [row[0] for row in rows]
            for name in "ab":
                connection.execute(_STEPS, [name, ids, worker])
            connection.execute(_COMPLETE_ALL, [ids, worker])


if __name__ == "__main__":
    sys.exit(main())
