"""What the same troubles did to the original; kept by ``python -m benchmarks.original``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

SEEN: Final = Path(__file__).parents[1] / "original" / "seen.json"


def seen() -> dict[str, str]:
    """Return what was seen, in words, by line of the scorecard."""
    found: dict[str, str] = json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}
    return found
