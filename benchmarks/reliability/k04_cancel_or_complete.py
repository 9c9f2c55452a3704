"""K4: a cancel and a completion meet at one row: one wins, and the caller is told which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.reliability.arena import Arena, Findings
from benchmarks.reliability.trials import Trials, ledger, watched
from tests.races.duels import DUELS, Duel
from tests.races.test_duels import test_a_close_race_has_one_winner as race

_DUELS: Final = [duel for duel in DUELS if duel.name in ("complete", "fail", "last step")]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often each ending races a cancel."""

    rounds: int


SIZES: Final = {"small": Plan(rounds=60), "full": Plan(rounds=1_000)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Race; the judges of the test suite look at each outcome."""
    trials = Trials()
    for duel in _DUELS:
        trials.play(duel.name, _race, duel, plan.rounds, arena.seed)
    return Findings(
        facts={"races": sum(plan.rounds // duel.rarity for duel in _DUELS)}, wrong=trials.wrong()
    )


def _race(duel: Duel, rounds: int, seed: int) -> None:
    with ledger() as shared, watched() as witness:
        race(duel, rounds, seed, witness, shared)
