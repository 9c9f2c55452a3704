"""Tell what was measured: a table for people, JSON for programs, the page of the documentation."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.goals import Judgement, Medians, short

if TYPE_CHECKING:
    from benchmarks.lines import Line

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"

_MARKS: Final = {True: "met", False: "NOT MET", None: "open"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measurement of one contestant of one line, or why there is none."""

    line: str
    contestant: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of several rounds, and the least and the most."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return short(self.median)
        return f"{short(self.median)} ({short(self.least)}-{short(self.most)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReport:
    """A line with its numbers and judgements."""

    line: Line
    spreads: dict[str, dict[str, Spread]]
    judgements: list[Judgement]
    errors: dict[str, str]


def summarize(lines: Iterable[Line], results: Sequence[Result]) -> list[LineReport]:
    """Gather the rounds of each line and judge its goals; lines without a result are left out."""
    reports = []
    for line in lines:
        own = [result for result in results if result.line == line.name]
        if not own:
            continue
        spreads = {
            contestant: _spreads([one.values for one in own if one.contestant == contestant])
            for contestant in line.contestants
        }
        spreads = {contestant: found for contestant, found in spreads.items() if found}
        medians: Medians = {
            contestant: {key: spread.median for key, spread in found.items()}
            for contestant, found in spreads.items()
        }
        reports.append(
            LineReport(
                line=line,
                spreads=spreads,
                judgements=[goal.judge(medians) for goal in line.goals],
                errors={one.contestant: one.error for one in own if one.error},
            )
        )
    return reports


def _spreads(rounds: Iterable[dict[str, float]]) -> dict[str, Spread]:
    gathered: dict[str, list[float]] = defaultdict(list)
    for values in rounds:
        for key, number in values.items():
            gathered[key].append(number)
    return {
        key: Spread(median=statistics.median(numbers), least=min(numbers), most=max(numbers))
        for key, numbers in gathered.items()
    }


def as_text(reports: Iterable[LineReport]) -> str:
    """Return the table for a terminal."""
    out = []
    for report in reports:
        out.append(f"{report.line.name}: {report.line.title}")
        for contestant, found in report.spreads.items():
            numbers = ", ".join(f"{_told(key)} {spread}" for key, spread in found.items())
            out.append(f"    {contestant:<22}{numbers}")
        out.extend(
            f"    {contestant:<22}FAILED: {why}" for contestant, why in report.errors.items()
        )
        out.extend(
            f"  {_MARKS[one.is_met]:>8}  {one.goal}: {one.found}" for one in report.judgements
        )
        out.append("")
    return "\n".join(out)


def as_markdown(reports: Sequence[LineReport], about: dict[str, str]) -> str:
    """Return the table for the documentation."""
    out = [", ".join(f"{name}: {text}" for name, text in about.items()) + ".", ""]
    out += ["| work | measured: median (least-most) | goal | reached | |", "|---|---|---|---|---|"]
    for report in reports:
        numbers = "<br>".join(
            f"{contestant}: " + ", ".join(f"{_told(key)} {spread}" for key, spread in found.items())
            for contestant, found in report.spreads.items()
        )
        goals, reached, marks = (
            "<br>".join(texts)
            for texts in (
                [one.goal for one in report.judgements],
                [one.found for one in report.judgements],
                [_MARKS[one.is_met] for one in report.judgements],
            )
        )
        out.append(f"| {report.line.title} | {numbers} | {goals} | {reached} | {marks} |")
    return "\n".join(out)


def as_json(reports: Iterable[LineReport], about: dict[str, str]) -> dict[str, Any]:
    """Return everything, for ``json.dump``."""
    return {
        "about": about,
        "lines": [
            {
                "name": report.line.name,
                "title": report.line.title,
                "measured": {
                    contestant: {key: asdict(spread) for key, spread in found.items()}
                    for contestant, found in report.spreads.items()
                },
                "goals": [asdict(one) for one in report.judgements],
                "errors": report.errors,
            }
            for report in reports
        ],
    }


def write_page(text: str, page: Path = PAGE) -> None:
    """Put the table between the markers of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _told(key: str) -> str:
    return key.replace("_per_second", " per s").replace("per_second", "per s").replace("_", " ")
