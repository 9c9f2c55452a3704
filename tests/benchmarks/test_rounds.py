"""What counts as a round, and which of them count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.rounds import Round, in_a_row, outcome

GREEN = Round(
    began_at="2026-11-29T07:00+00:00",
    commit="1234567",
    code="c0de",
    database="sqlite",
    seed=1,
    seconds=300,
    passed=9,
)
RED = replace(GREEN, failed=1, bad=["tests/test_a.py::test_b"])


@pytest.mark.parametrize(
    ("record", "count"),
    [
        ([], 0),
        ([GREEN, GREEN], 2),
        ([GREEN, RED], 0),
        ([GREEN, RED, GREEN], 1),
        ([GREEN, replace(GREEN, passed=0)], 0),  # pytest did not get that far
        ([GREEN, replace(RED, database="postgresql"), GREEN], 2),
        ([GREEN, replace(RED, code="other"), replace(GREEN, commit="7654321")], 2),
    ],
)
def test_green_rounds_of_one_code_on_one_database_count(record: list[Round], count: int) -> None:
    assert in_a_row(record, code="c0de", database="sqlite") == count


def test_what_is_not_committed_starts_from_nothing() -> None:
    record = [replace(GREEN, code="c0de-dirty")]
    assert in_a_row(record, code="c0de-dirty", database="sqlite") == 0


@pytest.mark.parametrize(
    ("said", "exit_code", "found"),
    [
        ("...\n12 passed, 3 skipped in 4.00s\n", 0, {"passed": 12, "skipped": 3}),
        (
            """FAILED tests/a.py::b[c] - assert 1
ERROR tests/d.py::e
1 failed, 2 passed, 1 error in 1.00s (0:00:01)
""",
            1,
            {"failed": 1, "passed": 2, "errors": 1, "bad": ["tests/a.py::b[c]", "tests/d.py::e"]},
        ),
        ("", 3, {"bad": ["exit code 3"]}),
    ],
)
def test_what_pytest_said(said: str, exit_code: int, found: dict[str, object]) -> None:
    assert outcome(said, exit_code) == {"errors": 0, "bad": [], **found}
