"""How long a run takes to come back over its saved steps.

``python -m benchmarks.replay [--steps 500] [--rounds 5]`` runs a workflow of that many steps and a
sleep, then measures the pass after the sleep: claim, history, replay, completion. It works in a
test database of its own, on the server or beside the file that ``DATABASE_URL`` names. Prints one
JSON line; exit 1 when the median is a second or more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time

import django


def main() -> int:
    """Parse, prepare a test database, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    from django.db import connection

    before = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        seconds = [measure(options.steps) for _ in range(options.rounds)]
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)
    result = {
        "database": connection.vendor,
        "steps": options.steps,
        "median_seconds": round(statistics.median(seconds), 4),
        "slowest_seconds": round(max(seconds), 4),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return int(result["median_seconds"] >= 1)


def measure(steps: int) -> float:
    """Return the seconds of the pass after the sleep."""
    from django_openworkflow import Step, workflow
    from django_openworkflow.registry import registry
    from django_openworkflow.testing import advance, reset_clock, run_until_idle

    with registry.isolated():

        @workflow("replayed")
        def replayed(step: Step) -> int:
            total = sum(step.run("step", int, number) for number in range(steps))
            step.sleep("pause", "1h")
            return total

        handle = replayed.start()
        run_until_idle()
        advance("1h")
        started = time.perf_counter()
        run_until_idle()
        seconds = time.perf_counter() - started
        reset_clock()
        if handle.result(timeout=0) != steps * (steps - 1) // 2:
            message = "the replay gave another result"
            raise SystemExit(message)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
