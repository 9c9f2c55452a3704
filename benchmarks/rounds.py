"""Look for tests that pass now and then: the whole suite over and over, in another order each time.

``python -m benchmarks.rounds [--in-a-row 20] [--databases sqlite,postgresql]`` runs the suite on
both databases, on the PostgreSQL that ``DATABASE_URL`` names or the embedded one, until that many
rounds of this very code were green in a row. Each adds a line to ``benchmarks/rounds.jsonl``: when,
which commit, which code, which order, what came of it. What the record has of the same code counts,
so that the command may be stopped and go on another day. Both databases are at it at the same time,
on purpose: a test that hopes for a quick machine shows itself. No round begins after one that was
red; exit code 1 then, and what pytest said.
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
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any, Final

from benchmarks.commits import DIRTY, ROOT, code, commit

RECORD: Final = ROOT / "benchmarks" / "rounds.jsonl"
_SUMMARY: Final = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
_BAD: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_TAIL_CHARACTERS: Final = 20_000
_PYTEST: Final = ("pytest", "-q", "-n", "auto", "--dist", "worksteal", "-m", "not browser")


@dataclass(frozen=True, kw_only=True)
class Round:
    """The suite, once, on one database."""

    began_at: str
    commit: str
    code: str
    """What the files of the code are, whatever the commit says of the others."""
    database: str
    seed: int
    seconds: int
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    errors: int = 0
    bad: list[str] = field(default_factory=list)
    """The tests that failed."""

    @property
    def is_green(self) -> bool:
        """Return whether all tests passed."""
        return self.passed > 0 and not (self.failed or self.errors or self.bad)


def main() -> int:
    """Run round after round; 1 as soon as one is red."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--in-a-row", type=int, default=20)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    databases = options.databases.split(",")
    tree, known = (commit(), code()), recorded()  # once: somebody may go on working
    over = Event()

    def go_on(database: str) -> None:
        done = in_a_row(known, code=tree[1], database=database)
        for _ in range(done, options.in_a_row):
            if over.is_set() or not passes(database, *tree):
                over.set()
                return

    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(go_on, databases))
    for database in databases:
        green = in_a_row(recorded(), code=tree[1], database=database)
        sys.stdout.write(f"{database}: {green} green in a row\n")
    return int(over.is_set())


def in_a_row(rounds: list[Round], *, code: str, database: str) -> int:
    """Count the green rounds of a code since its last red one. Of changed files, none counts."""
    if code.endswith(DIRTY):
        return 0
    own = [each for each in rounds if (each.code, each.database) == (code, database)]
    green = 0
    for each in own:
        green = green + 1 if each.is_green else 0
    return green


def recorded() -> list[Round]:
    """Read the record."""
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    return [Round(**json.loads(line)) for line in lines]


def passes(database: str, commit: str, code: str) -> bool:
    """Run the suite once, record it, and return whether it was green."""
    seed = random.randrange(2**32)  # noqa: S311 - any order will do
    began_at, began = datetime.now(UTC), time.monotonic()
    environment = {**os.environ, "DATABASE_URL": url_of(database)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what was compiled serves the next round
    done = subprocess.run(
        [sys.executable, "-m", *_PYTEST, f"--randomly-seed={seed}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    result = Round(
        began_at=began_at.isoformat(timespec="minutes"),
        commit=commit,
        code=code,
        database=database,
        seed=seed,
        seconds=round(time.monotonic() - began),
        **outcome(done.stdout, done.returncode),
    )
    said = json.dumps(asdict(result)) + "\n"
    with RECORD.open("a") as stream:  # one write, so that lines of two databases stay whole
        stream.write(said)
    if not result.is_green:
        said += done.stdout[-_TAIL_CHARACTERS:] + done.stderr[-_TAIL_CHARACTERS:]
    sys.stdout.write(said)
    sys.stdout.flush()
    return result.is_green


def outcome(said: str, exit_code: int) -> dict[str, Any]:
    """Return what pytest's last line counts, and the tests that it names as failed."""
    last = (said.strip().splitlines() or [""])[-1]
    counted = {kind: int(number) for number, kind in _SUMMARY.findall(last)}
    counted["errors"] = counted.pop("error", 0) + counted.get("errors", 0)
    bad = _BAD.findall(said)
    if exit_code and not bad:
        bad = [f"exit code {exit_code}"]
    return {**counted, "bad": bad}


def url_of(database: str) -> str:
    """Return the address of the database to test with."""
    given = os.environ.get("DATABASE_URL", "")
    if database == "sqlite":
        return ""
    is_named = given.startswith(("postgres://", "postgresql://"))
    return given if is_named else "embedded-postgres://"


if __name__ == "__main__":
    sys.exit(main())
