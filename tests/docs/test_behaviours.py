"""``docs/behaviours.md`` names tests: each of them exists, and no test of a guide is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "behaviours.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^ *(?:async )?def {name}\(", source, re.MULTILINE)


@pytest.mark.parametrize(
    "guide", sorted((ROOT / "tests" / "guides").glob("test_*.py")), ids=lambda guide: guide.stem
)
def test_every_test_of_a_guide_is_named(guide: Path) -> None:
    path = guide.relative_to(ROOT).as_posix()
    there = set(re.findall(r"^def (test_\w+)", guide.read_text(encoding="utf-8"), re.MULTILINE))
    assert there == {name for known, name in NAMED if known == path}
