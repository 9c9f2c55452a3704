"""A cancel against everything that a worker does: hundreds of close races, and every schedule.

Who is first at the row wins, the other one is told; no step begins once the cancel has begun to
write; no deadlock; and what has ended never changes again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.operations import Operation, Verdict
from tests.races.duels import DUELS, TAKE_OVERS, Duel
from tests.races.families import ENDED, FAMILY_DUELS
from tests.races.rivals import Race, Rival, ending, halted, race, rivals
from tests.races.scenes import Scene, Submit, submit_and_wait, submit_once, submit_until_answered

if TYPE_CHECKING:
    from django_openworkflow.worker.ledger import GroupLedger
    from tests.races.witness import Witness

pytestmark = race

each_duel = pytest.mark.parametrize("duel", [*DUELS, *FAMILY_DUELS, *TAKE_OVERS], ids=str)


def group_submit(ledger: GroupLedger, *operations: Operation) -> Verdict:
    return ledger.submit(*operations).verdict


class Terminal:
    """The rows of runs that have ended, as they were when they ended."""

    def __init__(self) -> None:
        self._rows: dict[UUID, dict[str, Any]] = {}

    def remember(self, scene: Scene) -> None:
        for each in (scene, *scene.family):
            if each.row["status"] in ENDED:
                self._rows[each.run_id] = each.row

    def judge(self) -> None:
        now = {row["id"]: row for row in WorkflowRun._base_manager.values()}
        assert {run_id: now[run_id] for run_id in self._rows} == self._rows


@each_duel
def test_a_close_race_has_one_winner(
    duel: Duel, rounds: int, seed: int, witness: Witness, ledger: GroupLedger
) -> None:
    """Through the ledger of a worker process, straight at the store, and waiting, in turns."""
    submits: tuple[Submit, ...] = (
        submit_until_answered,
        partial(group_submit, ledger),
        submit_and_wait,
    )
    terminal = Terminal()
    with rivals("worker", "caller") as (worker, caller):
        race = Race(worker, caller, seed=seed)
        for number in range(rounds // duel.rarity):
            scene = duel.make()
            act = partial(duel.act, scene, submits[number % len(submits)])
            rival, cancel = race.run(act, partial(duel.cancel, scene))
            race.won_by(duel.judge(scene, rival, cancel))
            terminal.remember(scene)
    terminal.judge()
    raced = rounds // duel.rarity
    assert duel in TAKE_OVERS or witness.ends >= raced
    if raced >= 100:
        assert min(race.wins.values()) >= raced // 10, f"no close race: {race.wins}"


# --- every schedule -----------------------------------------------------------------------------


class Stage:
    """Two rivals who play every schedule in which one is halted while the other goes on."""

    def __init__(self, duel: Duel, worker: Rival, caller: Rival) -> None:
        self._duel, self._worker, self._caller = duel, worker, caller

    def play(self, step: int, *, worker_halts: bool) -> bool:
        """Halt one of them before its n-th statement; return whether there was one."""
        duel, scene = self._duel, self._duel.make()
        act = partial(duel.act, scene, submit_once)
        cancel = partial(duel.cancel, scene)
        if worker_halts:
            ends = halted(self._worker, act, self._caller, cancel, step)
        else:
            ends = halted(self._caller, cancel, self._worker, act, step)
        if ends is None:
            return False
        rival, canceled = ends if worker_halts else ends[::-1]
        if rival.value is Verdict.BUSY:  # it did not wait for the row, so it tries again
            rival = ending(self._worker.do(duel.act, scene, submit_until_answered))
        duel.judge(scene, rival, canceled)
        return True


@each_duel
def test_every_schedule_has_one_winner(duel: Duel, witness: Witness) -> None:
    with rivals("worker", "caller") as (worker, caller):
        stage = Stage(duel, worker, caller)
        for worker_halts in (True, False):
            schedules = 0
            while stage.play(schedules + 1, worker_halts=worker_halts):
                schedules += 1
            assert schedules >= duel.fewest_statements
    assert duel in TAKE_OVERS or witness.ends >= 8
