"""The pages, and the fenced blocks on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_FENCE: Final = re.compile(r"(`{3,}|~{3,})\s*\{?([\w-]*)\}?")
_NO_RUN: Final = "<!-- no-run -->"
_CHECK: Final = "<!-- check"
_FILE: Final = re.compile(r"# ([\w/]+)\.py(?:\W|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block; ``line`` is the number of the line before its first one."""

    page: str
    line: int
    language: str
    text: str
    runs: bool

    @property
    def module(self) -> str | None:
        """The module that the block is the file of: its first line names the file."""
        named = _FILE.match(self.text)
        return named[1].replace("/", ".") if named else None

    @property
    def is_settings(self) -> bool:
        """Whether this is a part of the settings, which need no place in ``sys.modules``."""
        return (self.module or "").endswith("settings")

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return the files that are documentation, in order."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, and the hidden ``<!-- check … -->`` as language check."""
    found: list[Block] = []
    before = ""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines()))
    for number, line in lines:
        stripped = line.strip()
        if fence := _FENCE.match(stripped):
            language, end = fence[2], fence[1]
        elif stripped == _CHECK:
            language, end = "check", "-->"
        else:
            before = stripped or before
            continue
        indent = len(line) - len(line.lstrip())
        body = []
        for _, inner in lines:
            if inner.strip() == end:
                break
            body.append(inner[indent:])
        found.append(
            Block(
                page=page_name(page),
                line=number + 1,
                language=language,
                text="\n".join(body) + "\n",
                runs=before != _NO_RUN,
            )
        )
        before = ""
    return found
