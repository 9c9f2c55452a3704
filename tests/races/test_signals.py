"""Signals against parks, timeouts and each other: no wake is lost, every wait has one outcome.

Every schedule of two transactions is played, then hundreds of close races.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import pytest

from django_openworkflow import send_signal
from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt
from django_openworkflow.states import StepKind
from django_openworkflow.store import signalling
from django_openworkflow.store.operations import (
    Delivered,
    Receipt,
    RunParked,
    SignalWaitStarted,
    Verdict,
    WaitTimedOut,
)
from tests.races.rivals import Ending, Race, Rival, halted, race, rivals
from tests.races.scenes import Scene, held_run, is_due, waiting_run
from tests.races.writes import FAR, Write, park, write_and_wait, write_until_answered

pytestmark = race


def held_run_with_wait() -> Scene:
    """Return a run that a worker holds, whose signal wait began in an earlier pass."""
    scene = held_run()
    address = str(scene.run_id)
    wait = StepAttempt(
        id=scene.attempt_id,
        workflow_run_id=scene.run_id,
        step_name="approval",
        kind=StepKind.SIGNAL_WAIT,
        context={"kind": "signal-wait", "signal": address, "timeoutAt": "2999-01-01T00:00:00.000Z"},
    )
    StepAttempt._base_manager.bulk_create([wait])
    return scene


def begin_to_wait(address: str, scene: Scene, write: Write) -> Receipt:
    wait = SignalWaitStarted(
        lease=scene.lease,
        attempt_id=scene.attempt_id,
        step_name="approval",
        signal=address,
        timeout=FAR,
    )
    return write(RunParked(lease=scene.lease, waits=(wait,)))


def wait_and_park(scene: Scene, write: Write) -> Receipt:
    return begin_to_wait(str(scene.run_id), scene, write)


def time_out(scene: Scene, write: Write) -> Receipt:
    return write(WaitTimedOut(lease=scene.lease, attempt_id=scene.attempt_id))


def send(scene: Scene, _write: Write) -> list[UUID]:
    return send_signal(str(scene.run_id), {"from": "first"})


def send_and_keep(scene: Scene, _write: Write) -> list[UUID]:
    return send_signal(str(scene.run_id), {"from": "first"}, buffered=True)


def send_too(scene: Scene, _write: Write) -> list[UUID]:
    return send_signal(str(scene.run_id), {"from": "second"})


def send_with_key(scene: Scene, _write: Write) -> list[UUID]:
    return send_signal(str(scene.run_id), {"from": "first"}, idempotency_key="key")


def deliveries(scene: Scene) -> list[Any]:
    rows = SignalDelivery.objects.filter(step_attempt=scene.attempt_id)
    return [row.data["from"] for row in rows]


# --- judges: each returns who was first ---------------------------------------------------------


def judge_wake(scene: Scene, parked: Ending, sent: Ending) -> str:
    """Whoever was first, the run is parked, has its signal, and may be claimed now."""
    assert parked.told().verdict is Verdict.ACCEPTED
    assert sent.told() == [scene.run_id]
    assert deliveries(scene) == ["first"]
    assert (scene.row["status"], scene.row["worker_id"]) == ("running", None)
    assert is_due(scene)
    delivery = SignalDelivery.objects.get(step_attempt=scene.attempt_id)
    return "first" if parked.told().at < delivery.created_at else "second"


def judge_kept(scene: Scene, parked: Ending, sent: Ending) -> str:
    """The signal is delivered or kept; a sweep brings together who missed each other."""
    assert parked.told().verdict is Verdict.ACCEPTED
    received = sent.told()
    assert received in ([], [scene.run_id])
    if not deliveries(scene):
        assert BufferedSignal.objects.filter(signal=str(scene.run_id)).count() == 1
        assert received == []
        assert signalling.deliver_buffered("default") == 1
    assert deliveries(scene) == ["first"]
    assert not BufferedSignal.objects.exists()
    assert is_due(scene)
    return "first" if received else "second"


def judge_timeout(scene: Scene, timed_out: Ending, sent: Ending) -> str:
    """Either the wait ended without a signal and nobody was counted, or the signal is in."""
    receipt, received = timed_out.told(), sent.told()
    assert receipt.verdict is Verdict.ACCEPTED
    attempt = scene.attempt
    assert attempt is not None
    if receipt.value is None:
        assert (received, deliveries(scene)) == ([], [])
        assert (attempt.status, attempt.output) == ("completed", None)
        return "first"
    assert receipt.value == Delivered(data={"from": "first"})
    assert (received, deliveries(scene)) == ([scene.run_id], ["first"])
    assert attempt.status == "running"  # the pass completes it with what it received
    return "second"


def judge_senders(scene: Scene, one: Ending, other: Ending) -> str:
    """One of them has delivered, and the other one is told that it has not."""
    told = (one.told(), other.told())
    assert told in (([scene.run_id], []), ([], [scene.run_id]))
    winner = "first" if told[0] else "second"
    assert deliveries(scene) == [winner]
    assert is_due(scene)
    return winner


def judge_key(scene: Scene, one: Ending, other: Ending) -> str:
    """Both are told the same; there is one delivery."""
    assert (one.told(), other.told()) == ([scene.run_id], [scene.run_id])
    assert deliveries(scene) == ["first"]
    return "either"


@dataclass(frozen=True)
class Meeting:
    """Two actions on one run, and how one tells that nothing was lost."""

    name: str
    make: Callable[[], Scene]
    one: Callable[[Scene, Write], Any]
    other: Callable[[Scene, Write], Any]
    judge: Callable[[Scene, Ending, Ending], str]

    def __str__(self) -> str:
        return self.name


MEETINGS: Final = [
    Meeting("park, signal", held_run_with_wait, park, send, judge_wake),
    Meeting("wait begins, kept signal", held_run, wait_and_park, send_and_keep, judge_kept),
    Meeting("timeout, signal", held_run_with_wait, time_out, send, judge_timeout),
    Meeting("two signals", waiting_run, send, send_too, judge_senders),
    Meeting("two with one key", waiting_run, send_with_key, send_with_key, judge_key),
]
each_meeting = pytest.mark.parametrize("meeting", MEETINGS, ids=str)


@each_meeting
@pytest.mark.parametrize("is_swapped", [False, True], ids=["one halts", "other halts"])
def test_every_schedule_has_one_outcome(meeting: Meeting, *, is_swapped: bool) -> None:
    schedules = 0
    with rivals("one", "other") as (one, other):
        while play(meeting, one, other, schedules + 1, is_swapped=is_swapped):
            schedules += 1
    assert schedules >= 4


def play(meeting: Meeting, one: Rival, other: Rival, step: int, *, is_swapped: bool) -> bool:
    """Halt one of them before its n-th statement; return whether there was one."""
    scene = meeting.make()
    act = partial(meeting.one, scene, write_and_wait)
    react = partial(meeting.other, scene, write_and_wait)
    if is_swapped:
        ends = halted(other, react, one, act, step)
    else:
        ends = halted(one, act, other, react, step)
    if ends is not None:
        meeting.judge(scene, *(ends[::-1] if is_swapped else ends))
    return ends is not None


@each_meeting
def test_a_close_race_has_one_outcome(meeting: Meeting, rounds: int, seed: int) -> None:
    writes: tuple[Write, ...] = (write_and_wait, write_until_answered)
    with rivals("one", "other") as (one, other):
        contest = Race(one, other, seed=seed)
        for number in range(rounds):
            scene, write = meeting.make(), writes[number % 2]
            ends = contest.run(
                partial(meeting.one, scene, write), partial(meeting.other, scene, write)
            )
            winner = meeting.judge(scene, *ends)
            if winner in contest.wins:
                contest.won_by(winner)
    if rounds >= 100 and any(contest.wins.values()):
        assert min(contest.wins.values()) >= rounds // 10, f"no close race: {contest.wins}"


def test_two_waits_and_one_kept_signal(rounds: int, seed: int) -> None:
    """Two runs begin to wait at once: one of them is given the signal, the other one sleeps on."""
    with rivals("one", "other") as (one, other):
        contest = Race(one, other, seed=seed)
        for number in range(rounds // 2):
            scenes = held_run(), held_run()
            address = f"go {number}"
            BufferedSignal.objects.create(signal=address, data={"from": "first"})
            first, second = (
                partial(begin_to_wait, address, scene, write_until_answered) for scene in scenes
            )
            for end in contest.run(first, second):
                assert end.told().verdict is Verdict.ACCEPTED
            assert sorted(map(is_due, scenes)) == [False, True]
            assert sorted(map(deliveries, scenes)) == [[], ["first"]]
            contest.won_by("first" if is_due(scenes[0]) else "second")
    assert not BufferedSignal.objects.exists()
