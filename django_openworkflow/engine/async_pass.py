"""One pass of an async run: its tasks, which of them are busy, and when all of them wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn

from django_openworkflow.engine.control import Suspend
from django_openworkflow.engine.reachability import (
    futures_behind,
    is_near,
    primitive_of,
    refers_to,
)

if TYPE_CHECKING:
    from django_openworkflow.engine.execution import Execution

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]

# How often code that awaits something else than steps is looked at while a branch waits.
_LOOK_SECONDS: Final = 0.02
# How many rounds of the loop the end of a task may take to reach who waits for it: one for each
# future between, of ``gather``, ``wait``, ``shield``; seldom more than three.
_ROUNDS_TO_PASS_ON: Final = 10
_current: Final[ContextVar[AsyncPass | None]] = ContextVar("openworkflow_pass", default=None)


class AsyncPass:
    """Runs an async workflow until it ends, or until nothing but waits is left of it.

    The tasks that the workflow creates are known. One that awaits neither a suspended step nor
    other tasks of the pass awaits something of the outside world, which is let finish before the
    run gives up its worker.

    Who waits in a lock, an event or a queue of asyncio waits for another task of the pass if one
    that does not wait there as well has that object at hand: then it holds it, or could set it. If
    none has, somebody else must: another run that shares it, a client's task, a thread, a timer.
    What cannot be told apart is an object which tasks share, but only a thread or a timer sets: the
    run parks then, and awaits it again when it goes on. The other way round it would keep its
    worker for ever, and might keep what another run waits for.
    """

    def __init__(self, execution: Execution, in_thread: InThread) -> None:
        self.execution = execution
        self.in_thread = in_thread
        self._loop = asyncio.get_running_loop()
        self._busy = 0
        self._beats = 0
        self._judged: list[tuple[asyncio.Task[Any], object]] = []
        self._are_waits = True
        self._suspends: list[Suspend] = []
        self._suspended: set[asyncio.Future[Any]] = set()
        self._creators: dict[asyncio.Task[Any], asyncio.Task[Any] | None] = {}
        self._pulse: asyncio.Future[None] = self._loop.create_future()
        self.is_closing = False
        execution.is_sequential = False
        execution.on_unwanted = self._interrupt_soon

    async def run(self, code: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run the workflow's code; return or raise what it does, or ``Suspend`` to wait."""
        install_task_factory(self._loop)
        token = _current.set(self)
        try:
            main = self._loop.create_task(code())
        finally:
            _current.reset(token)
        if self.execution.is_unwanted:
            self._interrupt()
        await self._supervise(main)
        await self._join(main)
        if main.cancelled():
            raise self.execution.stopped or asyncio.CancelledError
        return main.result()

    # --- for steps ------------------------------------------------------------------------------

    def busy(self) -> AsyncPass:
        """Count something that the run must not give up its worker for, for a ``with`` block."""
        return self

    def __enter__(self) -> None:
        self._busy += 1

    def __exit__(self, *_error: object) -> None:
        self._busy -= 1
        self._beat()

    async def block(self, suspend: Suspend) -> NoReturn:
        """Suspend a branch for the rest of the pass."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._suspends.append(suspend)
        self._suspended.add(future)
        self._beat()
        await future
        raise suspend

    # --- the end of a pass ----------------------------------------------------------------------

    async def _supervise(self, main: asyncio.Task[Any]) -> None:
        """Wait until the code has ended, or only waits are left: then stop the pass for later."""
        while not main.done():
            if await self._stays_stuck():
                if self.execution.stopped is None:
                    self.execution.stopped = Suspend.together(self._suspends)
                return
            await self._pulsed(main, timeout=_LOOK_SECONDS if self._may_park() else None)

    async def _join(self, main: asyncio.Task[Any]) -> None:
        """Let steps in flight record how they end, then cancel what is left of the pass."""
        self.is_closing = True
        while self._busy and not self.execution.is_unwanted:
            await self._pulsed(timeout=_LOOK_SECONDS)
        while alive := self._alive():
            self._interrupt()
            await asyncio.wait(alive)
        if main.done() and not main.cancelled():
            main.exception()  # retrieved: it is raised by run()

    async def _pulsed(self, *others: asyncio.Future[Any], timeout: float | None) -> None:
        await asyncio.wait(
            {self._pulse, *others}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if self._pulse.done():
            self._pulse = self._loop.create_future()

    def _beat(self) -> None:
        """Wake whoever supervises the pass; while every task is at work there is nothing to see."""
        self._beats += 1
        if (self._suspends or self.is_closing) and not self._pulse.done():
            self._pulse.set_result(None)

    def _interrupt_soon(self) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        """Cancel the tasks of the pass: bodies of a run that was canceled see ``CancelledError``.

        What ``gather`` makes of it is for nobody, and not for the log: to park is no error.
        """
        alive = self._alive()
        for future in futures_behind(self._callbacks_of(alive)):
            future.add_done_callback(_retrieve_cancel)
        for task in alive:
            task.cancel()

    # --- tasks ----------------------------------------------------------------------------------

    def adopt(self, task: asyncio.Task[Any], creator: asyncio.Task[Any] | None) -> None:
        """Note a task that the workflow's code has created."""
        self._creators[task] = creator
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._creators.pop(task, None)
        self._beat()

    def _alive(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._creators if not task.done()]

    def _may_park(self) -> bool:
        return bool(self._suspends) and self._busy == 0

    async def _stays_stuck(self) -> bool:
        """Whether only waits are left, and nothing that has just ended is about to wake one."""
        if not self._is_stuck():
            return False
        beats = self._beats
        for _ in range(_ROUNDS_TO_PASS_ON):
            await asyncio.sleep(0)
            if self._beats != beats or any(map(_is_about_to_run, self._alive())):
                return False
        return self._is_stuck()

    def _is_stuck(self) -> bool:
        if not self._may_park():
            return False
        alive = self._alive()
        if any(map(_is_about_to_run, alive)):
            return False
        awaited = [(task, getattr(task, "_fut_waiter", None)) for task in alive]
        if awaited != self._judged:  # or else nobody has moved since the last look
            self._judged, self._are_waits = awaited, self._are_only_waits(alive)
        return self._are_waits

    def _are_only_waits(self, alive: list[asyncio.Task[Any]]) -> bool:
        inside: dict[asyncio.Task[Any], object] = {}
        for task in alive:
            if not self._waits_for_us(task, alive):
                inside[task] = primitive_of(task)
                if inside[task] is None:
                    return False
        primitives = {id(one): one for one in inside.values()}.values()
        return all(_is_shared(primitive, alive, inside) for primitive in primitives)

    def _waits_for_us(self, task: asyncio.Task[Any], alive: list[asyncio.Task[Any]]) -> bool:
        """Whether a task waits for a suspended step, for a task of this pass, or for several."""
        awaited = getattr(task, "_fut_waiter", None)
        if awaited in self._suspended or awaited in self._creators:
            return True
        others = [other for other in alive if other is not task]
        return refers_to(self._callbacks_of(others), awaited)

    def _callbacks_of(self, tasks: list[asyncio.Task[Any]]) -> list[object]:
        return [
            callback
            for task in tasks
            for callback, _ in getattr(task, "_callbacks", None) or ()
            if callback != self._forget
        ]


