"""K6: no wake is lost, however a park meets a signal, a timeout or the end of a child."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks.reliability.arena import Arena, Findings
from benchmarks.reliability.trials import Trials
from tests.races import test_children as children
from tests.races import test_signals as signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``rounds`` of each close race; every schedule and every kill is played once."""

    rounds: int


SIZES: Final = {"small": Plan(rounds=20), "full": Plan(rounds=250)}


def measure(arena: Arena, plan: Plan) -> Findings:
    """Play every schedule, then race, then kill before every statement."""
    trials = Trials()
    for name, scene in _scenes(plan, arena.seed):
        trials.play(name, scene)
    return Findings(
        facts={"scenes": trials.played, "rounds_of_each_race": plan.rounds}, wrong=trials.wrong()
    )


def _scenes(plan: Plan, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    rounds = {"rounds": plan.rounds, "seed": seed}
    for end in children.ENDS:
        name = end.__name__
        yield f"race: {name}", partial(children.test_a_close_race_wakes_the_parent, end, **rounds)
        if end is not children.expire:
            for halts in (True, False):
                play = children.test_every_schedule_wakes_the_parent
                yield f"schedules: {name}", partial(play, end, parent_halts=halts)
            kill = children.test_a_worker_that_dies_while_a_child_ends_leaves_all_or_nothing
            yield f"kills: {name}", partial(kill, end)
    for meeting in signals.MEETINGS:
        race = signals.test_a_close_race_has_one_outcome
        yield f"race: {meeting}", partial(race, meeting, **rounds)
        for is_swapped in (True, False):
            play = signals.test_every_schedule_has_one_outcome
            yield f"schedules: {meeting}", partial(play, meeting, is_swapped=is_swapped)
