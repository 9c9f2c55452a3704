"""What bounds a drain: where the time of a run goes, for us, the original and the ceiling.

``python -m benchmarks.bounds [--rounds 3]`` drains runs of three trivial steps like ``make bench``,
on the same kind of server, and reads the clocks around it: the CPU time of the worker and of all of
PostgreSQL's processes, how often and how long PostgreSQL waited for the disk, how much it wrote
ahead, and how many transactions it committed. Prints a table of medians per run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psutil

from benchmarks import environments, server
from benchmarks.contestants import CEILING, ORIGINAL, OURS, Bench, System, bench, wait_until
from benchmarks.server import Server

WINDOW_SECONDS: Final = 5.0
_BEGIN_SECONDS: Final = 30.0
_COUNTERS: Final = {
    "commits": "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()",
    "written_kb": "SELECT wal_bytes / 1024 FROM pg_stat_wal",
}
# Since PostgreSQL 18 the writes of the log are counted with all other writes.
_SYNCS: Final = {
    True: "SELECT sum(fsyncs), sum(fsync_time) FROM pg_stat_io WHERE object = 'wal'",
    False: "SELECT wal_sync, wal_sync_time FROM pg_stat_wal",
}
COLUMNS: Final = {
    "per_s": "runs/s",
    "wall_ms": "wall ms",
    "worker_ms": "worker's CPU ms",
    "server_ms": "PostgreSQL's CPU ms",
    "sync_ms": "disk ms",
    "syncs": "disk waits",
    "commits": "commits",
    "written_kb": "WAL KB",
    "busy": "CPUs busy",
}


def main() -> int:
    """Measure all ways in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="ways by a part of their name, a,b")
    options = parser.parse_args()
    environments.install_all()
    wanted = (options.only or "").split(",")
    ways = {name: way for name, way in WAYS.items() if any(part in name for part in wanted)}
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in ways}
    with server.running() as running:
        for _ in range(options.rounds):
            for name, way in ways.items():
                found[name].append(way(running))
                _say(f"{name}: {dict(found[name][-1])}", to=sys.stderr)
    _say("| " + " | ".join(["way", *COLUMNS.values()]) + " |")
    _say("|---|" + "---|" * len(COLUMNS))
    for name, values in found.items():
        medians = (statistics.median(each[column] for each in values) for column in COLUMNS)
        _say("| " + " | ".join([name, *(f"{value:.3g}" for value in medians)]) + " |")
    return 0


