"""What is measured: each function takes one measurement of one system on a fresh database."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contestants import (
    OURS,
    Bench,
    Failed,
    System,
    bench,
    resident,
    wait_until,
)
from benchmarks.drivers.driver import quantile

if TYPE_CHECKING:
    from benchmarks.server import Server

Values = dict[str, float]

_BEGIN_SECONDS: Final = 30.0
_END_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
# Each look counts rows on the CPUs that are being measured: few of them, but for the end.
_SELDOM_SECONDS: Final = 0.5
_NEAR_THE_END: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Where and how thoroughly to measure. ``scale`` is that of the big table."""

    server: Server
    window_seconds: float = 6.0
    idle_seconds: float = 10.0
    samples: int = 60
    scale: float = 1.0


Measure = Callable[[Arena], Values]


# --- drains -------------------------------------------------------------------------------------


def drain(
    system: System,
    concurrency: int,
    *,
    backlog: int,
    workflow: str = "three",
    processes: int = 1,
    options: tuple[object, ...] = (),
) -> Measure:
    """Measure how fast workers get through a backlog, from the first step on."""

    def measure(arena: Arena) -> Values:
        with bench(system, arena.server) as made:
            made.drive("start-many", "--size", backlog, "--workflow", workflow)
            arena.server.execute("VACUUM ANALYZE", database=system.database)
            chosen = ("--concurrency", concurrency, *options)
            return _drained(made, arena, backlog, chosen, processes)

    return measure


def _drained(
    made: Bench, arena: Arena, backlog: int, options: tuple[object, ...], processes: int
) -> Values:
    counted = _counter(made, arena.server)
    before = counted()
    with made.workers(*options, processes=processes) as workers:
        wait_until(lambda: made.events("S"), seconds=_BEGIN_SECONDS)
        began_at = min(event.at for event in made.events("S"))
        peak, done, now = 0, 0, began_at
        while done < backlog and now - began_at < arena.window_seconds:
            is_ending = done > _NEAR_THE_END * backlog
            time.sleep(_LOOK_SECONDS if is_ending else _SELDOM_SECONDS)
            peak = max(peak, resident(workers))
            done, now = counted() - before, time.time()
    if not done:
        message = "no run was completed"
        raise Failed(message)
    return {"per_second": done / (now - began_at), "peak_mb": peak / 2**20}


def _counter(made: Bench, server: Server) -> Callable[[], int]:
    statement, database = made.system.count_completed, made.system.database
    return lambda: int(server.execute(statement, database=database)[0][0])


def ceiling(way: str, concurrency: int, size: int) -> Measure:
    """Measure what raw psycopg reaches."""
    from benchmarks.contestants import CEILING

    def measure(arena: Arena) -> Values:
        with bench(CEILING, arena.server, init=False) as made:
            return made.drive(way, "--concurrency", concurrency, "--size", size)

    return measure


def drain_sqlite(system: System, concurrency: int, *, backlog: int) -> Measure:
    """Measure a drain on SQLite, where a worker's process does all the work."""

    def measure(arena: Arena) -> Values:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            path = Path(folder) / "bench.sqlite3"
            made = Bench(system, f"sqlite:///{path}")
            made.drive("init")
            made.drive("start-many", "--size", backlog)
            with made.workers("--concurrency", concurrency):
                wait_until(lambda: made.events("S"), seconds=_BEGIN_SECONDS)
                time.sleep(arena.window_seconds)
                # The file is the worker's: who counts rows in it meanwhile slows it down. The
                # last step's start is at most a run in flight away from the last completion.
                events = made.events("S")
        seconds = max(event.at for event in events) - min(event.at for event in events)
        return {"per_second": (len(events) - 1) / seconds}

    return measure


# --- starts and cancels -------------------------------------------------------------------------


def drive(system: System, verb: str, size: int) -> Measure:
    """Measure what the driver itself measures."""

    def measure(arena: Arena) -> Values:
        with bench(system, arena.server) as made:
            return made.drive(verb, "--size", size)

    return measure


def latency(system: System, *, concurrency: int = 10, settle_seconds: float = 3.0) -> Measure:
    """Measure from the call that starts a run to its first step, by an idle worker."""

    def measure(arena: Arena) -> Values:
        with bench(system, arena.server) as made:
            with made.workers("--concurrency", concurrency):
                time.sleep(settle_seconds)
                made.drive("latency", "--size", arena.samples, "--gap-seconds", 0.05)
                wait_until(lambda: len(made.events("S")) >= arena.samples, seconds=_END_SECONDS)
            delays = [1000 * (event.at - float(event.moment)) for event in made.events("S")]
        return {"p50_ms": quantile(delays, 0.5), "p95_ms": quantile(delays, 0.95)}

    return measure


def cancel_running(system: System, workflow: str = "loop", *, runs: int = 5) -> Measure:
    """Measure how long steps of 50 ms go on after a cancel was called."""

    def measure(arena: Arena) -> Values:
        with bench(system, arena.server) as made:
            with made.workers("--concurrency", 10):
                time.sleep(2)
                made.drive("cancel-running", "--size", runs, "--workflow", workflow, logged=True)
            return _stops(made)

    return measure


def _stops(made: Bench) -> Values:
    stops, overruns = [], []
    returned = {event.moment: event.at for event in made.events("D")}
    for called in made.events("C"):
        own = [event.at for event in made.events("L") if event.moment == called.moment]
        if own and min(own) < called.at:
            stops.append(max(0.0, max(own) - called.at))
            # The first to end after the cancel has committed was in flight; the others were not.
            later = [at for at in own if at > returned[called.moment]]
            overruns.append(max(later) - min(later) if later else 0.0)
    if not stops:
        message = "no run was canceled while its steps ran"
        raise Failed(message)
    return {"stop_ms": 1000 * statistics.median(stops), "overrun_ms": 1000 * max(overruns)}