def _is_shared(
    primitive: object, alive: list[asyncio.Task[Any]], inside: dict[asyncio.Task[Any], object]
) -> bool:
    """Whether a task that does not wait in this lock or queue has it at hand."""
    waiting = [task for task, one in inside.items() if one is primitive]
    return is_near(primitive, [task for task in alive if task not in waiting], waiting)


def _retrieve_cancel(future: asyncio.Future[Any]) -> None:
    """Take a cancel out of a future, which would log it as never retrieved; any other error not."""
    if isinstance(getattr(future, "_exception", None), asyncio.CancelledError):
        future.exception()


def _is_about_to_run(task: asyncio.Task[Any]) -> bool:
    awaited = getattr(task, "_fut_waiter", None)
    return awaited is None or awaited.done()


def install_task_factory(loop: asyncio.AbstractEventLoop) -> None:
    """Let each task that a workflow's code creates be known to its pass."""
    before = loop.get_task_factory()
    if getattr(before, "is_openworkflow", False):
        return

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        if before is not None:
            task: Any = before(loop, coroutine, **options)
        else:
            task = asyncio.Task(coroutine, loop=loop, **options)
        current = _current.get()
        if current is not None:
            current.adopt(task, asyncio.current_task(loop))
        return task  # type: ignore[no-any-return]

    factory.is_openworkflow = True  # type: ignore[attr-defined]
    loop.set_task_factory(factory)  # type: ignore[arg-type]
