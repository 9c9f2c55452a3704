"""Everything at once, at random, in a few families: PostgreSQL never has to break up a deadlock."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import OperationalError, connection, transaction

from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun
from django_openworkflow.states import TERMINAL
from django_openworkflow.transactions import is_deadlock
from tests.races.brawler import Arena, Brawler
from tests.races.families import insert_family
from tests.races.rivals import ending, race, rivals

pytestmark = race

NAMES = ("one", "two", "three", "four", "five", "six")
DEEDS = ("cancel", "cascade", "cancel_many", "retry", "send", "prune", "claim", "beat", "sweep")


class Evidence:
    """The last statements of everybody, and of whom PostgreSQL said that they deadlocked.

    The verbs would hide a deadlock: they begin again. Here each statement is seen to fail.
    """

    def __init__(self) -> None:
        self._last: dict[int, deque[str]] = defaultdict(lambda: deque(maxlen=12))
        self.deadlocks: list[str] = []

    def watch(self, action: Callable[[], Any]) -> Any:
        with connection.execute_wrapper(self._wrapper):
            return action()

    def _wrapper(self, execute: Callable[..., Any], sql: str, params: Any, *args: Any) -> Any:
        pid = connection.connection.info.backend_pid
        self._last[pid].append(f"{sql} -- {params}")
        try:
            return execute(sql, params, *args)
        except OperationalError as error:
            if is_deadlock(error):
                self.deadlocks.append(self._tell(error))
            raise

    def _tell(self, error: OperationalError) -> str:
        told = getattr(error.__cause__, "diag", None)
        detail = f"{told and told.message_detail}\n{told and told.context}"
        pids = {int(pid) for pid in re.findall(r"[Pp]rocess (\d+)", detail)}
        statements = [f"--- process {pid}:\n" + "\n".join(self._last[pid]) for pid in sorted(pids)]
        return "\n".join([detail, *statements])


def test_a_brawl_ends_without_a_deadlock(rounds: int, seed: int) -> None:
    done: Counter[str] = Counter()
    evidence = Evidence()
    with rivals(*NAMES) as threads:
        for number in range(max(1, rounds // 20)):
            kin = (None, None, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, None, 12, 12)
            arena = Arena(insert_family(*kin, parked_ones=5))
            WorkflowRun.objects.update(has_cancel_hook=True)
            brawlers = [Brawler(arena, seed + 10 * number + n) for n in range(len(threads))]
            fights = [
                thread.do(evidence.watch, partial(brawler.fight, 25))
                for thread, brawler in zip(threads, brawlers, strict=True)
            ]
            ends = [ending(fight) for fight in fights]
            assert not evidence.deadlocks, "\n\n".join(evidence.deadlocks)
            for end in ends:
                end.told()
            for brawler in brawlers:
                done += brawler.done
            judge_rows()
            empty_the_arena()
    if rounds >= 100:
        assert min(done[deed] for deed in DEEDS) > 5, done
        assert min(done[f"{what} ACCEPTED"] for what in ("begin", "end")) > rounds // 10, done


def judge_rows() -> None:
    """No wait is open of a run that has ended."""
    waits = StepAttempt.objects.filter(workflow_run__status__in=TERMINAL, status="running")
    assert not waits.exclude(kind="function").exists()


def empty_the_arena() -> None:
    with transaction.atomic():  # the tables refer to each other: checked at the commit
        for model in (SignalDelivery, BufferedSignal, StepAttempt, WorkflowRun):
            model._base_manager.all()._raw_delete("default")