# --- one long run -------------------------------------------------------------------------------


def five_hundred(system: System) -> Measure:
    """Measure 500 steps one after the other, and the way back over them after a sleep."""

    def measure(arena: Arena) -> Values:
        with bench(system, arena.server) as made:
            made.drive("start-many", "--size", 1, "--workflow", "five-hundred")
            with made.workers("--concurrency", 10):
                wait_until(lambda: made.events("E"), seconds=_END_SECONDS)
            began = [event.at for event in made.events("F")]
            paused = [event.at for event in made.events("P")]
            values = {
                "step_ms": 1000 * (paused[0] - began[0]) / 500,
                "replay_ms": 1000 * (paused[-1] - began[-1]),
            }
            if system is OURS:
                values["replay_ms"] += _store(made, "history")["select_ms"]
        return values

    return measure


def _store(made: Bench, verb: str) -> Values:
    """Ask our own store something, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.drivers.django_openworkflow_store", verb, made.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_END_SECONDS)
    if done.returncode:
        raise Failed(done.stderr.strip()[-800:])
    values: Values = json.loads(done.stdout)
    return values


# --- what it costs ------------------------------------------------------------------------------


def idle(system: System, *, concurrency: int = 50, settle_seconds: float = 12.0) -> Measure:
    """Measure what a worker costs that has nothing to do.

    A session tells what it has committed when it has been idle for ten seconds, at the latest: what
    was done at the start must have been told before.
    """

    def measure(arena: Arena) -> Values:
        with bench(system, arena.server) as made, made.workers("--concurrency", concurrency) as own:
            time.sleep(settle_seconds)
            commits, cpu, began = _reading(arena, made, own[0])
            time.sleep(arena.idle_seconds)
            commits_now, cpu_now, now = _reading(arena, made, own[0])
        seconds = now - began
        return {
            "commits_per_second": (commits_now - commits) / seconds,
            "cpu_percent": 100 * (cpu_now - cpu) / seconds,
        }

    return measure


def _reading(arena: Arena, made: Bench, worker: Any) -> tuple[int, float, float]:
    """Read the counters; a session of the server tells its own at most once a second."""
    time.sleep(1.1)
    times = worker.cpu_times()
    return arena.server.commits(made.system.database), times.user + times.system, time.monotonic()


def bare_process(arena: Arena) -> Values:
    """Measure the memory of a Django process that has asked the database one thing."""
    with bench(OURS, arena.server) as made:
        return _store(made, "bare")


# --- the big table ------------------------------------------------------------------------------

_BIG: Final = "bench_big"
_FINISHED, _PARKED, _DUE = 1_000_000, 100_000, 100_000
# In the order of time, as real ids are. Autovacuum is kept away, so that "before ANALYZE" is true.
_FILL: Final = """
INSERT INTO django_openworkflow_workflowrun
    (id, workflow_name, status, input, attempts, created_at, started_at, available_at, finished_at)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex({first} + number), 12, '0'))::uuid,
       'three', {columns}
  FROM generate_series(1, {size}) AS number
"""
_GROUPS: Final = (
    (_FINISHED, "'completed', '{\"moment\": 1}', 1, now() - interval '2 days', now(), NULL, now()"),
    (
        _PARKED,
        "'running', '{\"moment\": 1}', 1, now(), now(), now() + interval '1 day', NULL",
    ),
    (_DUE, "'pending', '{\"moment\": 1}', 0, now() - interval '1 hour', NULL, now(), NULL"),
)


def big_table(*, is_full: bool, is_analyzed: bool) -> Measure:
    """Measure a drain in a table with a long history and a crowd that waits, or in an empty one."""

    def measure(arena: Arena) -> Values:
        with _big_bench(arena, is_full=is_full) as made:
            if is_analyzed:
                arena.server.execute("VACUUM ANALYZE", database=OURS.database)
            claims = _store(made, "claims") if is_full else {}
            values = _drained(made, arena, round(_DUE * arena.scale), ("--concurrency", 50), 1)
        return {**values, **claims}

    return measure


@contextmanager
def _big_bench(arena: Arena, *, is_full: bool) -> Iterator[Bench]:
    server = arena.server
    if not is_full:
        with bench(OURS, server) as made:
            _fill(server, OURS.database, arena.scale, groups=_GROUPS[-1:])
            yield made
        return
    exists = "SELECT 1 FROM pg_database WHERE datname = %s"
    if not server.execute(exists, [_BIG]):
        with bench(OURS, server):
            _fill(server, OURS.database, arena.scale, groups=_GROUPS)
            server.execute(f"ALTER DATABASE {OURS.database} RENAME TO {_BIG}")
    server.drop(OURS.database)
    server.execute(f"CREATE DATABASE {OURS.database} TEMPLATE {_BIG}")
    try:
        yield Bench(OURS, server.database_url(OURS.database))
    finally:
        server.drop(OURS.database)


def _fill(server: Server, database: str, scale: float, groups: tuple[tuple[int, str], ...]) -> None:
    for table in ("workflowrun", "stepattempt"):
        statement = f"ALTER TABLE django_openworkflow_{table} SET (autovacuum_enabled = false)"
        server.execute(statement, database=database)
    first = 0
    for size, columns in groups:
        count = round(size * scale)
        statement = _FILL.format(first=first, columns=columns, size=count)
        server.execute(statement, database=database)
        first += count


def forget_big_table(server: Server) -> None:
    """Drop what the lines about the big table share."""
    server.drop(_BIG)
