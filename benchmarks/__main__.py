"""Measure this package side by side with its peers: ``make bench``, or ``python -m benchmarks``.

Each line of the goal table is measured for every contestant in turn, over and over, so that all see
the same machine. The numbers mean something only as ratios within one run. What was measured is
kept in ``benchmarks/.results`` as it comes: ``--resume`` goes on where a run was broken off.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil
import psycopg

from benchmarks import environments, measures, report, server
from benchmarks.commits import commit
from benchmarks.lines import LINES, Line
from benchmarks.report import Result

RESULTS: Final = Path(__file__).resolve().parent / ".results"


def main() -> int:
    """Measure, print, write; 1 when a contestant failed or a goal was not met."""
    options = _parsed()
    if options.list:
        for line in LINES:
            _say(f"{line.name:<16}{line.title}")
        return 0
    lines = _chosen(options.only)
    RESULTS.mkdir(exist_ok=True)
    log = RESULTS / ("quick.jsonl" if options.quick else "full.jsonl")
    if not options.resume:
        log.unlink(missing_ok=True)
    done = _read(log)
    about = _measure(lines, options, log, done)
    reports = report.summarize(lines, done)
    _say("\n" + report.as_text(reports))
    written = json.dumps(report.as_json(reports, about), indent=1, ensure_ascii=False)
    (RESULTS / "latest.json").write_text(written)
    if options.json:
        Path(options.json).write_text(written)
    if options.write_docs:
        report.write_page(report.as_markdown(reports, about))
    judged = [one.is_met for each in reports for one in each.judgements]
    _say(f"goals: {judged.count(True)} met, {judged.count(False)} not, {judged.count(None)} open")
    return int(any(each.errors for each in reports) or not all(judged))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="one short round, five minutes")
    parser.add_argument("--only", help="lines by name, a,b (see --list)")
    parser.add_argument("--rounds", type=int, help="how often each is measured (default: 3)")
    parser.add_argument("--scale", type=float, help="size of the big table (default: 1)")
    parser.add_argument("--resume", action="store_true", help="keep what was measured before")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--write-docs", action="store_true", help="put the table into the page")
    parser.add_argument("--list", action="store_true", help="name the lines and stop")
    return parser.parse_args()


def _chosen(only: str | None) -> list[Line]:
    if only is None:
        return list(LINES)
    names = only.split(",")
    if unknown := set(names) - {line.name for line in LINES}:
        sys.exit(f"no such line: {', '.join(sorted(unknown))} (see --list)")
    return [line for line in LINES if line.name in names]


def _measure(
    lines: Sequence[Line], options: argparse.Namespace, log: Path, done: list[Result]
) -> dict[str, str]:
    _say("Installing the peers; the first time takes some minutes.")
    missing = environments.install_all()
    for name, why in missing.items():
        _say(f"!!! {name} is left out: {why}")
    known = {(one.line, one.contestant, one.round) for one in done if not one.error}
    done[:] = [one for one in done if not one.error]
    rounds = options.rounds or (1 if options.quick else 3)
    began = time.monotonic()
    with server.running() as running:
        arena = _arena(running, options)
        measures.forget_big_table(running)  # a run that was broken off may have left it
        try:
            for number, line, contestant in _program(lines, rounds):
                if (line.name, contestant, number) in known or line.needs(contestant) in missing:
                    continue
                result = _measured(line, contestant, number, arena)
                done.append(result)
                with log.open("a") as stream:
                    stream.write(json.dumps(asdict(result)) + "\n")
                _say(f"{time.monotonic() - began:6.0f} s  {_told(result)}")
        finally:
            with suppress(psycopg.Error):
                measures.forget_big_table(running)
        return _about(running, rounds)


def _arena(running: server.Server, options: argparse.Namespace) -> measures.Arena:
    arena = measures.Arena(server=running)
    if options.quick:
        arena = replace(arena, window_seconds=2.0, idle_seconds=4.0, samples=25, scale=0.02)
    return arena if options.scale is None else replace(arena, scale=options.scale)


def _program(lines: Sequence[Line], rounds: int) -> Iterator[tuple[int, Line, str]]:
    """Yield what is measured, in order: a line's rounds are taken together, contestants in turn."""
    for line in lines:
        for number in range(rounds):
            for contestant in line.contestants:
                yield number, line, contestant


def _measured(line: Line, contestant: str, number: int, arena: measures.Arena) -> Result:
    try:
        values = line.contestants[contestant](arena)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        return Result(line=line.name, contestant=contestant, round=number, error=why)
    return Result(line=line.name, contestant=contestant, round=number, values=values)


def _read(log: Path) -> list[Result]:
    if not log.exists():
        return []
    return [Result(**json.loads(text)) for text in log.read_text().splitlines()]


def _told(result: Result) -> str:
    if result.error:
        return f"!!! {result.line} / {result.contestant} FAILED: {result.error}"
    numbers = ", ".join(f"{key} {number:.4g}" for key, number in result.values.items())
    return f"{result.line} / {result.contestant} ({result.round + 1}): {numbers}"


def _about(running: server.Server, rounds: int) -> dict[str, str]:
    """Say what the numbers belong to: when, which code, what kind of machine."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "rounds": str(rounds),
        "machine": f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}",
        "Python": platform.python_version(),
        "PostgreSQL": running.version(),
    }


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
