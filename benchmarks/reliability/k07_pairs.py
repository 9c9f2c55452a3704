"""K7: every pair of operations on one family of runs, in every schedule of their statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.reliability.arena import Arena, Findings
from benchmarks.reliability.trials import Trials
from tests.races.pairs import PAIRS, play_pair

if TYPE_CHECKING:
    from tests.races.pairs import Act


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every so many-th pair."""

    stride: int


SIZES: Final = {"small": Plan(stride=10), "full": Plan(stride=1)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Play pair after pair; an objection is one that neither serial order explains."""
    trials = Trials()
    schedules = 0

    def play(one: tuple[str, Act], other: tuple[str, Act]) -> None:
        nonlocal schedules
        schedules += play_pair(one, other)

    for one, other in PAIRS[arena.seed % plan.stride :: plan.stride]:
        trials.play(f"{one[0]}, {other[0]}", play, one, other)
    return Findings(facts={"pairs": trials.played, "schedules": schedules}, wrong=trials.wrong())
