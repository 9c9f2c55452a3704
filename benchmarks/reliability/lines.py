"""The lines of the scorecard: what each promises, and which script checks it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.reliability.arena import Arena, Findings


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: ``module`` has ``SIZES`` (plans by name) and ``measure(arena, plan)``."""

    name: str
    module: str
    goal: str
    on_sqlite: bool = False  # the line is about SQLite

    @property
    def sizes(self) -> dict[str, Any]:
        """The plans by the names of their sizes."""
        sizes: dict[str, Any] = self._script().SIZES
        return sizes

    @property
    def measure(self) -> Callable[[Arena, Any], Findings]:
        """The function that does it; to be imported when Django has been set up."""
        measure: Callable[[Arena, Any], Findings] = self._script().measure
        return measure

    def _script(self) -> Any:
        return importlib.import_module(f"benchmarks.reliability.{self.module}")


_LINES: Final = (
    Line(
        name="K1",
        module="k01_kill_storm",
        goal="SIGKILL in the middle of steps: 0 runs lost, 0 steps completed twice, 0 terminal "
        "rows changed, every extra call of a body explained by a kill",
    ),
)
LINES: Final = {line.name: line for line in _LINES}