def _say(text: str, to: Any = sys.stdout) -> None:
    to.write(text + "\n")
    to.flush()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the clocks and counters say at one moment."""

    at: float
    runs: float
    worker: float
    server: float
    counters: Mapping[str, float]

    def per_run(self, before: Reading) -> dict[str, float]:
        """Return what each run took since an earlier reading."""
        runs, wall = self.runs - before.runs, self.at - before.at
        worker, cpu = self.worker - before.worker, self.server - before.server
        return {
            "per_s": runs / wall,
            "wall_ms": 1000 * wall / runs,
            "worker_ms": 1000 * worker / runs,
            "server_ms": 1000 * cpu / runs,
            "busy": (worker + cpu) / wall,
            **{key: (value - before.counters[key]) / runs for key, value in self.counters.items()},
        }


class Clocks:
    """Reads the clocks of a server on this machine, of one of its databases, and of ``worker``.

    Without one, of the programs that have ended. To be made before the sessions that are measured:
    only those that begin later tell how long they wait for the disk.
    """

    def __init__(self, running: Server, made: Bench) -> None:
        self.worker: psutil.Process | None = None
        self._server, self._database = running, made.system.database
        self._count = made.system.count_completed
        self._is_new = int(running.execute("SHOW server_version_num")[0][0]) >= 180_000
        (lines,) = running.execute("SELECT pg_read_file('postmaster.pid')")[0]
        self._postmaster = psutil.Process(int(lines.split()[0]))
        running.execute(f'ALTER DATABASE "{self._database}" SET track_wal_io_timing = on')

    def read(self, runs: float | None = None) -> Reading:
        """Read everything; a session of the server tells what it counted once a second."""
        if runs is None:
            runs = float(self._ask(self._count)[0])
        at, worker, cpu = time.monotonic(), self._worker_seconds(), self._server_seconds()
        counters = {name: float(self._ask(query)[0]) for name, query in _COUNTERS.items()}
        syncs, milliseconds = self._ask(_SYNCS[self._is_new])
        counters |= {"syncs": float(syncs), "sync_ms": float(milliseconds)}
        return Reading(at, runs, worker, cpu, counters)

    def _ask(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._server.execute(query, database=self._database)[0]
        return row

    def _worker_seconds(self) -> float:
        if self.worker is not None:
            times = self.worker.cpu_times()
            return float(times.user + times.system)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def _server_seconds(self) -> float:
        own = self._postmaster.cpu_times()
        seconds = own.user + own.system + own.children_user + own.children_system
        for child in self._postmaster.children():
            try:
                times = child.cpu_times()
            except psutil.Error:
                continue
            seconds += times.user + times.system
        return float(seconds)


Way = Callable[[Server], dict[str, float]]


def drain(
    system: System,
    concurrency: int,
    *options: str,
    backlog: int = 30_000,
    workflow: str = "three",
) -> Way:
    """Read the clocks while a worker is at work, from some moment after its first step."""

    def measure(running: Server) -> dict[str, float]:
        with bench(system, running) as made:
            made.drive("start-many", "--size", backlog, "--workflow", workflow)
            running.execute("VACUUM ANALYZE", database=system.database)
            clocks = Clocks(running, made)
            with made.workers("--concurrency", concurrency, *options) as (clocks.worker,):
                wait_until(lambda: made.events("S"), seconds=_BEGIN_SECONDS)
                time.sleep(1)
                before = clocks.read()
                time.sleep(WINDOW_SECONDS)
                return clocks.read().per_run(before)

    return measure


def ceiling(way: str, concurrency: int, size: int) -> Way:
    """Read the clocks around raw psycopg; what a program takes to begin is taken off."""

    def measure(running: Server) -> dict[str, float]:
        with bench(CEILING, running, init=False) as made:
            clocks = Clocks(running, made)
            marks = []
            for runs in (concurrency, size):
                marks.append(clocks.read(0))
                rate = made.drive(way, "--concurrency", concurrency, "--size", runs)["per_second"]
                time.sleep(1)
                marks.append(clocks.read(runs))
        begin = marks[1].per_run(marks[0])
        taken = marks[3].per_run(marks[2])
        kept = {
            key: (value * size - begin[key] * concurrency) / (size - concurrency)
            for key, value in taken.items()
        }
        cpu = kept["worker_ms"] + kept["server_ms"]
        return kept | {"per_s": rate, "wall_ms": 1000 / rate, "busy": cpu * rate / 1000}

    return measure


WAYS: Final[dict[str, Way]] = {
    "ours, 1 at a time": drain(OURS, 1),
    "L5, 1 at a time": ceiling("five", 1, 1000),
    "openworkflow, 1 at a time": drain(ORIGINAL, 1, backlog=140),
    "ours, 10": drain(OURS, 10),
    "L5, 10": ceiling("five", 10, 2500),
    "openworkflow, 10": drain(ORIGINAL, 10, backlog=1500),
    "ours, 50": drain(OURS, 50),
    "ours, 50, --pin-cpu": drain(OURS, 50, "--pin-cpu"),
    "L5, 50": ceiling("five", 50, 4000),
    "openworkflow, 50": drain(ORIGINAL, 50, backlog=6000),
    "ours, 200 async": drain(OURS, 200, workflow="three-async"),
}


if __name__ == "__main__":
    sys.exit(main())
