"""Questions to this package's own store, each in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Final

import django
import psutil

from benchmarks.drivers.driver import quantile, timed

_CLAIMS: Final = 200
_SIZE: Final = 50


def main() -> None:
    """Answer one question as JSON: ``bare``, ``history`` or ``claims``, and a URL."""
    verb, url = sys.argv[1:]
    os.environ["BENCH_URL"] = url
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.project.settings"
    django.setup()
    answers: dict[str, Callable[[], dict[str, float]]] = {
        "bare": bare,
        "history": history,
        "claims": claims,
    }
    sys.stdout.write(json.dumps(answers[verb]()))


def bare() -> dict[str, float]:
    """Return the memory of a process that has asked the database one thing."""
    from django_openworkflow.models import WorkflowRun

    WorkflowRun.objects.first()
    return {"resident_mb": psutil.Process().memory_info().rss / 2**20}


def history() -> dict[str, float]:
    """Return how long it takes to read the attempts of the one run there is."""
    from django_openworkflow.models import WorkflowRun
    from django_openworkflow.store.factory import store_for

    run_id = WorkflowRun.objects.get().pk
    store = store_for("default")
    seconds = [timed(lambda: store.load_history([run_id]))[0] for _ in range(10)]
    return {"select_ms": 1000 * quantile(seconds, 0.5)}


def claims() -> dict[str, float]:
    """Return how long claims take, each of fifty runs out of a backlog."""
    from django_openworkflow.store.base import ClaimRequest
    from django_openworkflow.store.factory import store_for

    store = store_for("default")
    request = ClaimRequest(
        worker_name="bench", limit=_SIZE, lease_seconds=600, workflows=[("three", None)]
    )
    seconds = []
    for _ in range(_CLAIMS):
        taken, claimed = timed(lambda: store.claim(request))
        if not claimed:
            break
        seconds.append(taken)
    return {"claim_p99_ms": 1000 * quantile(seconds, 0.99)}


if __name__ == "__main__":
    main()
