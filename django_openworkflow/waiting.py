"""Wait for the ends of runs: one statement for all who wait in a process, not one for each.

Of the threads that wait, one looks for all, on its own connection, while the others sleep; when it
is done the next one takes over. So no thread and no connection is kept for it. The tasks of an
event loop do the same among themselves.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async
from django.db import connections

from django_openworkflow import conf
from django_openworkflow.states import ACTIVE
from django_openworkflow.transitions import chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from uuid import UUID

    from django_openworkflow.querysets import WorkflowRunQuerySet

_Event = TypeVar("_Event", threading.Event, asyncio.Event)

_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 1.0
_LONGEST_SLEEP_SECONDS: Final = 60.0  # of those who do not look themselves, and are woken

# Runs of one namespace in one database can be looked for together.
Place: TypeAlias = tuple[str, str]


def wait_for_end(run_id: UUID, seconds: float | None) -> bool:
    """Block until the run has ended or is gone; False when the time is over before.

    Inside a transaction the thread looks for itself alone: it sees what the others do not.
    """
    place, waiter = _place(), Waiter(run_id, seconds, threading.Event())
    is_alone = connections[place[0]].in_atomic_block
    crowd = Crowd() if is_alone else _crowd_of(None, place)
    with crowd.joined_by(waiter):
        while not waiter.is_done:
            _sleep(waiter.wake, crowd.pause_of(waiter))
            if crowd.is_time_for(waiter):
                crowd.tell(ended_among(crowd.run_ids(), place))
    return waiter.has_ended or run_id in ended_among([run_id], place)


async def await_end(run_id: UUID, seconds: float | None) -> bool:
    """See ``wait_for_end``."""
    look = sync_to_async(ended_among)
    place, waiter = _place(), Waiter(run_id, seconds, asyncio.Event())
    crowd = _crowd_of(asyncio.get_running_loop(), place)
    with crowd.joined_by(waiter):
        while not waiter.is_done:
            with suppress(TimeoutError):
                await asyncio.wait_for(waiter.wake.wait(), crowd.pause_of(waiter))
            waiter.wake.clear()
            if crowd.is_time_for(waiter):
                crowd.tell(await look(crowd.run_ids(), place))
    return waiter.has_ended or run_id in await look([run_id], place)


def _sleep(wake: threading.Event, seconds: float) -> None:
    wake.wait(seconds)
    wake.clear()


def ended_among(run_ids: Collection[UUID], place: Place) -> set[UUID]:
    """Return those of the runs that have ended or do not exist."""
    from django_openworkflow.models import WorkflowRun

    alias, namespace = place
    runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(alias).all()
    rows = runs.unfiltered().filter(namespace_id=namespace, status__in=ACTIVE)
    active: set[UUID] = set()
    for chunk in chunks(sorted(run_ids)):
        active.update(rows.filter(pk__in=chunk).values_list("pk", flat=True))
    return set(run_ids) - active


class Waiter(Generic[_Event]):
    """Somebody who waits for the end of a run; ``seconds`` None means for ever."""

    def __init__(self, run_id: UUID, seconds: float | None, wake: _Event) -> None:
        self.run_id = run_id
        self.wake: _Event = wake
        self.has_ended = False
        self._gives_up_at = float("inf") if seconds is None else monotonic() + seconds

    def seconds_left(self) -> float:
        """How long this one still waits; negative when its time is over."""
        return self._gives_up_at - monotonic()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.has_ended or self.seconds_left() <= 0


class Crowd:
    """All who wait in one place, and when their leader looks next.

    The pauses between two looks grow while nobody comes, and are short again for whoever does: a
    run that ends soon is seen soon.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[Waiter[Any], None] = {}  # in the order in which they came
        self._leader: Waiter[Any] | None = None
        self._looks_at = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    @contextmanager
    def joined_by(self, waiter: Waiter[Any]) -> Iterator[None]:
        """Let somebody wait with the others; when the leader leaves, the next one leads."""
        with self._lock:
            self._waiters[waiter] = None
            self._look_soon()
        try:
            yield
        finally:
            with self._lock:
                del self._waiters[waiter]
                if self._leader is waiter:
                    self._leader = next(iter(self._waiters), None)
                    self._wake_leader()

    def _look_soon(self) -> None:
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        if self._leader is None:
            self._leader = next(iter(self._waiters))
            self._looks_at = monotonic()
        elif self._looks_at > (soon := monotonic() + _FIRST_PAUSE_SECONDS):
            self._looks_at = soon
            self._wake_leader()

    def _wake_leader(self) -> None:
        if self._leader is not None:
            self._leader.wake.set()

    def pause_of(self, waiter: Waiter[Any]) -> float:
        """Return how long this one may sleep unless it is woken."""
        is_leader = self._leader is waiter
        pause = self._looks_at - monotonic() if is_leader else _LONGEST_SLEEP_SECONDS
        return max(0.0, min(pause, waiter.seconds_left()))

    def is_time_for(self, waiter: Waiter[Any]) -> bool:
        """Whether this one is to look now, for all."""
        return self._leader is waiter and monotonic() >= self._looks_at

    def run_ids(self) -> set[UUID]:
        """Return the runs that are waited for."""
        with self._lock:
            return {waiter.run_id for waiter in self._waiters}

    def tell(self, ended: set[UUID]) -> None:
        """Wake those whose runs have ended; the next look is later than this one was."""
        with self._lock:
            self._looks_at = monotonic() + self._pause_seconds
            self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            for waiter in self._waiters:
                if waiter.run_id in ended:
                    waiter.has_ended = True
                    waiter.wake.set()


def _place() -> Place:
    settings = conf.get_settings()
    return settings.DATABASE, settings.NAMESPACE


def _crowd_of(loop: asyncio.AbstractEventLoop | None, place: Place) -> Crowd:
    with _founding:
        return _crowds.setdefault((loop, place), Crowd())


# One for the threads of a place and one for each event loop, for as long as anybody waits there.
_crowds: WeakValueDictionary[tuple[asyncio.AbstractEventLoop | None, Place], Crowd] = (
    WeakValueDictionary()
)
# A weak dictionary looks up and stores in two steps: two who come first would found two crowds.
_founding: Final = threading.RLock()


def _forget_all() -> None:
    """The threads that wait now do not exist in a child process."""
    _crowds.clear()
    _founding.release()


os.register_at_fork(
    before=_founding.acquire, after_in_parent=_founding.release, after_in_child=_forget_all
)
