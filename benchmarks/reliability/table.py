"""The table of the scorecard in ``docs/reliability.md``."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.reliability.lines import LINES
from benchmarks.reliability.original import seen as seen_there

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "reliability.md"


def write(results: Sequence[dict[str, Any]], *, size: str, seed: int) -> None:
    """Put the table of these results between the markers of the page."""
    table = render(results, size=size, seed=seed)
    PAGE.write_text(replaced(PAGE.read_text(), "scorecard", table))


def replaced(page: str, name: str, text: str) -> str:
    """Return a page with this text between the two markers of a name."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    if not found:
        message = f"the page has no marker {begin!r}"
        raise ValueError(message)
    return f"{before}{begin}{text}{end}{rest.partition(end)[2]}"


def render(results: Sequence[dict[str, Any]], *, size: str, seed: int) -> str:
    """Return the table as Markdown, with when and where it was made."""
    rows = "".join(map(_row, results))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}, seed {seed}, size {size}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}\n\n"
        "| | goal | met | what was seen | the original, 0.10.1 |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"{rows}\n"
    )


def _row(result: dict[str, Any]) -> str:
    line = LINES[result["line"]]
    broken = {law: count for law, count in result["wrong"].items() if count}
    met = "yes" if result["ok"] else f"**no**: {_words(broken)}"
    seen = _words({**result["facts"], "seconds": result.get("seconds", "-")})
    theirs = seen_there().get(line.name, "not tried")
    return f"| {line.name} | {line.goal} | {met} | {seen} | {theirs} |\n"


def _words(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
