"""Look for tests that pass now and then: the whole suite over and over, in another order each time.

``python -m benchmarks.rounds [--rounds 20] [--databases sqlite,postgresql]`` runs the suite on both
databases, on the PostgreSQL that ``DATABASE_URL`` names or the embedded one, and adds a line to
``benchmarks/rounds.jsonl`` for each: when, which commit, which order, what came of it. Both
databases are at it at the same time, on purpose: a test that hopes for a quick machine shows
itself. No round begins after one that was red; exit code 1 then, and what pytest said.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
RECORD: Final = ROOT / "benchmarks" / "rounds.jsonl"
_SUMMARY: Final = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
_TAIL_CHARACTERS: Final = 20_000


def main() -> int:
    """Run round after round; 1 as soon as one is red."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    databases = options.databases.split(",")
    tree = commit()  # once: the record itself is a change of the tree
    over = Event()

    def go_round(database: str) -> None:
        for _ in range(options.rounds):
            if over.is_set() or not passes(database, tree):
                over.set()
                return

    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(go_round, databases))
    return int(over.is_set())


def passes(database: str, tree: str) -> bool:
    """Run the suite once, record it, and return whether it was green."""
    seed = random.randrange(2**32)  # noqa: S311 - any order will do
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "auto",
        "--dist",
        "worksteal",
        f"--randomly-seed={seed}",
    ]
    began_at, began = datetime.now(UTC), time.monotonic()
    environment = {**os.environ, "DATABASE_URL": url_of(database)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what was compiled serves the next round
    done = subprocess.run(
        [*command, "-m", "not browser"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stdout.strip().splitlines() or [""])[-1]
    line = {
        "began_at": began_at.isoformat(timespec="minutes"),
        "commit": tree,
        "database": database,
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        **{kind: int(number) for number, kind in _SUMMARY.findall(last)},
    }
    said = json.dumps(line) + "\n"
    with RECORD.open("a") as stream:  # one write, so that lines of two databases stay whole
        stream.write(said)
    if done.returncode:
        said += done.stdout[-_TAIL_CHARACTERS:] + done.stderr[-_TAIL_CHARACTERS:]
    sys.stdout.write(said)
    sys.stdout.flush()
    return done.returncode == 0


def url_of(database: str) -> str:
    """Return the address of the database to test with."""
    given = os.environ.get("DATABASE_URL", "")
    if database == "sqlite":
        return ""
    is_named = given.startswith(("postgres://", "postgresql://"))
    return given if is_named else "embedded-postgres://"


def commit() -> str:
    """Name the tree, in short."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
