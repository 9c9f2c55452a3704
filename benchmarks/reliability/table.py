"""The table of the scorecard in ``docs/reliability.md``, from the latest result of each line."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.commits import ROOT, commit
from benchmarks.reliability.lines import LINES
from benchmarks.reliability.original import seen as seen_there

PAGE: Final = ROOT / "docs" / "reliability.md"
RESULTS: Final = Path(__file__).with_name("results.json")


def write(result: dict[str, Any]) -> None:
    """Keep the result of a line, and put the table of all between the markers of the page."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept[result["line"]] = {**result, **_circumstances()}
    kept = {name: kept[name] for name in LINES if name in kept}
    RESULTS.write_text(json.dumps(kept, indent=1, default=str) + "\n", encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "scorecard", render(kept)))


def replaced(page: str, name: str, text: str) -> str:
    """Return a page with this text between the two markers of a name."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    if not found:
        message = f"the page has no marker {begin!r}"
        raise ValueError(message)
    return f"{before}{begin}{text}{end}{rest.partition(end)[2]}"


def render(results: dict[str, dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    rows = "".join(map(_row, results.values()))
    return (
        "| | goal | met | what was seen | the original | measured |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"{rows}"
    )


def _row(result: dict[str, Any]) -> str:
    line = LINES[result["line"]]
    laws = {**result["wrong"], **result.get("late", {})}
    broken = {law: count for law, count in laws.items() if count}
    met = "yes" if result["ok"] else f"**no**: {_words(broken)}"
    seen = _words({**result["facts"], "seconds": result.get("seconds", "unknown")})
    theirs = seen_there().get(line.name, "not tried")
    measured = ", ".join(
        [
            result["date"],
            f"`{result['commit']}`",
            f"{result.get('size', 'full')} size",
            f"seed {result.get('seed', 'unknown')}",
            result["machine"],
        ]
    )
    return f"| {line.name} | {line.goal} | {met} | {seen} | {theirs} | {measured} |\n"


def _words(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def _circumstances() -> dict[str, str]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python "
        f"{platform.python_version()}",
    }
