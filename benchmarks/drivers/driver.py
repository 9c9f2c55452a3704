"""What the drivers of all Python contestants share: one command line, one line of JSON.

A driver runs in its contestant's own environment, so this file needs the standard library alone.
Workers and latency tests write what happens to the file named by ``BENCH_LOG``: a letter, the
moment at which the run was started, and the moment now.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

VERBS = (
    "init",
    "worker",
    "start",
    "start-many",
    "latency",
    "cancel-one",
    "cancel-many",
    "cancel-running",
)


class Peer(Protocol):
    """One contestant, seen by its driver. ``url`` names a database of its own that is empty."""

    def init(self, url: str) -> None:
        """Create the tables."""

    def connect(self, url: str) -> None:
        """Get ready to start and cancel runs."""

    def work(self, url: str, options: argparse.Namespace) -> None:
        """Be a worker until killed."""

    def start(self, workflow: str, moment: float) -> Any:
        """Start one run and return a handle."""

    def start_many(self, workflow: str, size: int) -> list[Any]:
        """Start many in the best way there is, and return handles."""

    def cancel(self, handle: Any) -> None:
        """Cancel one run."""

    def cancel_many(self, handles: list[Any]) -> None:
        """Cancel many in the best way there is."""


def log(letter: str, moment: object) -> None:
    """Write down that something happened to the run that was started at ``moment``."""
    if _log is not None:
        os.write(_log, f"{letter} {moment} {time.time():.6f}\n".encode())


def _opened() -> int | None:
    path = os.environ.get("BENCH_LOG")
    return os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY) if path else None


_log = _opened()


def main(peer: Peer) -> None:
    """Parse the command line and do one verb."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--workflow", default="three")
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--poll-seconds", type=float)
    parser.add_argument("--pin-cpu", action="store_true")
    parser.add_argument("--gap-seconds", type=float, default=0.05)
    options = parser.parse_args()
    if options.verb == "init":
        peer.init(options.url)
    elif options.verb == "worker":
        peer.work(options.url, options)
    else:
        peer.connect(options.url)
        sys.stdout.write(json.dumps(_MEASURES[options.verb](peer, options)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the threads of some peers never end


def _start(peer: Peer, options: argparse.Namespace) -> dict[str, float]:
    peer.start(options.workflow, time.time())  # connections are open, statements are known
    seconds, _ = timed(
        lambda: [peer.start(options.workflow, time.time()) for _ in range(options.size - 1)]
    )
    return {"per_second": (options.size - 1) / seconds}


def _start_many(peer: Peer, options: argparse.Namespace) -> dict[str, float]:
    seconds, handles = timed(lambda: peer.start_many(options.workflow, options.size))
    return {"per_second": len(handles) / seconds}


def _latency(peer: Peer, options: argparse.Namespace) -> dict[str, float]:
    for _ in range(options.size):
        peer.start(options.workflow, time.time())
        time.sleep(options.gap_seconds * 2 * random.random())  # noqa: S311 - not a secret
    return {}


def _cancel_one(peer: Peer, options: argparse.Namespace) -> dict[str, float]:
    handles = [peer.start(options.workflow, time.time()) for _ in range(options.size)]
    seconds = [timed(lambda one=handle: peer.cancel(one))[0] for handle in handles]  # type: ignore[misc]
    return {"p50_ms": 1000 * quantile(seconds, 0.5), "p95_ms": 1000 * quantile(seconds, 0.95)}


def _cancel_many(peer: Peer, options: argparse.Namespace) -> dict[str, float]:
    handles = peer.start_many(options.workflow, options.size)
    seconds, _ = timed(lambda: peer.cancel_many(handles))
    return {"per_second": len(handles) / seconds}


def _cancel_running(peer: Peer, options: argparse.Namespace) -> dict[str, float]:
    for _ in range(options.size):
        moment = time.time()
        handle = peer.start(options.workflow, moment)
        time.sleep(0.9 + 0.05 * random.random())  # noqa: S311 - anywhere within a step
        log("C", moment)
        peer.cancel(handle)
        log("D", moment)
        time.sleep(0.4)
    return {}


_MEASURES: dict[str, Callable[[Peer, argparse.Namespace], dict[str, float]]] = {
    "start": _start,
    "start-many": _start_many,
    "latency": _latency,
    "cancel-one": _cancel_one,
    "cancel-many": _cancel_many,
    "cancel-running": _cancel_running,
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds it took, and what came of it."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
