"""What a measurement is said to belong to."""

from __future__ import annotations

import re

import pytest

from benchmarks import commits


def test_words_and_measurements_are_not_code() -> None:
    files = {
        "README.md": False,
        "docs/conf.py": False,
        "benchmarks/rounds.jsonl": False,
        "benchmarks/reliability/results.json": False,
        "benchmarks/rounds.py": True,
        "django_openworkflow/manager.py": True,
        "tests/guides/text.md": True,
        "pyproject.toml": True,
    }
    assert {path: commits.is_code(path) for path in files} == files


@pytest.mark.skipif(not (commits.ROOT / ".git").exists(), reason="needs the repository")
def test_code_and_commit_have_names() -> None:
    assert re.fullmatch(r"[0-9a-f]{10}(-dirty)?", commits.code())
    assert re.fullmatch(r"[0-9a-f]{7,}", commits.commit())
