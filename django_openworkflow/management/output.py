"""What commands print: text that no stored value can forge, and JSON for machines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from unicodedata import combining, east_asian_width

_GAP: Final = "  "  # between columns
_CUT: Final = "..."
_AGES: Final = (("d", 86_400), ("h", 3600), ("m", 60))  # unit and its seconds, longest first


def one_line(text: str) -> str:
    """Escape all that ends a line or steers a terminal, so that a value stays inside its place."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def flatten(text: str) -> str:
    """Put a message of several lines, such as a database's, on one."""
    return one_line(re.sub(r"\s+", " ", text).strip())


def shorten(text: str, width: int) -> str:
    """Return one line of at most ``width`` columns."""
    line = one_line(text[: width + 1])  # a character takes a column or more, or sits on another
    if _width(line) <= width and len(text) <= width:
        return line
    while _width(line) > width - len(_CUT):
        line = line[:-1]
    return line + _CUT


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align cells, which must be single lines, in columns under their headings."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        _GAP.join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def json_line(value: object) -> str:
    """Return JSON on one line and in ASCII: safe for any terminal, encoding and line reader."""
    return json.dumps(value, default=_plain)


def count_of(number: int, noun: str) -> str:
    """Return ``1 workflow run``, ``2 workflow runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def age(span: timedelta) -> str:
    """Return a span in its longest whole unit: ``45s``, ``3h``, ``12d``."""
    seconds = max(0, int(span.total_seconds()))
    for unit, length in _AGES:
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _width(text: str) -> int:
    """Count terminal columns: wide characters take two, combining ones none."""
    return sum(
        2 if east_asian_width(char) in "WF" else 0 if combining(char) else 1 for char in text
    )


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
