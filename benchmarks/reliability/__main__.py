"""Check lines of the scorecard: ``python -m benchmarks.reliability [K1 ...] [--seed 1]``.

One line prints one JSON object. Several run one after the other, each in a process of its own, and
``--write`` keeps their results in the table of ``docs/reliability.md``. Exit 1 when a
goal was missed. PostgreSQL is a private cluster; ``--sqlite`` checks a line that can on SQLite.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.reliability import table
from benchmarks.reliability.arena import arena
from benchmarks.reliability.lines import LINES, Line


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and do as it says."""
    options = _parser().parse_args(arguments)
    if len(options.lines) == 1 and not options.write:
        found = check(LINES[options.lines[0]], options)
        sys.stdout.write(json.dumps(found, default=str) + "\n")
        return 0 if found["ok"] or (options.busy and not any(found["wrong"].values())) else 1
    results: list[dict[str, Any]] = []
    for name in options.lines or LINES:
        results.append(_check_apart(name, options))
        if options.write:  # after each: all of them take a while
            table.write(results[-1])
    return 0 if all(found["ok"] for found in results) else 1


def check(line: Line, options: argparse.Namespace) -> dict[str, Any]:
    """Check one line in this process."""
    began = time.monotonic()
    on_sqlite = line.on_sqlite or options.sqlite
    with arena(seed=options.seed, on_sqlite=on_sqlite) as prepared:
        findings = line.measure(prepared, line.sizes[options.size])
        log = prepared.folder / "workers.log"
        if not findings.ok and log.exists():
            sys.stderr.write(log.read_text(errors="replace")[-4000:])
    return {
        "line": line.name,
        "ok": findings.ok,
        "size": options.size,
        "seed": options.seed,
        "seconds": round(time.monotonic() - began, 1),
        "facts": findings.facts,
        "wrong": findings.wrong,
        "late": findings.late,
    }


def _check_apart(name: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.reliability", name]
    command += ["--seed", str(options.seed), "--size", options.size]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:  # it has said why on its standard error
        return {"line": name, "ok": False, "facts": {}, "wrong": {"script failed": 1}, "late": {}}
    return found


def _line(text: str) -> str:
    if text in LINES:
        return text
    message = f"{text!r} is none of {', '.join(LINES)}"
    raise argparse.ArgumentTypeError(message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability", description="Checks the reliability scorecard."
    )
    parser.add_argument("lines", nargs="*", metavar="K1", type=_line, help="all if none")
    parser.add_argument("--seed", type=int, default=1, help="of all random choices (default: 1)")
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--sqlite", action="store_true", help="on SQLite instead of PostgreSQL")
    parser.add_argument(
        "--busy", action="store_true", help="of one line: what comes late is told, but no failure"
    )
    parser.add_argument("--write", action="store_true", help="keep the table in docs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
