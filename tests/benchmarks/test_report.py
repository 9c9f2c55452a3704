"""The table: medians and spreads, goals judged, failures told, the page rewritten in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.goals import Goal, Judgement, ratio, short, value
from benchmarks.lines import LINES, Line
from benchmarks.report import Result


def never(_arena: Any) -> dict[str, float]:
    raise AssertionError


SPEED = Line(
    name="speed",
    title="runs per second",
    contestants={"peer": never, "ours": never, "other peer": never},
    goals=(
        Goal(text="≥ 2 × peer", number=ratio("rate", "ours", "peer"), least=2, unit=" ×"),
        Goal(text="≥ the best", number=ratio("rate", "ours", ("peer", "other peer")), least=1),
        Goal(text="≤ 5 ms", number=value("ms", "ours"), most=5, unit=" ms"),
    ),
)


def results(**rates: list[float]) -> list[Result]:
    return [
        Result(line="speed", contestant=name.replace("_", " "), round=number, values={"rate": rate})
        for name, given in rates.items()
        for number, rate in enumerate(given)
    ]


def judged(*given: Result) -> list[Judgement]:
    [one] = report.summarize([SPEED], given)
    return one.judgements


def test_the_median_counts_and_the_spread_is_shown() -> None:
    measured = results(peer=[10, 100, 20], ours=[50, 60, 40])
    [one] = report.summarize([SPEED], measured)

    assert str(one.spreads["peer"]["rate"]) == "20 (10-100)"
    assert one.judgements[0] == Judgement(goal="≥ 2 × peer", found="2.5 ×", is_met=True)


def test_a_goal_is_missed_by_a_little() -> None:
    assert [one.is_met for one in judged(*results(peer=[100], ours=[199]))] == [False, True, None]


def test_the_best_of_those_that_were_measured_counts() -> None:
    with_other = judged(*results(peer=[10], other_peer=[90], ours=[50]))

    assert [one.is_met for one in with_other] == [True, False, None]


def test_a_goal_without_its_numbers_is_open_not_met() -> None:
    [first, best, time] = judged(*results(ours=[50]))

    assert (first.is_met, best.is_met, time.is_met) == (None, None, None)
    assert first.found == "not measured"


@pytest.mark.parametrize(("number", "is_met"), [(4.9, True), (5, True), (5.1, False)])
def test_at_most_is_judged_too(number: float, is_met: bool) -> None:  # noqa: FBT001
    result = Result(line="speed", contestant="ours", round=0, values={"ms": number})

    assert judged(result)[2].is_met is is_met


def test_a_failure_is_told_in_the_table() -> None:
    failed = Result(line="speed", contestant="peer", round=0, error="Failed: no tables")
    [one] = report.summarize([SPEED], [failed, *results(ours=[50])])

    assert one.errors == {"peer": "Failed: no tables"}
    assert "FAILED: Failed: no tables" in report.as_text([one])


def test_lines_that_were_not_measured_are_left_out() -> None:
    assert report.summarize([SPEED], []) == []


def test_the_tables_say_the_same() -> None:
    reports = report.summarize([SPEED], results(peer=[10], ours=[50]))
    about = {"date": "2026-11-25", "commit": "abc"}

    assert "peer                  rate 10" in report.as_text(reports)
    page = report.as_markdown(reports, about)
    assert "date: 2026-11-25, commit: abc." in page
    assert "| runs per second | peer: rate 10<br>ours: rate 50 | ≥ 2 × peer<br>" in page
    assert all(line.count("|") == 6 for line in page.splitlines() if line.startswith("|"))
    written = json.loads(json.dumps(report.as_json(reports, about)))
    assert written["lines"][0]["measured"]["ours"]["rate"]["median"] == 50
    assert written["lines"][0]["goals"][0]["is_met"] is True


def test_the_page_is_rewritten_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nafter\n")
    for text in ("one", "two"):
        report.write_page(text, page)

    assert page.read_text() == f"before\n\n{report.BEGIN}\n\ntwo\n\n{report.END}\n\nafter\n"


def test_the_documentation_has_the_markers() -> None:
    text = report.PAGE.read_text()

    assert text.count(report.BEGIN) == text.count(report.END) == 1
    assert text.index(report.BEGIN) < text.index(report.END)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.0123, "0.0123"), (1.534, "1.53"), (28.44, "28.4"), (1234.5, "1,234")],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert short(number) == text


def test_lines_have_names_of_their_own_and_goals() -> None:
    assert len({line.name for line in LINES}) == len(LINES)
    assert all(line.goals and line.contestants for line in LINES)
