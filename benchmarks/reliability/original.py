"""What the same checks have shown of the original, ``openworkflow`` 0.10.1 for Node."""

from __future__ import annotations

from typing import Final

ORIGINAL: Final[dict[str, str]] = {}
