"""Find out what a suspended task waits for, as far as Python can tell."""

from __future__ import annotations

import asyncio
import gc
import types
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Enough for asyncio's own constructs: gather, wait, as_completed, TaskGroup, timeouts.
_MOST_OBJECTS: Final = 300
# What code holds on to in its variables: a lock, an object of its own around one, a closure; not
# what is deep inside of something shared, as the lock of a client's pool of connections.
_NEAR: Final = 6
_MOST_NEAR_OBJECTS: Final = 20_000
_MOST_ENTRIES: Final = 1000
_PRIMITIVES: Final = ("asyncio.locks", "asyncio.queues")
_OURS: Final = __name__.partition(".")[0] + "."
_CODE: Final = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)
_FRAMES: Final = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED: Final = ("cr_await", "gi_yieldfrom", "ag_await")
# Through these, everything could be reached that happens to be alive.
_NEVER_ENTERED: Final = (
    asyncio.AbstractEventLoop,
    asyncio.Handle,
    asyncio.Task,
    Context,
    type,
    types.CodeType,
    types.FrameType,
    types.ModuleType,
)


def refers_to(roots: Iterable[Any], target: object) -> bool:
    """Whether one of the callbacks holds on to ``target``, directly or through a few objects.

    asyncio wakes who waits for several tasks through callbacks of these tasks; whichever construct
    it is, the callback refers to the future that is waited for.
    """
    return any(one is target for one in _held_by(roots))


def futures_behind(callbacks: Iterable[Any]) -> list[asyncio.Future[Any]]:
    """Return the futures that these callbacks are to settle: what ``gather`` has returned."""
    return [
        one
        for one in _held_by(callbacks)
        if isinstance(one, asyncio.Future) and not isinstance(one, asyncio.Task) and not one.done()
    ]


def _held_by(roots: Iterable[Any]) -> Iterator[object]:
    """Yield what these objects refer to, the nearest first, and not far."""
    todo = list(roots)
    seen: set[int] = set()
    while todo and len(seen) < _MOST_OBJECTS:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if not (isinstance(one, _NEVER_ENTERED) or _is_namespace(one)):
            todo.extend(gc.get_referents(one))


# --- locks and queues -----------------------------------------------------------------------------


def primitive_of(task: asyncio.Task[Any]) -> object | None:
    """Return the lock, semaphore, event, condition or queue of asyncio in which a task waits."""
    codes = _codes_of(task)
    frame = getattr(codes[-1], "cr_frame", None) if codes else None
    if frame is None or frame.f_globals.get("__name__") not in _PRIMITIVES:
        return None
    primitive: object = frame.f_locals.get("self")
    return primitive


def is_near(
    target: object,
    tasks: Iterable[asyncio.Task[Any]],
    waiting: Iterable[asyncio.Task[Any]],
) -> bool:
    """Whether the code of one of ``tasks`` has ``target`` at hand, to wake the others with.

    ``async with`` keeps what it has entered on the stack of the code, wherever that came from.
    """
    layer: list[Any] = [code for task in tasks for code in _codes_of(task)]
    if any(_names(code, target) for code in layer):
        return True
    # A variable may hold the coroutine of one that waits: by itself that wakes nobody.
    seen = {id(code) for task in waiting for code in _codes_of(task)}
    for _ in range(_NEAR):
        found = gc.get_referents(*layer)
        if any(one is target for one in found):
            return True
        layer = [one for one in {id(one): one for one in found}.values() if id(one) not in seen]
        layer = [one for one in layer if gc.is_tracked(one) and _is_entered(one)]
        seen.update(map(id, layer))
        if len(seen) > _MOST_NEAR_OBJECTS:
            break
    return False


def _codes_of(task: asyncio.Task[Any]) -> list[Any]:
    """Return a task's coroutine, what that awaits, and so on, down to where it is suspended."""
    codes: list[Any] = []
    awaited: Any = task.get_coro()
    while awaited is not None and not any(awaited is code for code in codes):
        if isinstance(awaited, _CODE):
            codes.append(awaited)
            awaited = next(getattr(awaited, name) for name in _AWAITED if hasattr(awaited, name))
        else:  # an iterator between, as for an async generator
            inner = [one for one in gc.get_referents(awaited) if isinstance(one, _CODE)]
            awaited = inner[0] if inner else None
    return codes


def _names(code: Any, target: object) -> bool:
    """Whether this code wakes others through ``target``, a global of its module.

    One who entered a lock by ``async with`` has it on the stack; who acquired it releases it.
    """
    frame = next(filter(None, (getattr(code, name, None) for name in _FRAMES)), None)
    if frame is None:
        return False
    names = frame.f_code.co_names
    if isinstance(target, asyncio.Lock | asyncio.Semaphore) and "release" not in names:
        return False
    return any(frame.f_globals.get(name) is target for name in names)


# --- what is not looked into ----------------------------------------------------------------------


def _is_entered(one: object) -> bool:
    is_ours = type(one).__module__.startswith(_OURS)
    return not (is_ours or isinstance(one, _NEVER_ENTERED) or _is_namespace(one) or _is_data(one))


def _is_data(one: object) -> bool:
    """Whether this is too large for anything else than data."""
    return isinstance(one, dict | list | set | tuple) and len(one) > _MOST_ENTRIES


def _is_namespace(one: object) -> bool:
    """Whether this is the global namespace of a module, from where everything can be reached."""
    return isinstance(one, dict) and "__builtins__" in one
