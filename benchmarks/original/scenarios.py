"""Each trouble, and in words what the original made of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.original.site import Site
from benchmarks.reliability.arena import wait_until
from benchmarks.reliability.clocks import compile_clock
from benchmarks.reliability.proxy import Proxy, Weather

if TYPE_CHECKING:
    from benchmarks.reliability.cluster import Cluster

_LEASE_SECONDS: Final = 30  # fixed in the original


def kills(cluster: Cluster, folder: Path) -> str:
    """Kill five workers over their runs; before that, no fault at all."""
    with Site(cluster, folder, "beside") as calm:
        calm.call("start", "beside", "1")
        calm.work()
        wait_until(lambda: calm.runs()["completed"] == 1, seconds=60)
        calls, twice = max(calm.effects().values()), calm.doubled()
    runs = 60
    with Site(cluster, folder, "kills") as site:
        site.call("start", "steps", str(runs))
        site.work()
        for _ in range(5):
            worker = site.work()
            time.sleep(1.5)
            worker.kill()
        ended = wait_until(lambda: site.runs()["completed"] == runs, seconds=5 * _LEASE_SECONDS)
        extra = sum(times - 1 for times in site.effects().values())
        found = site.runs()
    words = "all" if ended else f"{found['completed']} of {runs}"
    return (
        f"{words} runs of {runs} completed after 5 kills, {site.doubled()} steps completed twice, "
        f"{extra} extra calls of bodies; without any fault a step beside a sleep was called "
        f"{calls} times and {twice} step completed twice"
    )


def cuts(cluster: Cluster, folder: Path) -> str:
    """Cut all connections every half second for ten seconds."""
    runs = 60
    with Site(cluster, folder, "cuts") as site:
        site.call("start", "steps", str(runs))
        site.work()
        site.work()
        wait_until(lambda: bool(site.effects()), seconds=30)
        for _ in range(20):
            cluster.cut_connections(site.database)
            time.sleep(0.5)

        def ended() -> bool:
            for worker in site.workers:
                if worker.poll() is not None:  # a supervisor starts it again
                    site.workers.remove(worker)
                    site.work()
            found = site.runs()
            return found["completed"] + found["failed"] == runs

        wait_until(ended, seconds=3 * _LEASE_SECONDS)
        found, doubled = site.runs(), site.doubled()
        failed = site.query(
            "SELECT count(*) FROM openworkflow.step_attempts WHERE status = 'failed'"
        )[0][0]
    return (
        f"{found['completed']} of {runs} runs completed, {found['failed']} failed for good, "
        f"{failed} step attempts failed, {doubled} steps completed twice"
    )


def canceled(cluster: Cluster, folder: Path) -> str:
    """Cancel a run that waits, then send its signal."""
    with Site(cluster, folder, "canceled") as site:
        (run_id,) = site.call("start", "wait", "1")
        site.work()
        waits = "SELECT count(*) FROM openworkflow.step_attempts WHERE kind = 'signal-wait'"
        wait_until(lambda: site.query(waits)[0][0] == 1, seconds=30)
        time.sleep(1)
        received = site.call("cancel-and-send", run_id)
    return f"a signal sent after the cancel counts {len(received)} canceled run as its receiver"


def wakes(cluster: Cluster, folder: Path) -> str:
    """Send signals over slow connections while runs begin to wait and park."""
    runs = 40
    with Site(cluster, folder, "wakes") as site:
        ids = site.call("start", "wait", str(runs))
        slow, slow_to_commit = Proxy(cluster.port, seed=1), Proxy(cluster.port, seed=2)
        slow.weather = Weather(delayed_share=1, longest_delay_seconds=0.1)
        slow_to_commit.weather = Weather(commit_delay_seconds=0.2)
        site.work(url=cluster.url(site.database, port=slow.port))
        site.call("send", *ids, url=cluster.url(site.database, port=slow_to_commit.port))
        wait_until(lambda: site.runs()["completed"] == runs, seconds=30)
        lost = site.query(
            "SELECT count(*) FROM openworkflow.workflow_runs"
            " WHERE status = 'running' AND worker_id IS NULL"
            " AND available_at > now() + interval '1 day'"
        )[0][0]
        slow.close()
        slow_to_commit.close()
    return f"{lost} of {runs} runs that have received their signal sleep on for 364 days"


def values(cluster: Cluster, folder: Path) -> str:
    """Return values that JSON cannot keep, and raise an error that cannot be stored."""
    with Site(cluster, folder, "values") as site:
        site.call("start", "values", "1")
        site.call("start", "nul", "1")
        site.work()
        time.sleep(2.3 * _LEASE_SECONDS)
        sql = (
            "SELECT step_name, output::text FROM openworkflow.step_attempts"
            " WHERE status = 'completed'"
        )
        stored = dict(site.query(sql))
        tries = sum(times for name, times in site.effects().items() if name.endswith("try"))
        status = site.query(
            "SELECT status FROM openworkflow.workflow_runs WHERE workflow_name = 'nul'"
        )[0][0]
    listed = ", ".join(f"{name} as {text}" for name, text in sorted(stored.items()))
    return (
        f"stored without an error: {listed}; an error with NUL in its text: after 69 s tried "
        f"{tries} times, still {status}"
    )


def clocks(cluster: Cluster, folder: Path) -> str:
    """Let a worker's clock be ten seconds behind."""
    library = compile_clock(folder)
    with Site(cluster, folder, "clocks") as site:
        site.call("start", "nap", "1")
        site.work(LD_PRELOAD=str(library), CLOCK_SKEW="-10")
        wait_until(lambda: site.runs()["completed"] == 1, seconds=60)
        claims = site.query("SELECT max(attempts) FROM openworkflow.workflow_runs")[0][0]
    return f"{claims} claims for a sleep of 1 s with a clock 10 s behind"


def budget(cluster: Cluster, folder: Path) -> str:
    """Sleep three times before the failure that may be tried three times."""
    with Site(cluster, folder, "budget") as site:
        site.call("start", "budget", "1")
        site.work()
        wait_until(lambda: site.runs()["failed"] == 1, seconds=60)
        tries = sum(site.effects().values())
    return f"{tries} of 3 tries made after 3 sleeps"


def poison(cluster: Cluster, folder: Path) -> str:
    """Start a worker again whenever the pill has killed it."""
    with Site(cluster, folder, "poison") as site:
        site.call("start", "poison", "1")
        ends_at = time.monotonic() + 3.4 * _LEASE_SECONDS
        while time.monotonic() < ends_at:
            worker = site.work()
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, ends_at - time.monotonic()))
            site.workers.remove(worker)
            worker.kill()
            worker.wait()
        tries, status = sum(site.effects().values()), next(iter(site.runs()))
    return f"{tries} workers killed in 102 s, the run is still {status}: there is no limit"


SCENARIOS: Final[dict[str, Callable[[Cluster, Path], str]]] = {
    "K1": kills,
    "K2": cuts,
    "K5": canceled,
    "K6": wakes,
    "K10": values,
    "K11": clocks,
    "K12": budget,
    "K13": poison,
}
