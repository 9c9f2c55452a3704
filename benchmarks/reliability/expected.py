"""What the workflows of the chaos come to. Apart from them, so that a judge need not load them."""

from __future__ import annotations

from typing import Any, Final

# What each returns, and the steps whose bodies it calls.
OUTPUTS: Final[dict[str, list[Any]]] = {
    "chaos-plain": ["a", "b", "c"],
    "chaos-sleep": ["a", "b"],
    "chaos-family": ["a", ["a", "b", "c"], "b"],
    "chaos-transaction": ["a", "book", "b"],
    "chaos-async": ["a", "b", "c"],
    "chaos-undo": ["a", "b"],
}
STEPS: Final[dict[str, tuple[str, ...]]] = {
    "chaos-plain": ("a", "b", "c"),
    "chaos-sleep": ("a", "b"),
    "chaos-family": ("a", "b"),
    "chaos-transaction": ("a", "book", "b"),
    "chaos-async": ("a", "b", "c"),
    "chaos-undo": ("a", "b"),
}
