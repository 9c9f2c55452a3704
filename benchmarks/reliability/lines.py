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
    Line(
        name="K2",
        module="k02_cut_connections",
        goal="all connections cut again and again: every run completes, 0 steps fail",
    ),
    Line(
        name="K3",
        module="k03_restarts",
        goal="PostgreSQL restarted as by a crash: 0 runs lost or failed, every result that was "
        "acknowledged to a worker is there afterwards",
    ),
    Line(
        name="K4",
        module="k04_cancel_or_complete",
        goal="cancel against completion: exactly one winner, and the caller is told which",
    ),
    Line(
        name="K5",
        module="k05_nothing_after_cancel",
        goal="0 steps, children or signals begin after a cancel has committed",
    ),
    Line(
        name="K6",
        module="k06_wakes",
        goal="0 wakes lost: all schedules of a park against signal, timeout and every end of a "
        "child, random races, and a kill before every statement",
    ),
    Line(
        name="K7",
        module="k07_pairs",
        goal="every pair of operations in every schedule: no deadlock, and nothing is left or told "
        "that neither serial order leaves and tells",
    ),
    Line(
        name="K8",
        module="k08_take_over",
        goal="runs of killed workers are claimed within lease + poll + 1 s, beside a crowd",
    ),
    Line(
        name="K9",
        module="k09_model",
        goal="random histories agree with a model, all invariants hold after every step",
    ),
    Line(
        name="K10",
        module="k10_bad_values",
        goal="values that would change: a typed error at the call in less than 100 ms, nothing "
        "written, no run stuck; accepted values come back equal",
    ),
    Line(
        name="K11",
        module="k11_wrong_clocks",
        goal="workers' clocks wrong by an hour: at most 2 claims per sleep, woken within 1 s",
    ),
    Line(
        name="K12",
        module="k12_retry_budget",
        goal="after sleeps, kills and claims without code every try of the budget is made",
    ),
    Line(
        name="K13",
        module="k13_poison",
        goal="a run that kills its workers is failed after 5 of them, all others complete",
    ),
    Line(
        name="K14",
        module="k14_drains",
        goal="SIGTERM under load: exit within the grace time, 0 lost, 0 tries or bodies spent",
    ),
    Line(
        name="K15",
        module="k15_backlog",
        goal="100,000 due runs: p99 of a claim below 10 ms, below 50 ms beside an old snapshot; "
        "no plan scans the table",
    ),
    Line(
        name="K16",
        module="k16_sqlite_processes",
        goal='several processes on one SQLite file: 0 times "database is locked"',
        on_sqlite=True,
    ),
    Line(
        name="K17",
        module="k17_leaks",
        goal="thousands of runs: memory grows by less than a tenth, connections at most threads "
        "+ 2, none idle in a transaction",
    ),
    Line(
        name="K18",
        module="k18_hogs",
        goal="a body that holds the interpreter's lock beyond its lease: no double completion",
    ),
    Line(
        name="K19",
        module="k19_bad_network",
        goal="delays, resets and swallowed replies to COMMIT: judged as K1",
    ),
    Line(
        name="K20",
        module="k20_rolling_deploys",
        goal="workers replaced one by one by those of another release, forth, back and forth: "
        "every run completes with code that it fits, 0 bodies are called again or without their "
        "code, nothing counts as a failure",
    ),
    Line(
        name="K21",
        module="k21_zombies",
        goal="workers stopped (SIGSTOP) beyond their leases: what they bring later is refused",
    ),
    Line(
        name="K22",
        module="k22_crash_sweep",
        goal="a run that uses every feature, hit at the messages that its worker sends to the "
        "database, by SIGKILL, a cut and a delay beyond the lease: it completes, each result and "
        "each effect of a transaction once",
    ),
)
LINES: Final = {line.name: line for line in _LINES}
