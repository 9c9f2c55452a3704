"""How fast the original's npm package is on our tables, compared with its own.

``python -m benchmarks.interop [--rounds 8] [--runs 500] [--slots 4]`` lets one process of the
package start and execute runs of two steps, in turn through our views and on tables that its own
migrations make, in the same database. Then this package executes as many, in turn with and without
the views, their index and their triggers. It works in a test database of its own on the PostgreSQL
that ``DATABASE_URL`` names. Prints one JSON line: medians per second, on the shared tables and
alone, and the ratios, for starting, executing, and from the first start to the last end; exit 1
when the last is slower on our tables than on its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import django

HERE = Path(__file__).resolve().parents[1] / "tests" / "interop"


def main() -> int:
    """Parse, prepare a test database, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--slots", type=int, default=4)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    from django.db import connection

    if connection.vendor != "postgresql":
        parser.error("DATABASE_URL must name a PostgreSQL database")
    before = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        result = {"package": measure_package(options), "python": measure_python(options)}
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)
    sys.stdout.write(json.dumps(result) + "\n")
    return int(result["package"]["both"]["ratio"] < 1)


def measure_package(options: argparse.Namespace) -> dict[str, Any]:
    """Let the package work on both schemas in turn."""
    from django.core.management import call_command
    from django.db import connection

    from tests.interop.node import environment, missing

    if (problem := missing()) is not None:
        raise SystemExit(problem)
    call_command("createinteropviews", verbosity=0)
    name = str(connection.settings_dict["NAME"])
    numbers = map(str, (options.rounds, options.runs, options.slots))
    done = subprocess.run(
        ["node", "benchmark.mjs", name, *numbers],
        cwd=HERE,
        env=environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        what: compared(
            {"shared": each["openworkflow"][what], "alone": each["its_own"][what]}
            for each in rounds
        )
        for what in ("started", "executed", "both")
    }


def measure_python(options: argparse.Namespace) -> dict[str, Any]:
    """Execute with and without the views in turn."""
    from django.core.management import call_command

    from django_openworkflow import Step, workflow

    @workflow("measured-in-python")
    def measured(step: Step, n: int) -> int:
        return step.run("second", int, step.run("first", int, n) + 1)

    rounds = []
    for number in range(options.rounds + 1):
        found = {}
        ways = [("shared", ()), ("alone", ("--drop",))]
        for name, arguments in ways if number % 2 else reversed(ways):
            call_command("createinteropviews", *arguments, verbosity=0)
            found[name] = executed_per_second(measured, min(options.runs, 200))
        rounds.append(found)
    return compared(rounds[1:])


def executed_per_second(measured: Any, runs: int) -> float:
    """Start runs, and measure their execution."""
    from django_openworkflow.testing import run_until_idle

    measured.start_many([{"n": n} for n in range(runs)])
    started = time.perf_counter()
    if run_until_idle(max_seconds=600) != runs:
        message = "not every run was executed in one pass"
        raise SystemExit(message)
    return runs / (time.perf_counter() - started)


def compared(rounds: Any) -> dict[str, Any]:
    """Return the medians of both ways, and the median and the range of the rounds' ratios."""
    many = list(rounds)
    ratios = [each["shared"] / each["alone"] for each in many]
    return {
        "shared": round(statistics.median(each["shared"] for each in many), 1),
        "alone": round(statistics.median(each["alone"] for each in many), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(min(ratios), 2), round(max(ratios), 2)],
    }


if __name__ == "__main__":
    sys.exit(main())
